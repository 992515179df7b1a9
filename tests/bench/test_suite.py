"""Rows, the controls that are added to them, and the key of a run."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.bench.suite import (
    Row,
    RunConfig,
    added_rows,
    as_many_epochs,
    asked_rows,
    trained_epochs,
)

CONFIG = RunConfig(
    task="digits",
    data="0123abcd",
    model="a model",
    method="repb",
    setting="RePB(prune_ratio=0.5)",
    prune_ratio=0.5,
    step_exponent=None,
    epochs=10,
    batch_size=128,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    warm_up=0.3,
    flip=True,
    shift=0,
    seed=0,
    device="cpu",
    threads=1,
)


def test_baselines_are_in_every_comparison() -> None:
    names = [str(row) for row in asked_rows(["omission"], [0.3, 0.5], [None])]
    assert names == [
        *("full", "random 0.3", "fewer-epochs 0.3", "omission 0.3"),
        *("random 0.5", "fewer-epochs 0.5", "omission 0.5"),
    ]


def test_step_lengths_multiply_only_rows_that_have_one() -> None:
    rows = asked_rows(["fewer-epochs-scaled", "repb"], [0.5], [None, 0.5, 0.5])
    assert [str(row) for row in rows] == [
        *("full", "random 0.5", "random 0.5 γ=0.5", "fewer-epochs 0.5", "fewer-epochs-scaled 0.5"),
        *("repb 0.5", "repb 0.5 γ=0.5"),
    ]


@pytest.mark.parametrize(
    ("ratio", "epochs", "expected"),
    [(0.3, 10, 7), (0.5, 10, 5), (0.7, 10, 3), (0.5, 5, 3), (0.5, 7, 4), (0.9, 3, 1), (0.0, 4, 4)],
)
def test_fewer_epochs_are_rounded_half_up_and_at_least_one(
    ratio: float, epochs: int, expected: int
) -> None:
    assert trained_epochs("fewer-epochs", ratio, epochs) == expected
    assert trained_epochs("fewer-epochs-scaled", ratio, epochs) == expected
    assert trained_epochs("random", ratio, epochs) == epochs


def test_a_method_that_saved_another_share_gets_controls_at_that_share() -> None:
    rates = dict.fromkeys(asked_rows(["infobatch", "repb"], [0.7], [None, 0.5]), 0.7)
    rates[Row("infobatch", 0.7)] = 0.5213
    rates[Row("infobatch", 0.7, 0.5)] = 0.5244
    rates[Row("repb", 0.7)] = 0.7099
    added = added_rows(rates, epochs=10)
    assert added == [
        Row("random", 0.52, None, is_added=True),
        Row("random", 0.52, 0.5, is_added=True),
        Row("fewer-epochs", 0.5, None, is_added=True),
    ]
    assert [str(row) for row in added] == [
        *("random @ 0.52", "random @ 0.52 γ=0.5", "fewer-epochs @ 0.50")
    ]


def test_fewer_epochs_never_cost_less_than_the_method() -> None:
    """Of 8 epochs 0.3 are 2.4: 2 would be a control that a method may beat by training more."""
    rates = dict.fromkeys(asked_rows(["repb"], [0.5, 0.7], [None]), 0.7)
    rates |= {Row("full"): 0.0, Row("repb", 0.5): 0.5, Row("fewer-epochs", 0.7): 0.75}
    assert trained_epochs("fewer-epochs", 0.7, 8) == 2
    assert added_rows(rates, epochs=8) == [Row("fewer-epochs", 0.625, is_added=True)]


@given(st.floats(0, 1), st.integers(1, 50))
def test_as_many_epochs_are_the_fewest_that_cost_at_least_as_much(cost: float, epochs: int) -> None:
    length = as_many_epochs(cost, epochs, 0.01)
    assert 1 <= length <= epochs
    assert length / epochs >= cost - 0.0101
    assert length == 1 or (length - 1) / epochs < cost - 0.0099


def test_a_control_that_is_in_the_table_is_not_added_again() -> None:
    rates = dict.fromkeys(asked_rows(["infobatch"], [0.5, 0.7], [None]), 0.5)
    assert added_rows(rates, epochs=10) == []


def test_controls_call_for_no_controls() -> None:
    rates = {Row("full"): 0.0, Row("random", 0.5): 0.4, Row("fewer-epochs", 0.45): 0.5}
    assert added_rows(rates, epochs=10) == []


def test_the_key_depends_on_every_knob() -> None:
    keys = {CONFIG.key}
    for field in fields(CONFIG):
        value = getattr(CONFIG, field.name)
        other = "other" if isinstance(value, str) else not value if value in (True, False) else 7
        keys.add(replace(CONFIG, **{field.name: other}).key)
    assert len(keys) == 1 + len(fields(CONFIG))


def test_the_key_stays_the_same_between_versions() -> None:
    # Or no comparison begun before could be continued.
    assert CONFIG.key == "6e83ac32681a3316"
    assert replace(CONFIG).key == CONFIG.key
