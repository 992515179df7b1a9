"""Entries of a suite: whose runs are whose, and where their data are."""

import io
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.stand_ins import ag_news, news
from made_up_runs import Runner, question, record, row, sweep
from thresher.bench.command import RunOptions, opened
from thresher.bench.compare import finish
from thresher.bench.experiment import Experiment
from thresher.bench.images import Images
from thresher.bench.suite import Row
from thresher.bench.suite_file import SuiteError, read_suite
from thresher.bench.sweep import Sweep
from thresher.bench.tasks import DataError, cifar, fashion_mnist
from thresher.bench.trainer import Trainer
from thresher.bench.workers import Finished, Started
from thresher.errors import SettingError

BLOCK = "rows:\n  - methods: [repb]\n"


def suite_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(text + BLOCK)
    return path


def test_one_margin_is_not_for_points_and_bits(tmp_path: Path) -> None:
    tasks = "margin: 0.5\ntasks:\n  digits:\n  tinyshakespeare:"
    with pytest.raises(SuiteError, match=r"margin: 0\.5 for points and bits"):
        read_suite(suite_of(tmp_path, f"{tasks}\n"))
    assert read_suite(suite_of(tmp_path, f"{tasks} {{margin: 0.02}}\n")).margin == 0.5


@pytest.mark.parametrize("same", ["", "epochs: 20", "batch_size: 32", "epochs: 20, margin: 1"])
def test_entries_that_differ_only_in_writing_out_a_default_are_refused_by_name(
    same: str, tmp_path: Path
) -> None:
    path = suite_of(tmp_path, f"tasks:\n  digits:\n  again: {{task: digits, {same}}}\n")
    with pytest.raises(SuiteError, match=r"tasks\.digits and tasks\.again are the same runs"):
        read_suite(path)


@pytest.mark.parametrize("other", ["epochs: 19", "batch_size: 64", "data: elsewhere"])
def test_entries_that_differ_in_their_runs_are_not(other: str, tmp_path: Path) -> None:
    path = suite_of(tmp_path, f"tasks:\n  digits:\n  other: {{task: digits, {other}}}\n")
    assert list(read_suite(path).tasks) == ["digits", "other"]


def texts(folder: Path, change: str = "") -> str:
    """Write a small AG News; return its folder."""
    folder.mkdir()
    ag_news(folder, [each | {"text": each["text"] + change} for each in news()])
    return str(folder)


def test_two_entries_that_turn_out_to_be_of_the_same_data_are_refused(tmp_path: Path) -> None:
    folders = [texts(tmp_path / name) for name in ("one", "copy")]
    same = {folder: question(task="ag-news", data=folder, epochs=1) for folder in folders}
    with pytest.raises(SettingError, match=r"/one and .*/copy are the same runs, of the same data"):
        sweep(tmp_path / "out", Runner(), same)


def test_entries_that_differ_in_their_data_alone_train_each_on_its_own(tmp_path: Path) -> None:
    plain, longer = texts(tmp_path / "plain"), texts(tmp_path / "longer", " once more")
    asked = {
        name: question(task="ag-news", data=folder, epochs=1, seeds=(0,))
        for name, folder in (("plain", plain), ("longer", longer))
    }
    runner = Runner()
    one, _ = sweep(tmp_path / "out", runner, asked)
    one.run()
    assert len(runner.made) == 8
    assert [len(each.store.records) for each in one.experiments.values()] == [4, 4]
    assert list(runner.folders.values()) == [plain, longer]
    # As workers do it, one run after the other.
    trainer = Trainer(runner.folders)
    threads = torch.get_num_threads()
    try:
        for name in ("plain", "longer", "plain"):
            config = one.experiments[name].config(Row("full"), 0)
            kind, *rest = trainer.outcome(config, lambda *_: None)
            assert kind == "done", rest
    finally:
        torch.set_num_threads(threads)


def small_images(*_: Any, **__: Any) -> Images:
    pictures, labels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4)
    return Images(
        train_images=pictures, train_labels=labels, test_images=pictures, test_labels=labels
    )


