"""Every mistake that is refused: what came, what was expected, what to do about it."""

from __future__ import annotations

import ast
import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import thresher
from mistakes import FAMILY, MISTAKES, wrapped
from thresher import Full, Pruner, errors
from thresher.errors import ThresherError, ThresherWarning


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_refused_by_name_with_a_cure(mistake: Callable[[], None]) -> None:
    kind, message = MISTAKES[mistake]
    with pytest.raises(ThresherError, match=message) as caught:
        mistake()
    assert type(caught.value) is kind
    assert caught.value.came
    assert caught.value.expected
    assert caught.value.cure
    text = str(caught.value)
    assert text.endswith(".")
    assert ".." not in text.replace("...", "")
    assert "; expected: " in text


def test_every_kind_of_error_is_raised_above() -> None:
    assert {kind for kind, _ in MISTAKES.values()} == set(FAMILY)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying(kind: type[ThresherError]) -> None:
    error = kind("a; b.", "c (d)", "e 'f'")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert (twin.came, twin.expected, twin.cure) == ("a; b.", "c (d)", "e 'f'")
        assert str(twin) == str(error) == "a; b.; expected: c (d). e 'f'."


def test_parts_that_are_not_given_leave_no_trace() -> None:
    assert str(ThresherError("came")) == "came."
    assert str(ThresherError("came.", cure="Do this.")) == "came. Do this."
    assert str(ThresherError("came", "this")) == "came; expected: this."


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.SettingError, ValueError)
    assert issubclass(errors.ScalarLossError, ValueError)
    assert issubclass(errors.UnplannedIdError, KeyError)
    assert issubclass(errors.IterableDatasetError, TypeError)
    assert issubclass(errors.AllLossesNaNError, ArithmeticError)
    assert issubclass(ThresherWarning, UserWarning)


def raises_of_the_family() -> list[tuple[str, ast.Call]]:
    names, found = {kind.__name__ for kind in FAMILY}, []
    for path in sorted(Path(thresher.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in names:
                found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_no_refusal_in_the_source_lacks_what_was_expected_or_a_cure() -> None:
    found = raises_of_the_family()
    assert len(found) > 40
    for where, call in found:
        # A setting out of its range: saying the range is saying what to do.
        needed = 2 if call.func.id == "SettingError" else 3  # type: ignore[attr-defined]
        assert len(call.args) >= needed, where


def test_a_refused_batch_can_be_given_again_correctly() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    for wrong in (torch.rand(4).mean(), torch.rand(3), torch.full((4,), torch.nan)):
        with pytest.raises(ThresherError):
            pruner.reduce(wrong)
        assert pruner.position == 0
    pruner.reduce(torch.rand(4))
    assert pruner.position == 4
    assert Pruner(Full(), epochs=1).epoch == 0
