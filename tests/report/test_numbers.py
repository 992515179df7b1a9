"""All numbers of a report as JSON and CSV, and a margin that was chosen late."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report.made_up import EPOCHS, a_comparison, a_run, with_samples, written
from report.test_page import Pictures
from thresher.bench.metrics import BITS
from thresher.bench.report import measured as of_rows
from thresher.bench.report.specimens import Data
from thresher.bench.report.views import spoken
from thresher.cli import main
from thresher.errors import SettingError


def reported(folder: Path, form: str, *flags: str) -> str:
    out = folder / f"out.{form}"
    assert main(["report", str(folder), "--format", form, "--out", str(out), *flags]) == 0
    return out.read_text(encoding="utf-8")


def in_bits() -> list[dict[str, Any]]:
    return [
        a_run(method, ratio, seed, 2.0 + 0.01 * seed, measure=BITS.in_record(), task="t", epochs=8)
        for method, ratio in (("full", None), ("repb", 0.5))
        for seed in range(2)
    ]


def test_a_margin_that_was_chosen_late_is_noted_and_in_the_command(tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path / "runs")
    late = reported(folder, "markdown", "--margin", "2")
    assert "a margin of 2 instead of 0.5 points: chosen when results could be seen" in late
    assert "thresher report RUNS --margin 2" in late
    own = reported(folder, "markdown")
    assert "chosen when results" not in own
    assert "--margin" not in own
    assert "chosen when results" not in reported(folder, "markdown", "--margin", "0.5")


def test_one_margin_for_points_and_bits_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(a_comparison(), tmp_path / "one")
    written(in_bits(), tmp_path / "two")
    assert main(["report", str(tmp_path), "--margin", "0.5"]) == 2
    assert "--margin 0.5 for points and bits" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 0


def test_lines_of_csv_say_what_their_numbers_are_of(tmp_path: Path) -> None:
    written(a_comparison(), tmp_path / "one")
    written(in_bits(), tmp_path / "two")
    rows = list(csv.DictReader(io.StringIO(reported(tmp_path, "csv"))))
    told = {(row["folder"], row["unit"], row["higher_is_better"], row["epochs"]) for row in rows}
    assert told == {("one", "%", "True", "4"), ("two", "bits", "False", "8")}
    assert {row["margin"] for row in rows} == {"0.5", "0.02"}


def test_the_json_has_seconds_by_part_and_numbers_by_epoch(tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path / "runs")
    [task] = json.loads(reported(folder, "json"))["tasks"]
    [row] = [row for row in task["rows"] if row["method"] == "repb"]
    assert row["seconds_by_part"]["evaluation"] == 0.5
    assert row["by_epoch"]["trained"] == [50.0] * EPOCHS
    assert task["samples"] == []


def test_the_json_tells_how_many_suspects_are_known_to_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up samples are suspected in the order of their ids, and the first 15 are wrong."""
    records = a_comparison()
    folder = written(records, tmp_path / "runs")
    with_samples(records, folder)
    wrong = np.arange(100) < 15
    monkeypatch.setattr(of_rows, "data_of", lambda *_: Data(Pictures(), wrong))
    [task] = json.loads(reported(folder, "json"))["tasks"]
    for row in task["samples"]:
        assert row["wrong_among_suspects"] == {"10": 1.0, "15": 1.0}
    [row] = [row for row in task["samples"] if row["method"] == "orderdp"]
    assert row["mean_visits"] == pytest.approx(EPOCHS / 2, abs=0.1)
    assert 0 < row["share_below_half_of_the_mean"] < 0.5


def test_settings_that_end_in_brackets_are_said_whole() -> None:
    assert spoken("repb(rule=importance(x=1))") == "RePB (rule=importance(x=1))"


def test_a_refused_margin_is_a_setting(tmp_path: Path) -> None:
    assert issubclass(SettingError, ValueError)
    written(a_comparison(), tmp_path)
    assert main(["report", str(tmp_path), "--margin", "-1"]) == 2