def opened_with(tmp_path: Path, task: str) -> Experiment:
    """Open a suite of one task with --data tmp_path/given."""
    path = suite_of(tmp_path, f"tasks:\n  {task}:\n")
    folders = {"data": str(tmp_path / "given"), "out": str(tmp_path / "out")}
    return opened(read_suite(path), task, RunOptions(suite=str(path), **folders))


def test_a_damaged_file_in_the_given_folder_is_told_and_not_looked_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "from_hub", small_images)
    (tmp_path / "given").mkdir()
    assert opened_with(tmp_path, "cifar10").question.data is None, "nothing of it is there"
    (tmp_path / "given" / "cifar10.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"given/cifar10\.npz is damaged"):
        opened_with(tmp_path, "cifar10")


def test_half_of_the_files_in_the_given_folder_is_not_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "absent")
    monkeypatch.setattr(fashion_mnist, "from_hub", small_images)
    (tmp_path / "given").mkdir()
    assert opened_with(tmp_path, "fashion-mnist").question.data is None
    (tmp_path / "given" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"no file train-images-idx3-ubyte\.gz in .*given"):
        opened_with(tmp_path, "fashion-mnist")


def test_data_that_are_nowhere_are_missed_in_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").mkdir()
    assert opened_with(tmp_path, "digits").question.data is None
    nowhere = (
        r"no file input\.txt in .*given; without that folder: input\.txt comes with no package"
    )
    with pytest.raises(DataError, match=nowhere):
        opened_with(tmp_path, "tinyshakespeare")

    def from_hub(*_: Any, **__: Any) -> Images:
        raise DataError("the hub is down", cure="Wait")

    monkeypatch.setattr(cifar, "from_hub", from_hub)
    both = r"no file cifar10\.npz in .*given; without that folder: the hub is down\. Wait"
    with pytest.raises(DataError, match=both):
        opened_with(tmp_path, "cifar10")


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("", 5), ("looks: [3, 10]\n", 10), ("seeds: [4, 8]\nlooks: [2]\n", (4, 8))],
)
def test_seeds_are_as_many_as_the_last_look_has_unless_they_are_given(
    text: str, seeds: int | tuple[int, ...], tmp_path: Path
) -> None:
    suite = read_suite(suite_of(tmp_path, f"{text}tasks:\n  digits:\n"))
    assert suite.all_seeds == (tuple(range(seeds)) if isinstance(seeds, int) else seeds)


def test_looks_that_say_nothing_are_refused_as_looks(tmp_path: Path) -> None:
    path = suite_of(tmp_path, "looks: [0]\ntasks:\n  digits:\n")
    with pytest.raises(SuiteError, match=r"looks: 0; expected: ascending numbers of seeds, from 2"):
        read_suite(path)


def test_a_run_that_failed_in_another_invocation_is_told_and_the_exit_code_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thresher.bench.compare.report", lambda *_: None)
    folder, asked = tmp_path / "digits", question(seeds=(0,))
    other = Experiment(asked, folder)
    theirs = other.config(Row("repb", 0.5), 0)
    assert other.claims.take(theirs.key)
    failure = {"key": theirs.key, "reason": "ValueError: no luck", "details": "Traceback of it"}

    def runner(configs: Any, **_: Any) -> Any:
        for config in configs:
            if config is None:
                other.store.fail(failure)
                other.claims.release(theirs.key)
                continue
            assert row(config) != Row("repb", 0.5)
            yield Started(0, config)
            yield Finished(0, config, record(config, 90.0))

    said = io.StringIO()
    console = Console(file=said, width=200)
    assert finish(Sweep({"digits": Experiment(asked, folder)}, console, num_workers=1,
                        runner=runner)) == 1  # fmt: skip
    assert "Failed: repb 0.5, seed 0: ValueError: no luck\nTraceback of it" in said.getvalue()
    again = Sweep({"digits": Experiment(asked, folder)}, console, num_workers=1, runner=Runner())
    assert finish(again) == 0
    assert not multiprocessing.active_children()
