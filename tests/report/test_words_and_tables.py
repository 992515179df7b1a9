"""What is said in words and in plain tables is what the runs say, and no markup."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from report.made_up import HOSTILE, a_comparison, a_run
from thresher.bench.metrics import ACCURACY, BITS
from thresher.bench.report import plain
from thresher.bench.report.commands import command_of
from thresher.bench.report.runs import Found, Together
from thresher.bench.report.runs import grouped as grouped_in
from thresher.bench.report.sentences import changed
from thresher.bench.report.story import Story, provenance, stories_of
from thresher.bench.report.views import views_of
from thresher.bench.summary import summarise
from thresher.cli import parse

NO_FACTS = {"commands": [], "versions": [], "commits": [], "machines": [], "notes": []}


def grouped(records: list[dict[str, Any]]) -> list[Together]:
    return grouped_in(records, Path())


def story(**other: Any) -> Story:
    return Story(grouped(a_comparison(**other))[0], 0.5, 1)


def test_the_first_sentence_tells_the_best_method_with_its_numbers() -> None:
    one = story()
    best = next(line for line in one.lines if line.row.method == "orderdp")
    assert best.difference is not None
    interval = best.difference.interval()
    assert interval is not None
    low, high = (f"{end:+.2f}".replace("-", "−") for end in interval)
    assert one.summary[0] == (
        f"At 50\xa0%, OrderDP trained 50\xa0% fewer samples and "
        f"{changed(best.difference.mean, ACCURACY)} (95\xa0% interval {low} to {high}: "
        f"{best.verdict}), in 50\xa0% of full training's time."
    )
    assert "Against random pruning that saved as much it is 1." in one.summary[1]


def test_the_words_count_every_row_of_a_method_once() -> None:
    one = story()
    assert sum(one.tally.values()) == 2
    assert one.tally["worse"] == 1
    text = " ".join(one.summary)
    assert "Of 2 rows of methods, " in text
    assert "1 is shown to be worse" in text
    assert "rows (" in text or "None of them is shown" in text


def test_one_seed_shows_nothing_and_says_so() -> None:
    one = story(seeds=1)
    assert "one seed, so nothing is shown" in one.summary[0]
    assert one.tally == {"one seed": 2}


def test_runs_without_methods_or_without_full_are_told_as_that() -> None:
    [group] = grouped([a_run("full", None, 0, 90.0), a_run("random", 0.5, 0, 88.0)])
    assert "no runs of a method" in Story(group, 0.5, 1).summary[0]
    [group] = grouped([a_run("repb", 0.5, 0, 90.0)])
    assert Story(group, 0.5, 1).summary == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(-0.333, "lost 0.33 points"), (0.1, "gained 0.10 points"), (0.0, "lost nothing")],
)
def test_a_difference_in_words(value: float, words: str) -> None:
    assert changed(value, ACCURACY) == words


def test_a_view_has_the_controls_and_at_most_six_methods() -> None:
    records = a_comparison(seeds=1)
    records += [a_run(f"repb(window={k})", 0.5, 0, 85.0 + k) for k in range(8)]
    records += [a_run("repb", 0.3, 0, 85.0), a_run("random", 0.45, 0, 85.0)]
    [group] = grouped(records)
    first, second = views_of(summarise(group.records, 0.5))
    assert (first.ratio, second.ratio) == (0.5, 0.3)
    assert [each.style for each in first.shown[:3]] == ["full", "random", "fewer"]
    assert [each.style for each in first.shown[3:]] == ["m0", "m1", "m2", "m3", "m4", "m5"]
    best = {"OrderDP", *(f"RePB (window={k})" for k in range(3, 8))}
    assert {each.name for each in first.shown[3:]} == best
    assert len(first.left_out) == 4
    assert [each.name for each in second.shown] == ["full", "RePB"]


def test_the_csv_has_every_row_with_its_numbers() -> None:
    one = story()
    rows = list(csv.DictReader(io.StringIO(plain.table([one]))))
    assert [row["method"] for row in rows] == [line.row.method for line in one.lines]
    assert float(rows[-1]["mean"]) == one.lines[-1].mean
    assert rows[0]["difference"] == ""


def test_the_json_is_strict_and_has_what_the_table_has() -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    one = story(seeds=1)
    found = json.loads(plain.document([one], NO_FACTS), parse_constant=refuse)
    [task] = found["tasks"]
    assert task["summary"] == one.summary
    assert [row["method"] for row in task["rows"]] == [line.row.method for line in one.lines]
    assert task["rows"][0]["sd"] is None


def test_the_markdown_has_a_row_for_each_line() -> None:
    one = story()
    text = plain.markdown([one], NO_FACTS | {"commands": ["thresher compare"]})
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(one.lines)
    assert "    thresher compare" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_run_makes_markup_in_markdown_or_a_formula_in_csv(text: str) -> None:
    records = a_comparison(task=text, model=text, notes=[text], versions={text: text}, commit=text)
    records += [a_run(text, 0.5, seed, 80.0, task=text, model=text) for seed in range(3)]
    found = Found(Path(), grouped(records))
    stories = stories_of(found, None)
    page = plain.markdown(stories, NO_FACTS | provenance(found))
    for line in page.splitlines():
        bare = line.replace("\\\\", "").replace("\\<", "").replace("\\`", "").replace("\\[", "")
        assert "<" not in bare
        assert "`" not in bare
        assert "](" not in bare or "[" not in bare
    tables = [line.replace("\\|", "") for line in page.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in tables}) == 1
    for row in csv.reader(io.StringIO(plain.table(stories))):
        assert not any(cell.startswith(("=", "@", "+")) for cell in row)
    assert json.loads(plain.document(stories, NO_FACTS))["tasks"][0]["task"] == text


def test_the_command_asks_for_the_same_runs() -> None:
    records = a_comparison(seeds=2)
    records += [a_run("repb", 0.3, 0, 85.0, step_exponent=0.5), a_run("random", 0.45, 0, 85.0)]
    [group] = grouped(records)
    command = command_of(Story(group, 0.25, 1)).split()
    assert command[:2] == ["thresher", "compare"]
    asked = parse(command[1:])
    assert asked.prune_ratio == (0.3, 0.5)
    assert asked.step_exponent == (None, 0.5)
    assert set(asked.methods) == {"full", "random", "fewer-epochs", "orderdp", "repb"}
    assert (asked.seeds, asked.epochs, asked.margin, asked.batch_size) == ((0, 1), 4, 0.25, None)


def test_runs_of_an_unknown_task_or_method_have_no_command() -> None:
    assert command_of(story(task="<script>")) == ""
    [group] = grouped([a_run("<script>", 0.5, 0, 1.0)])
    assert command_of(Story(group, 0.5, 1)) == ""


def test_notes_are_told_once_and_missing_seeds_too() -> None:
    records = a_comparison(notes=["a note"])[:-1]
    notes = Story(grouped(records)[0], 0.5, 1).notes
    assert "RePB: 2 of 3 seeds are finished" in notes
    assert "OrderDP 0.5: a note" in notes
    assert len(notes) == 6


def test_a_metric_that_falls_is_told_in_its_own_points_and_plus_is_better() -> None:
    records = [
        a_run(method, ratio, seed, metric + 0.01 * seed, measure=BITS.in_record())
        for method, ratio, metric in (("full", None, 2.0), ("repb", 0.5, 1.9))
        for seed in range(2)
    ]
    assert "gained 0.100 bits (" in Story(grouped(records)[0], 0.02, 1).summary[0]
