"""runs.jsonl: what is written stays, what is damaged is skipped and said."""

import json
from pathlib import Path
from typing import Any

import pytest

from thresher.bench.store import FolderError, Store


def record(key: str, metric: float = 91.0) -> dict[str, Any]:
    return {
        "key": key,
        "config": {},
        "metric": metric,
        "samples_trained": 10,
        "prune_rate": 0.5,
        "seconds": {"training": 1.0},
    }


def test_records_come_back_by_key(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    store.append(record("a"))
    store.append(record("b", 90.0))
    again = Store(tmp_path / "new" / "folder")
    assert again.records == store.records == {"a": record("a"), "b": record("b", 90.0)}
    assert again.damaged == []


def test_each_record_is_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(record("a") | {"notes": ["two\nlines", "γ"]})
    store.append(record("b"))
    assert [json.loads(line)["key"] for line in store.path.read_text("utf-8").splitlines()] == [
        *("a", "b")
    ]


def test_a_line_that_was_cut_off_is_reported_and_loses_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(record("a"))
    store.append(record("b"))
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:-20])
    again = Store(tmp_path)
    assert list(again.records) == ["a"]
    [message] = again.damaged
    assert "runs.jsonl, line 2: damaged, skipped" in message
    again.append(record("c"))
    assert list(Store(tmp_path).records) == ["a", "c"]


@pytest.mark.parametrize("line", ["5", "null", '{"key": "x"}', '"text"', "\x00\x00"])
def test_a_line_of_something_else_is_reported(tmp_path: Path, line: str) -> None:
    (tmp_path / "runs.jsonl").write_text(f"{line}\n{json.dumps(record('a'))}\n")
    store = Store(tmp_path)
    assert list(store.records) == ["a"]
    assert len(store.damaged) == 1
    assert "line 1" in store.damaged[0]


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"--out .*file/x cannot be written .*Give another"):
        Store(tmp_path / "file" / "x")


def test_a_results_file_that_is_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").mkdir()
    with pytest.raises(FolderError, match="cannot be written"):
        Store(tmp_path)


def test_a_failing_write_is_a_refusal_not_a_traceback(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.path.mkdir()
    with pytest.raises(FolderError, match=r"could not be written.*the same command continues"):
        store.append(record("a"))
    assert store.records == {}
