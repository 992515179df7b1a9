"""`thresher methods`, which needs no extra."""

from __future__ import annotations

import sys

import pytest

from thresher.cards import all_cards, card, citation
from thresher.cards.text import full_text
from thresher.cli import main
from thresher.methods import RePB


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    for each in all_cards():
        assert f"\n  {each.name} " in shown
    assert shown.endswith("thresher methods NAME prints a method's card and BibTeX.\n")


@pytest.mark.parametrize("name", ["RePB", "repb"])
def test_one_method_shows_its_card_and_bibtex(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["methods", name]) == 0
    shown = capsys.readouterr().out
    assert shown == full_text(card("RePB")) + "\n"
    assert shown.endswith(citation(RePB) + "\n")


def test_a_misspelt_method_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "RePC"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "unknown method 'RePC'" in said.err
    assert "The nearest is 'RePB'." in said.err
    assert said.err.endswith("Try: thresher methods --help\n")


def test_what_cannot_be_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "RePB", "InfoBatch"]) == 2
    assert "InfoBatch" in capsys.readouterr().err
    assert main(["methods", "--help"]) == 0
    assert "usage: thresher methods" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "list the methods, or print one's card" in capsys.readouterr().out


def test_it_runs_without_the_extras(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("jsonargparse", "rich", "scipy", "sklearn", "matplotlib", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["methods", "Full"]) == 0
    assert main(["compare"]) == 1
    assert "needs more packages" in capsys.readouterr().err
