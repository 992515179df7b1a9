"""`thresher bench`: suites, their mistakes, status and export."""

import multiprocessing
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from made_up_runs import Runner, question, record, sweep
from thresher.bench.display import Display
from thresher.bench.results import open_results
from thresher.bench.status import progress
from thresher.bench.suite import Row
from thresher.bench.suite_file import SuiteError, read_suite
from thresher.bench.workers import Advanced, Event
from thresher.cli import main

GOOD = """
seeds: 2
tasks:
  digits: {epochs: 2}
rows:
  - methods: [infobatch]
    prune_ratio: [0.3]
"""


def test_a_suite_makes_tables_and_a_killed_worker_costs_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(GOOD)
    command = ["bench", "run", "suite.yaml", "--workers", "1"]
    show, killed = Display.show, list[int]()

    def show_and_kill(self: Display, event: Event) -> None:
        show(self, event)
        if isinstance(event, Advanced) and not killed:
            [process] = multiprocessing.active_children()
            killed.append(process.pid or 0)
            process.kill()

    monkeypatch.setattr(Display, "show", show_and_kill)
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "Failed: full, seed 0: its process ended with exit code -9" in shown
    assert main(["bench", "status", "runs/suite"]) == 1
    shown = capsys.readouterr().out
    reason = "its process ended with exit code -9 (the next invocation tries again)"
    assert f"digits · full · seed 0: failed: {reason}" in shown
    assert main(command) == 0
    assert "runs are in runs/suite/digits/runs.jsonl." in capsys.readouterr().out
    assert main(["bench", "status", "runs/suite"]) == 0
    page = Path("runs/suite/digits/table.md").read_text("utf-8")
    assert "    thresher bench run suite.yaml\n" in page


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("seeds: 2", "seeds: two", ("seeds", "two", "int")),
        ("seeds: 2", "seeds: 0", ("seeds: 0", "a number of seeds, or a list")),
        ("seeds: 2", "seeds: [1, 1]", ("seeds: [1, 1]",)),
        ("seeds: 2", "sedes: 2", ("sedes",)),
        ("seeds: 2", "seeds: 5\nlooks: [3, 4]", ("looks: 3 4 with 5 seeds", "has all seeds")),
        ("seeds: 2", "margin: -1", ("margin: -1", "more than 0")),
        ("epochs: 2", "epochs: few", ("tasks.digits", "epochs", "few", "int")),
        ("epochs: 2", "epochs: 0", ("tasks.digits.epochs: 0", "1 or more")),
        ("epochs: 2", "epoch: 2", ("tasks.digits", "'epoch'", "epochs")),
        ("digits: {epochs: 2}", "digit:", ("task at tasks.digit 'digit'", "nearest is 'digits'")),
        ("[infobatch]", "[infobach]", ("'infobach'", "nearest is 'infobatch'")),
        ("[infobatch]", "[]", ("rows[1] has an empty list",)),
        ("[0.3]", "[30]", ("rows[1].prune_ratio: 30", "shares in [0, 1)")),
        ("[0.3]", "[much]", ("rows[1]", "prune_ratio", "much", "float")),
        ("[0.3]", "[0.3]\n    tasks: [digit]", ("entry in rows[1].tasks", "nearest is 'digits'")),
        ("[0.3]", "[0.3]\n    step_exponent: [paper]", ("rows[1].step_exponent: paper", "number")),
        ("rows:", "rows: {", ("suite.yaml",)),
    ],
)
def test_a_mistake_in_a_suite_names_the_key_what_came_and_what_was_expected(
    old: str, new: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SuiteError) as caught:
        read_suite(path)
    for part in (*parts, "suite.yaml"):
        assert part in str(caught.value)


