"""Runs that diverged, entries of one task, and seeds of samples are told apart."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from report.made_up import a_comparison, a_run, with_samples, written
from report.parsed import Parsed
from thresher.bench.report.command import Request
from thresher.bench.report.command import written as page_of
from thresher.bench.report.runs import read

FORMATS = ("html", "markdown", "csv", "json")


def told(folder: Path, **request: Any) -> str:
    return page_of(read(folder), Request(runs=str(folder), **request))


def diverged() -> list[dict[str, Any]]:
    nan = float("nan")
    more = [a_run("ucb", 0.5, seed, nan if seed == 1 else 88.0) for seed in range(3)]
    return [*a_comparison(), *more]


def test_a_row_that_diverged_is_counted_and_has_no_numbers(tmp_path: Path) -> None:
    folder = written(diverged(), tmp_path)
    page = told(folder)
    text = " ".join(Parsed(page).texts)
    assert "Of 3 rows of methods, " in text
    assert "1 is without a number to judge, as a run diverged" in text
    assert 'class="badge diverged"' in page
    assert "nan" not in page.lower().split("<main>")[1].split("<script>")[0]
    markdown = told(folder, format="markdown")
    assert "nan" not in markdown.lower()
    [row] = [line for line in markdown.splitlines() if line.startswith("| ucb |")]
    assert "| – | – | diverged |" in row


@pytest.mark.parametrize("form", FORMATS)
def test_two_entries_of_one_task_can_be_told_apart(form: str, tmp_path: Path) -> None:
    written(a_comparison(), tmp_path / "long")
    written(a_comparison(epochs=2), tmp_path / "quick")
    text = told(tmp_path, format=form)
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {(row["folder"], row["epochs"]) for row in rows} == {("long", "4"), ("quick", "2")}
    elif form == "json":
        assert [task["folder"] for task in json.loads(text)["tasks"]] == ["long", "quick"]
    else:
        # On the page in the navigation, over a column of the overview, and over the part itself.
        assert text.count("· long") == text.count("· quick") == (3 if form == "html" else 1)


def test_runs_of_one_folder_that_stand_apart_are_named_by_what_differs(tmp_path: Path) -> None:
    short = [run | {"key": f"short {run['key']}"} for run in a_comparison(seeds=1, epochs=2)]
    folder = written([*a_comparison(seeds=1), *short], tmp_path / "all")
    headings = [text for text in Parsed(told(folder)).texts if " · all, epochs " in text]
    assert {heading.rpartition(" · ")[2] for heading in headings} == {
        "all, epochs 4",
        "all, epochs 2",
    }


def test_one_entry_of_a_task_keeps_its_title(tmp_path: Path) -> None:
    written(a_comparison(), tmp_path / "a")
    written(a_comparison(task="cifar10"), tmp_path / "b")
    assert " · a" not in told(tmp_path, format="markdown")


def test_the_csv_says_what_was_measured_and_how_sure_the_front_is(tmp_path: Path) -> None:
    folder = written(a_comparison(), tmp_path / "runs")
    first = next(csv.DictReader(io.StringIO(told(folder, format="csv"))))
    names = ("folder", "epochs", "metric", "unit", "higher_is_better", "margin")
    assert [first[name] for name in names] == ["runs", "4", "accuracy", "%", "True", "0.5"]
    assert 0 <= float(first["front_share"]) <= 1
    [task] = json.loads(told(folder, format="json"))["tasks"]
    assert task["rows"][0]["front_share"] == float(first["front_share"])


def test_seeds_of_samples_are_told_row_by_row_if_they_differ(tmp_path: Path) -> None:
    records = a_comparison(seeds=2)
    folder = written(records, tmp_path)
    with_samples([run for run in records if run["config"]["seed"] == 0][:4], folder)
    assert "Counts of seed 0" in told(folder)
    with_samples([run for run in records if run["config"]["seed"] == 1][4:], folder)
    page = told(folder)
    assert "Counts of seed" not in page
    assert "seed 0 · " in page
    assert "seed 1 · " in page


def test_the_table_shows_what_was_trained_and_asked_beside_shares(tmp_path: Path) -> None:
    records = a_comparison()
    page = Parsed(told(written(records, tmp_path / "a")))
    assert {"helped", "front", "saved", "samples"} <= set(page.texts)
    assert "extra forwards" not in page.texts
    assert "reference samples" not in page.texts
    assert "4.0 s" in page.texts  # of full training: visible, not told to a pointer alone
    for record in records:
        record |= {"extra_forwards": 1234, "reference_samples": 4321}
    text = set(Parsed(told(written(records, tmp_path / "b"))).texts)
    assert {"extra forwards", "1,234", "reference samples", "4,321"} <= text


def test_every_cell_that_shows_a_number_can_be_sorted_by_it(tmp_path: Path) -> None:
    page = Parsed(told(written(diverged(), tmp_path)))
    values = [each["data-value"] for each in page.all("td") if "data-value" in each]
    assert len(values) > 30
    assert all(value == "" or math.isfinite(float(value)) for value in values)
    assert all("data-value" in each or each.get("class") == "t" for each in page.all("td"))
