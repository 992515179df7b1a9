"""A folder of runs is read without changing it; what may be compared stands together."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from report.made_up import a_comparison, a_run, written
from thresher.bench.metrics import BITS
from thresher.bench.report.runs import NoRunsError, read
from thresher.bench.report.runs import grouped as grouped_in
from thresher.bench.suite import Row


def grouped(records: Any) -> list[Any]:
    return grouped_in(records, Path())


def test_runs_come_from_the_plain_file_and_from_the_compressed_one(tmp_path: Path) -> None:
    records = a_comparison()
    folder = written(records[:5], tmp_path)
    packed = "".join(f"{json.dumps(record)}\n" for record in records[5:])
    (folder / "runs.jsonl.xz").write_bytes(lzma.compress(packed.encode()))
    [group] = read(folder).groups
    assert len(group.all) == 15
    assert group.seeds == (0, 1, 2)
    assert group.num_samples == 100


def test_reading_leaves_a_folder_that_nobody_may_write_to_as_it_was(tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path / "runs")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o500)
    try:
        read(folder)
    finally:
        folder.chmod(0o700)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_rows_are_in_order_and_controls_that_no_method_asked_for_are_added_ones() -> None:
    records = [*a_comparison(seeds=1), a_run("random", 0.45, 0, 88.0)]
    [group] = grouped(reversed(records))
    assert list(group.records) == [
        Row("full"),
        *(Row(name, 0.5) for name in ("fewer-epochs", "random", "repb", "orderdp")),
        Row("random", 0.45, None, is_added=True),
    ]


@pytest.mark.parametrize("knob", [{"epochs": 5}, {"task": "other"}, {"data": "1"}, {"model": "x"}])
def test_runs_that_may_not_be_compared_stand_apart(knob: dict[str, Any]) -> None:
    records = [*a_comparison(seeds=1), *a_comparison(seeds=1, **knob)]
    first, second = grouped(records)
    assert len(first.all) == len(second.all) == 5


def test_a_run_that_was_made_again_counts_once_with_its_last_line(tmp_path: Path) -> None:
    run = a_run("full", None, 0, 90.0)
    [group] = read(written([run, {**run, "metric": 91.0}], tmp_path)).groups
    assert [run["metric"] for run in group.all] == [91.0]


def test_a_metric_tells_its_own_name_and_direction() -> None:
    [group] = grouped([a_run("full", None, 0, 2.0, measure=BITS.in_record())])
    assert group.measure == BITS


def damaged_lines() -> dict[str, str]:
    whole = a_run("full", None, 0, 90.0)
    return {
        "cut off": json.dumps(whole)[:-20],
        "number": "5",
        "list": "[]",
        "nothing": "{}",
        "deep": "[" * 100_000,
        "key": json.dumps({**whole, "key": 5}),
        "method": json.dumps({**whole, "config": {**whole["config"], "method": None}}),
        "seed": json.dumps({**whole, "config": {**whole["config"], "seed": "0"}}),
        "ratio": json.dumps({**whole, "config": {**whole["config"], "prune_ratio": "half"}}),
        "metric": json.dumps({**whole, "metric": "<b>90</b>"}),
        "seconds": json.dumps({**whole, "seconds": {"training": "long"}}),
        "no time": json.dumps({**whole, "seconds": {"training": 0.0}}),
        "no training": json.dumps({**whole, "seconds": {}}),
        "epochs": json.dumps({**whole, "epochs": [{"planned": 1}]}),
        "weights": json.dumps(
            {**whole, "epochs": [{**whole["epochs"][0], "effective_samples": "many"}]}
        ),
        "operations": json.dumps({**whole, "flops": {"ratio": "less"}}),
        "forwards": json.dumps({**whole, "extra_forwards": [1]}),
        "notes": json.dumps({**whole, "notes": 5}),
        "measure": json.dumps({**whole, "measure": {"name": "x"}}),
        "measure's name": json.dumps({**whole, "measure": BITS.in_record() | {"name": 3}}),
        "measure's margin": json.dumps({**whole, "measure": BITS.in_record() | {"margin": "x"}}),
        "epoch of text": json.dumps({**whole, "epochs": ["<script>"]}),
    }


@pytest.mark.parametrize("line", damaged_lines().values(), ids=damaged_lines().keys())
def test_a_damaged_line_is_told_and_skipped(line: str, tmp_path: Path) -> None:
    folder = written([a_run("full", None, 1, 90.0)], tmp_path)
    with (folder / "runs.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    found = read(folder)
    assert [group.seeds for group in found.groups] == [(1,)]
    [told] = found.damaged
    assert told.startswith(("runs.jsonl, line 3: ", "a run of "))
    assert told.endswith("; skipped")
    assert "<" not in told


def test_a_damaged_archive_is_told_and_the_plain_file_still_counts(tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path)
    (folder / "runs.jsonl.xz").write_bytes(b"no archive")
    found = read(folder)
    assert len(found.groups[0].all) == 15
    assert found.damaged == ["runs.jsonl.xz, line 1: damaged; skipped"]


def design(records: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for record in records:
        config = record["config"]
        row = (config["method"], config["prune_ratio"], config["step_exponent"])
        rows.setdefault(row, {})[str(config["seed"])] = record["key"]
    names = ("method", "prune_ratio", "step_exponent")
    return {
        "task": "digits",
        "title": "A title",
        "margin": 0.7,
        "seeds": 3,
        "looks": [2, 3],
        "command": "thresher compare --looks 2 3",
        "begun": {"seeds": 3, "looks": [2, 3], "margin": 0.7},
        "rows": [
            dict(zip(names, row, strict=True)) | {"is_added": False, "keys": keys}
            for row, keys in rows.items()
        ],
        **other,
    }


def test_a_folder_that_says_what_was_asked_is_told_as_that(tmp_path: Path) -> None:
    records = a_comparison()
    folder = written([*records, a_run("ucb", 0.5, 0, 80.0)], tmp_path)
    (folder / "design.json").write_text(json.dumps(design(records)))
    [group] = read(folder).groups
    assert (group.title, group.margin, group.looks) == ("A title", 0.7, (2, 3))
    assert group.command == "thresher compare --looks 2 3"
    # What nobody asks for any more is not in the table.
    assert [row.method for row in group.records] == [
        *("full", "random", "fewer-epochs", "orderdp", "repb")
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[]",
        '{"begun": 1}',
        json.dumps(design(a_comparison(), title=["<b>"])),
        json.dumps(design(a_comparison(), rows=[{"method": 1}])),
        json.dumps(design(a_comparison(), rows=3)),
        json.dumps(design(a_comparison(), margin="much", looks=None)),
    ],
)
def test_a_design_that_cannot_be_read_leaves_the_runs_to_speak(broken: str, tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path)
    (folder / "design.json").write_text(broken)
    [group] = read(folder).groups
    assert len(group.all) == 15
    assert group.command == ""


def test_a_suite_is_the_folders_below_it(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written(a_comparison(model=name), tmp_path / "suite" / name)
    found = read(tmp_path / "suite")
    assert [group.common["model"] for group in found.groups] == ["a", "b"]
    assert [group.folder.name for group in found.groups] == ["a", "b"]


def test_no_runs_are_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(NoRunsError, match=r"no runs\.jsonl and no .*Give the folder"):
        read(tmp_path)
    with pytest.raises(NoRunsError, match="no finished run"):
        read(written([], tmp_path))
