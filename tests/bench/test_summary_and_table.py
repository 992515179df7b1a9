"""From finished runs to the lines of the table, and how they are printed."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from thresher.bench import table
from thresher.bench.suite import Row, asked_rows
from thresher.bench.summary import Line, rates, summarise

EFFECTS = {"random": -1.0, "fewer-epochs": -1.2, "infobatch": -1.1, "repb": -0.1}


def run(row: Row, seed: int, rate: float) -> dict[str, Any]:
    noise = 0.02 * ((7 * seed + len(row.method)) % 3 - 1)
    return {
        "metric": 91.0 + 0.3 * seed + noise + EFFECTS.get(row.method, 0.0),
        "prune_rate": rate,
        "samples_trained": round(600_000 * (1 - rate)),
        "extra_forwards": 0,
        "seconds": {"training": 40.0 * (1 - rate) * (1 + seed)},
    }


def records(
    rows: Sequence[Row], num_seeds: int = 5, achieved: dict[Row, float] | None = None
) -> dict[Row, dict[int, dict[str, Any]]]:
    achieved = achieved or {}
    return {
        row: {
            seed: run(row, seed, achieved.get(row, row.prune_ratio or 0.0))
            for seed in range(num_seeds)
        }
        for row in rows
    }


ROWS = asked_rows(["infobatch", "repb"], [0.5], [None])
HEADING = table.Heading(
    title="A task", num_seeds=5, margin=0.5, notes=["A note."], command="thresher compare"
)


def by_name(lines: Sequence[Line]) -> dict[str, Line]:
    return {str(line.row): line for line in lines}


def test_lines_are_means_over_seeds_paired_with_full() -> None:
    lines = by_name(summarise(records(ROWS), margin=0.5))
    repb = lines["repb 0.5"]
    # 20 s · (1 + seed) against 40 s · (1 + seed): paired by seed the ratio is exactly 2.
    assert repb.speed_up == pytest.approx(2.0)
    assert repb.seconds == pytest.approx(60.0)
    assert repb.samples == 300_000
    assert repb.difference is not None
    assert repb.difference.mean == pytest.approx(-0.1, abs=0.05)
    assert repb.verdict == "lossless (equivalent)"
    assert lines["full"].verdict == "–"
    assert lines["full"].difference is None
    assert lines["fewer-epochs 0.5"].verdict == "worse"


def test_what_a_static_method_chooses_by_is_in_its_time_and_has_a_column() -> None:
    finished = records(asked_rows(["el2n"], [0.5], [None]))
    for run in finished[Row("el2n", 0.5)].values():
        run["reference_samples"] = 120_000
        # As much again as its 20 s · (1 + seed) of training.
        whole = run["seconds"]["training"]
        run["seconds"] |= {"reference": whole / 2, "collecting": whole / 4, "selecting": whole / 4}
    lines = summarise(finished, margin=0.5)
    found = by_name(lines)
    assert found["el2n 0.5"].speed_up == pytest.approx(1.0)
    assert found["el2n 0.5"].seconds == found["full"].seconds
    assert found["el2n 0.5"].samples == 300_000
    assert table.cells(lines)["reference"] == ["0", "0", "0", "120,000"]
    assert any(text.startswith("Reference: ") for text in table.legend(lines, HEADING))
    without = summarise(records(ROWS), margin=0.5)
    assert "reference" not in table.cells(without)
    assert not any(text.startswith("Reference: ") for text in table.legend(without, HEADING))


def test_a_method_has_helped_if_it_beats_both_controls() -> None:
    lines = by_name(summarise(records(ROWS), margin=0.5))
    assert lines["repb 0.5"].has_helped == "yes"
    assert lines["infobatch 0.5"].has_helped == "no"  # worse than random at the same rate
    assert lines["random 0.5"].has_helped == lines["full"].has_helped == "–"


def test_a_method_is_compared_at_the_rate_it_achieved() -> None:
    asked = asked_rows(["infobatch"], [0.3, 0.7], [None, 0.5])
    added = [Row("random", 0.45, None, is_added=True), Row("fewer-epochs", 0.45, is_added=True)]
    achieved = {Row("infobatch", 0.7): 0.4519, Row("infobatch", 0.7, 0.5): 0.4519}
    lines = by_name(summarise(records([*asked, *added], achieved=achieved), margin=0.5))
    published, common = lines["infobatch 0.7"], lines["infobatch 0.7 γ=0.5"]
    assert published.random is not None
    assert published.random.row == added[0]
    assert published.fewer_epochs is not None
    assert published.fewer_epochs.row == added[1]
    assert common.random is None, "there is no random row at this step length and rate"
    assert common.has_helped == "–"


def test_a_method_that_saved_nothing_is_compared_with_full() -> None:
    asked = asked_rows(["repb"], [0.7], [None])
    lines = by_name(summarise(records(asked, achieved={Row("repb", 0.7): 0.04}), margin=0.5))
    control = lines["repb 0.7"].fewer_epochs
    assert control is not None
    assert control.row == Row("full")


@pytest.mark.parametrize("rate", [0.49999, 0.5, 0.50001])
def test_of_fewer_epochs_none_that_cost_less_than_the_method_are_its_control(rate: float) -> None:
    """Five epochs have no half: three are the control, whatever the fifth digit of the rate."""
    asked = asked_rows(["repb"], [0.3, 0.5, 0.7], [None])
    fewer = {Row("fewer-epochs", 0.3): 0.2, Row("fewer-epochs", 0.5): 0.4}
    achieved = {**fewer, Row("fewer-epochs", 0.7): 0.6, Row("repb", 0.5): rate}
    lines = by_name(summarise(records(asked, achieved=achieved), margin=0.5))
    control = lines["repb 0.5"].fewer_epochs
    assert control is not None
    assert control.row == Row("fewer-epochs", 0.5)


def test_one_slow_full_run_makes_nobody_fast() -> None:
    finished = records(ROWS)
    finished[Row("full")][2]["seconds"]["training"] *= 3
    line = by_name(summarise(finished, margin=0.5))["repb 0.5"]
    assert line.speed_up == pytest.approx(2.0)
    assert line.time_share == pytest.approx(0.5)


def test_a_method_that_takes_longer_must_beat_as_many_epochs_as_take_as_long() -> None:
    longer = Row("fewer-epochs", 0.2, is_added=True)
    finished = records([*asked_rows(["selective-backprop"], [0.5], [None]), longer])
    for seed, one in finished[Row("selective-backprop", 0.5)].items():
        one["seconds"]["training"] = 0.8 * 40 * (1 + seed)
        one["extra_forwards"] = 600_000
        one["metric"] += 0.2
    for one in finished[longer].values():
        one["metric"] += 3.0
    lines = summarise(finished, margin=0.5)
    slow = by_name(lines)["selective-backprop 0.5"]
    assert slow.time_share == pytest.approx(0.8)
    assert slow.fewer_epochs is not None
    assert slow.fewer_epochs.row == Row("fewer-epochs", 0.5)
    assert slow.fewer_epochs.is_beaten == "yes"
    assert slow.same_seconds is not None
    assert slow.same_seconds.row == longer
    assert slow.same_seconds.is_beaten == slow.has_helped == "no"
    assert "beats same time?" in table.cells(lines)
    assert "beats same time?" not in table.cells(summarise(records(ROWS), margin=0.5))


def test_one_slow_run_does_not_decide_what_a_method_costs() -> None:
    finished = records(ROWS)
    finished[Row("repb", 0.5)][2]["seconds"]["training"] *= 20
    assert by_name(summarise(finished, margin=0.5))["repb 0.5"].time_share == pytest.approx(0.5)


def test_the_front_tells_who_is_worth_the_time() -> None:
    lines = by_name(summarise(records(ROWS, num_seeds=8), margin=0.5))
    assert lines["repb 0.5"].front == "yes"
    assert lines["random 0.5"].front == "no", "repb takes as little time and is better"
    assert lines["full"].front == "yes"
    assert lines["full"].front_share == 1.0
    some = records(ROWS, num_seeds=8)
    del some[Row("repb", 0.5)][4]
    assert by_name(summarise(some, margin=0.5))["repb 0.5"].front == "–"


def test_looks_make_each_verdict_harder_and_are_told() -> None:
    some = records(ROWS, num_seeds=3)
    for seed, one in some[Row("repb", 0.5)].items():
        one["metric"] = some[Row("full")][seed]["metric"] - 0.2 + 0.1 * (seed - 1)
    assert by_name(summarise(some, margin=0.5))["repb 0.5"].verdict == "undecided"
    alone = {row: runs for row, runs in some.items() if row.method in ("full", "repb")}
    assert by_name(summarise(alone, margin=0.5))["repb 0.5"].verdict.startswith("lossless")
    lines = summarise(alone, margin=0.5, looks=(3, 5, 10))
    assert by_name(lines)["repb 0.5"].verdict == "undecided"
    heading = replace(HEADING, num_seeds=3, looks=(3, 5, 10))
    text = " ".join(table.legend(lines, heading))
    assert "at 3, 5, 10 seeds; this one is judged at 0.83 % in place of 5" in text


def test_only_finished_runs_count() -> None:
    some = records(ROWS)
    del some[Row("repb", 0.5)][4]
    some[Row("infobatch", 0.5)] = {}
    assert set(rates(some, 5)) == set(ROWS) - {Row("repb", 0.5), Row("infobatch", 0.5)}
    lines = by_name(summarise(some, margin=0.5))
    assert "infobatch 0.5" not in lines
    assert lines["repb 0.5"].num_seeds == 4
    text = " ".join(table.legend(list(lines.values()), HEADING))
    assert "Incomplete rows, with their finished seeds: repb 0.5 (4)." in text


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    page = table.markdown(summarise(records(ROWS, num_seeds=1), margin=0.5), HEADING)
    [line] = [line for line in page.splitlines() if line.startswith("| repb")]
    assert "| one seed |" in line
    assert "±" not in line
    assert "[" not in line


def test_markdown_has_every_column_and_says_what_the_words_mean() -> None:
    page = table.markdown(summarise(records(ROWS), margin=0.5), HEADING)
    assert "    thresher compare\n" in page
    header = next(line for line in page.splitlines() if line.startswith("| method"))
    for name in ("step", "asked", "saved", "samples", "time", "speed-up", "accuracy %"):
        assert f"| {name} |" in header
    assert "| extra forwards |" not in header, "nothing to say, so no column"
    assert "1 of 2 rows are shown to have." in page
    assert "lossless: low > −0.5" in page
    assert page.endswith("A note.\n")
    [line] = [line for line in page.splitlines() if line.startswith("| repb")]
    assert line.startswith("| repb | published | 0.50 | 0.500 | 300,000 | 1 min 00 s | 2.00× | ")
    assert line.endswith("| yes |")


def test_extra_forwards_are_a_column_where_there_are_any() -> None:
    some = records(ROWS)
    for one in some[Row("repb", 0.5)].values():
        one["extra_forwards"] = 12_345
    page = table.markdown(summarise(some, margin=0.5), HEADING)
    assert "| extra forwards |" in page
    assert "| 12,345 |" in page


def printed(width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in table.terminal(summarise(records(ROWS), margin=0.5), HEADING, width):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_wide_terminal_shows_one_table_with_everything() -> None:
    text = printed(200)
    assert "…" not in text
    assert "what it cost" not in text
    for part in ("beats fewer epochs?", "lossless (equivalent)", "2.00×", "300,000"):
        assert part in text


@pytest.mark.parametrize("width", [100, 120, 150])
def test_a_narrow_terminal_shows_two_tables_and_cuts_nothing(width: int) -> None:
    text = printed(width)
    assert "…" not in text
    assert "A task: what was saved" in text
    assert "A task: what it cost" in text
    assert all(len(line) <= width for line in text.splitlines())
