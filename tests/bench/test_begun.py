"""What is said of a comparison that was changed when its results could be seen."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.bench.begun import Asked, changes
from thresher.bench.suite import Row

ROWS = (Row("full"), Row("random", 0.5), Row("repb", 0.5), Row("infobatch", 0.5))
BEGUN = Asked(seeds=(0, 1, 2), looks=(), margin=0.5, rows=ROWS)
LATE = "that was changed when results could be seen, so verdicts may be wrong more often than is"

some_seeds = st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(some_seeds, some_seeds)
def test_other_seeds_are_told_and_the_same_ones_are_not_in_whatever_order(
    begun: list[int], now: list[int]
) -> None:
    notes = changes(replace(BEGUN, seeds=tuple(begun)), replace(BEGUN, seeds=tuple(now)))
    assert len(notes) == (set(begun) != set(now))
    assert all(LATE in note for note in notes)
    assert all(("--looks" in note) == (len(begun) != len(now)) for note in notes)


def test_as_many_other_seeds_are_named() -> None:
    [note] = changes(BEGUN, replace(BEGUN, seeds=(5, 7, 9)))
    assert note.startswith(f"Begun with 3 seeds, now the seeds 5, 7, 9: {LATE}")
    assert "--looks" not in note, "naming the looks would not have helped"


def test_which_seeds_a_look_sees_first_is_told_too() -> None:
    begun = replace(BEGUN, looks=(2, 3))
    assert changes(begun, begun) == []
    [note] = changes(begun, replace(begun, seeds=(2, 1, 0)))
    assert note.startswith("Begun with 3 seeds (looks at 2, 3), now the seeds 2, 1, 0 (looks at 2,")


def test_of_an_older_folder_the_number_of_seeds_is_compared() -> None:
    begun = replace(BEGUN, seeds=3)
    assert changes(begun, replace(BEGUN, seeds=(5, 7, 9))) == []
    [note] = changes(begun, replace(BEGUN, seeds=(5, 7, 9, 11)))
    assert note.startswith("Begun with 3 seeds, now 4 seeds: ")
    assert changes(begun, begun) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ROWS), unique=True), st.lists(st.sampled_from(ROWS), unique=True))
def test_rows_that_are_left_out_are_named_and_those_that_are_added_are_not(
    begun: list[Row], now: list[Row]
) -> None:
    notes = changes(replace(BEGUN, rows=tuple(begun)), replace(BEGUN, rows=tuple(now)))
    gone = [str(row) for row in begun if row not in now]
    assert len(notes) == bool(gone)
    assert all(note.startswith(f"Not asked for any more: {', '.join(gone)}. ") for note in notes)


def test_a_margin_that_was_chosen_late_is_told_with_both() -> None:
    assert changes(BEGUN, replace(BEGUN, margin=1.0)) == [
        "Begun with a margin of 0.5, now 1: chosen when results could be seen."
    ]
