"""What a folder remembers of what was asked: before the first run, and from then on."""

import json
from pathlib import Path
from typing import Any

import pytest

from made_up_runs import Runner, question, sweep
from thresher.bench.experiment import Experiment, Question
from thresher.bench.results import open_results
from thresher.bench.store import FolderError
from thresher.bench.suite import Row, RunConfig, asked_rows
from thresher.cli import main

INFOBATCH, REPB = Row("infobatch", 0.7), Row("repb", 0.7)
ADDED = [Row("random", 0.52, is_added=True), Row("fewer-epochs", 0.5, is_added=True)]


def asking(*methods: str, **changes: Any) -> Question:
    return question(rows=tuple(asked_rows(methods, [0.7], [None])), **changes)


def made(folder: Path, asked: Question, runner: Runner | None = None) -> list[str]:
    """Make a sweep; return what its folder says takes from the verdicts."""
    runner = runner or Runner(rates={INFOBATCH: 0.52})
    sweep(folder, runner, {"digits": asked})[0].run()
    [results] = open_results(folder)
    return results.notes


def test_an_entry_that_has_no_run_yet_is_empty_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, Runner())[0].run()
    waiting = Experiment(question(epochs=4), tmp_path / "later")
    waiting.results().save()
    assert not waiting.store.path.exists()
    assert main(["bench", "status", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "digits 12 0 0 0" in shown
    assert "later 0 0 0 12" in shown
    packed = tmp_path / "all" / "runs.jsonl.xz"
    packed.parent.mkdir()
    assert main(["bench", "export", str(tmp_path), str(packed)]) == 0
    assert "12 runs in" in capsys.readouterr().out
    assert main(["report", str(tmp_path), "--format", "json", "--out", "-"]) == 0
    assert open_results(tmp_path / "later")[0].records.keys() == {*question().rows}


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (asking("repb"), asking("repb", seeds=(5, 7, 9)), "Begun with 3 seeds, now the seeds 5, 7"),
        (asking("repb", "infobatch"), asking("repb"), "Not asked for any more: infobatch 0.7. "),
    ],
)
def test_seeds_and_rows_that_were_changed_after_looking_are_told(
    first: Question, then: Question, told: str, tmp_path: Path
) -> None:
    assert made(tmp_path, first) == []
    for _ in range(2):
        [note] = made(tmp_path, then)
        assert note.startswith(told)
    assert made(tmp_path, first) == [], "as it was begun"


def test_a_row_that_was_tried_later_and_left_out_again_is_told(tmp_path: Path) -> None:
    assert made(tmp_path, asking("repb")) == []
    assert made(tmp_path, asking("repb", "omission")) == []
    [note] = made(tmp_path, asking("repb"))
    assert note.startswith("Not asked for any more: omission 0.7. ")


def as_older_versions_wrote_it(path: Path) -> None:
    design = json.loads(path.read_text("utf-8"))
    design["seeds"] = len(design["seeds"])
    design["begun"] = {name: design["begun"][name] for name in ("looks", "margin")}
    design["begun"]["seeds"] = design["seeds"]
    path.write_text(json.dumps(design), "utf-8")


def test_a_folder_of_an_older_version_is_read_and_continued(tmp_path: Path) -> None:
    assert made(tmp_path, asking("repb", "infobatch")) == []
    [before] = open_results(tmp_path)
    as_older_versions_wrote_it(tmp_path / "digits" / "design.json")
    [results] = open_results(tmp_path)
    assert results.rows == before.rows
    assert results.notes == []
    assert (results.asked.num_seeds, results.asked.rows) == (3, before.asked.rows)
    assert made(tmp_path, asking("repb", "infobatch")) == []
    as_older_versions_wrote_it(tmp_path / "digits" / "design.json")
    seeds, rows = made(tmp_path, asking("repb", seeds=(0, 1, 2, 3)))
    assert seeds.startswith("Begun with 3 seeds, now 4 seeds: ")
    assert rows.startswith("Not asked for any more: infobatch 0.7. ")


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"begun": 1}', '{"rows": 3}'])
def test_a_damaged_design_is_refused_with_a_cure_that_cures(content: str, tmp_path: Path) -> None:
    assert made(tmp_path, asking("repb")) == []
    [before] = open_results(tmp_path)
    path = tmp_path / "digits" / "design.json"
    path.write_text(content)
    for reading in (open_results, lambda folder: made(folder, asking("repb"))):
        with pytest.raises(FolderError, match=r"design\.json is damaged\. Delete it: the runs are"):
            reading(tmp_path)
    path.unlink()
    again = Runner()
    assert made(tmp_path, asking("repb"), again) == []
    assert again.made == []
    assert open_results(tmp_path)[0].rows == before.rows


def controls(folder: Path) -> dict[Row, int]:
    """Return the added rows that the folder tells of now, with their finished runs."""
    [results] = open_results(folder)
    return {row: len(runs) for row, runs in results.records.items() if row.is_added}


def test_controls_stay_in_sight_while_more_runs_are_made(tmp_path: Path) -> None:
    asked = asking("infobatch")
    made(tmp_path, asked)
    assert controls(tmp_path) == dict.fromkeys(ADDED, 3)
    seen: list[dict[Row, int]] = []

    def looked(_: RunConfig) -> float:
        seen.append(controls(tmp_path))
        return 90.0

    more = asking("infobatch", seeds=tuple(range(5)))
    made(tmp_path, more, Runner(looked, rates={INFOBATCH: 0.52}))
    assert [list(found) for found in seen] == [ADDED] * 12
    assert min(min(found.values()) for found in seen) == 3
    assert controls(tmp_path) == dict.fromkeys(ADDED, 5)


def test_controls_stay_between_looks(tmp_path: Path) -> None:
    seen: list[list[Row]] = []

    def undecided(run: RunConfig) -> float:
        if run.seed >= 3:
            seen.append(list(controls(tmp_path)))
        return 90.0 + (run.method == "infobatch") * (0.4 * (-1) ** run.seed - 0.5)

    asked = asking("infobatch", seeds=tuple(range(5)), looks=(3, 5))
    made(tmp_path, asked, Runner(undecided, rates={INFOBATCH: 0.52}))
    assert seen == [ADDED] * 12


def test_controls_that_are_not_called_for_any_more_go_when_that_is_known(tmp_path: Path) -> None:
    made(tmp_path, asking("infobatch", seeds=(0, 1, 2)))
    failing = Runner(fails=lambda row: row == INFOBATCH, rates={INFOBATCH: 0.52})
    made(tmp_path, asking("infobatch", seeds=(0, 1, 2, 3)), failing)
    assert controls(tmp_path) == dict.fromkeys(ADDED, 4)
    made(tmp_path, asking("repb"))
    assert controls(tmp_path) == {}


def test_controls_of_other_runs_and_rows_that_are_asked_for_now_are_not_taken_over(
    tmp_path: Path,
) -> None:
    made(tmp_path, asking("infobatch"))
    longer = Experiment(asking("infobatch", epochs=12), tmp_path / "digits")
    assert longer.added == []
    rows = (*asking("infobatch").rows, Row("random", 0.52))
    again = Experiment(question(rows=rows), tmp_path / "digits")
    assert again.added == ADDED[1:]