def test_a_mistake_is_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.yaml"
    assert main(["bench", "run", str(missing)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "missing.yaml cannot be read (No such file or directory)" in said.err
    assert "Try: thresher bench --help" in said.err
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD)
    assert main(["bench", "run", str(path), "--only", "digit"]) == 2
    assert "unknown entry at --only 'digit'" in capsys.readouterr().err
    assert main(["bench", "run", str(path), "--workers", "0"]) == 2
    assert main(["bench", "status", str(tmp_path)]) == 1
    assert "no runs.jsonl in" in capsys.readouterr().err


def test_blocks_of_rows_add_up_and_may_be_for_some_tasks_only(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        GOOD.replace("  digits: {epochs: 2}", "  a: {task: digits, epochs: 2}\n  digits:")
        + "  - {methods: [repb], step_exponent: [0.5], tasks: [a]}\n"
    )
    suite = read_suite(path)
    common = ["full", "random 0.3", "fewer-epochs 0.3", "infobatch 0.3"]
    assert [str(row) for row in suite.asked("digits")] == common
    assert [str(row) for row in suite.asked("a")] == [
        *common,
        *("random 0.5 γ=0.5", "fewer-epochs 0.5", "repb 0.5 γ=0.5"),
    ]


def test_two_entries_with_the_same_runs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD.replace("  digits:", "  a: {task: digits, epochs: 2}\n  digits:"))
    with pytest.raises(SuiteError, match=r"tasks\.a and tasks\.digits are the same runs"):
        read_suite(path)


def test_the_committed_suites_can_be_read() -> None:
    suites = sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.yaml"))
    assert suites
    for path in suites:
        assert read_suite(path).tasks


def test_status_counts_what_is_done_running_and_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, Runner())[0].run()
    more = {"digits": question(seeds=(0, 1, 2, 3, 4))}
    one, _ = sweep(tmp_path, Runner(), more)
    experiment = one.experiments["digits"]
    experiment.results().save()
    assert experiment.claims.take(experiment.config(Row("full"), 3).key)
    assert main(["bench", "status", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "digits 12 1 0 7" in shown
    assert "digits · full · seed 3: running for 0." in shown
    assert f", process {os.getpid()})" in shown
    experiment.claims.release_all()
    assert main(["bench", "status", str(tmp_path)]) == 1
    assert "digits 12 0 0 8" in " ".join(capsys.readouterr().out.split())


def test_time_left_counts_reference_models_and_is_known_of_every_kind_of_task(
    tmp_path: Path,
) -> None:
    rows = (Row("full"), Row("el2n", 0.5), Row("forgetting", 0.5))
    one, _ = sweep(tmp_path, Runner(), {"digits": question(rows=rows, seeds=(0, 1))})
    experiment = one.experiments["digits"]
    experiment.results().save()
    knobs = experiment.config(Row("full"), 0)
    # As a text's: what a run does not have is not in its record.
    config = replace(knobs, momentum=None, flip=None, shift=None)
    done = record(config, 90.0) | {"key": knobs.key}
    experiment.store.append(done)
    [results] = open_results(tmp_path)
    # 11 s for 10 epochs; left are full once more, and twice 5 + 2 and 5 + 10 epochs.
    assert progress(results, 0.0).left == pytest.approx(1.1 * (10 + 2 * 7 + 2 * 15))
    assert knobs.expected_epochs == 10
    assert experiment.config(rows[1], 0).expected_epochs == 7


def test_results_can_be_packed_and_are_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path / "runs", Runner())[0].run()
    [results] = open_results(tmp_path / "runs")
    packed = tmp_path / "packed" / "runs.jsonl.xz"
    packed.parent.mkdir()
    assert main(["bench", "export", str(tmp_path / "runs"), str(packed)]) == 0
    assert "12 runs in" in capsys.readouterr().out
    [again] = open_results(packed.parent)
    assert again.store.records == results.store.records
    assert again.records == results.records
    assert main(["bench", "export", str(tmp_path / "runs"), "runs.csv"]) == 2


def test_parquet_without_its_package_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path / "runs", Runner())[0].run()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["bench", "export", str(tmp_path / "runs"), str(tmp_path / "all.parquet")]) == 2
    assert 'pip install "thresher[parquet]"' in capsys.readouterr().err
    assert not (tmp_path / "all.parquet").exists()


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["bench", "--help"], ["bench", "run", "--help"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert "thresher bench status runs/lossless" in text
        assert "A suite file:" in text
