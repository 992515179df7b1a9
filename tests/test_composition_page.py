"""The page on composition has the settings of every row of the ablations, and its examples run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "composition.md"


def test_examples_of_the_page_on_composition_run() -> None:
    found = doctest.testfile(
        str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 15
    assert found.failed == 0


@pytest.mark.parametrize(
    "setting",
    [
        *("RePB(resample=False)", "RePB(window=None, rescale=False)", "RePB(rescale=False)"),
        *("RePB(window=None)", "RePB()", "RandomPruning()", "PersistentImportance()"),
        'RePB(rule=windows.Importance(), score="logit_grad_norm")',
        'RePB(score="logit_grad_norm")',
    ],
)
def test_the_page_has_the_settings_of_a_row(setting: str) -> None:
    assert f"| `{setting}` |" in PAGE.read_text()
