"""Every method that exists has a card; the page of cards is not stale."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import thresher
from contracts.found import CLASSES
from thresher.cards import FAMILIES, Card, all_cards, card, discovery, method_classes
from thresher.cards.page import page
from thresher.cards.text import full_text, listing
from thresher.errors import SettingError
from thresher.methods import Full, Reference

ROOT = Path(__file__).parents[2]
KINDS = method_classes()
CARDS = all_cards()

of_every_card = pytest.mark.parametrize("card", CARDS, ids=lambda each: each.name)


def test_every_historical_method_is_found() -> None:
    assert {kind for kind in KINDS if kind.family == "historical"} == set(CLASSES)
    assert {"Full", "RePB"} <= {each.name for each in CARDS}


def test_no_two_methods_share_a_name() -> None:
    names = [discovery._plain(each.name) for each in CARDS]
    assert len(set(names)) == len(names)


@of_every_card
def test_card_says_what_a_reader_has_to_know(card: Card) -> None:
    assert card.family in FAMILIES
    assert card.summary.endswith(".")
    assert card.sections.keys() >= {"Guarantees", "Cost", "Example", "References"}, "its docstring"
    assert all(card.sections.values())
    assert isinstance(card.reference, Reference)


@of_every_card
def test_card_names_every_setting(card: Card) -> None:
    kind = next(each for each in KINDS if each.__name__ == card.name)
    described = f"{card.inherited}\n{card.sections.get('Args', '')}"
    names = re.findall(r"^(\w+): ", described, re.MULTILINE)
    assert set(names) == {field.name for field in fields(kind)}
    assert len(names) == len(set(names))


@of_every_card
def test_terminal_shows_all_of_a_card(card: Card) -> None:
    shown = full_text(card)
    assert shown.startswith(f"{card.name} ({card.family})\n\n{card.summary}\n")
    pieces = [card.text, card.call, *card.sections.values(), card.inherited, card.rate]
    for line in "\n".join(pieces).splitlines():
        assert line.strip() in shown
    assert card.reference.title in shown
    assert "\n\n\n" not in shown


def test_page_of_cards_is_what_the_methods_say() -> None:
    written = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert written == page(CARDS), "run scripts/method-cards"


def test_page_links_lead_to_its_sections() -> None:
    text = page(CARDS)
    for each in CARDS:
        assert f"| [{each.name}](#{each.name.lower()}) |" in text
        assert f"\n### {each.name}\n" in text
        assert f"\n\n`{each.call}`\n\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}


def test_listing_has_a_line_for_each_method_under_its_family() -> None:
    lines = listing(CARDS).splitlines()
    for family in {each.family for each in CARDS}:
        start = next(k for k, line in enumerate(lines) if line.startswith(f"{family}: "))
        members = [each.name for each in CARDS if each.family == family]
        shown = [line.split()[0] for line in lines[start + 3 : start + 3 + len(members)]]
        assert shown == members
    assert all(line == line.rstrip() for line in lines)


def test_a_method_is_found_by_being_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Invented:
        """Keep the beautiful.

        Guarantees: none.
        Cost: taste.
        """

        family = "static"
        needs = ("beauty",)
        has_exact_rate = True
        unbiased_for = ""
        reference = Full.reference

    package: Any = ModuleType("invented_methods")
    package.__all__ = ["Invented", "helper"]
    package.Invented, package.helper = Invented, len
    package.__spec__ = thresher.__spec__
    monkeypatch.setitem(sys.modules, "invented_methods", package)
    monkeypatch.setattr(discovery, "_PACKAGES", ("thresher.methods", "invented_methods", "nowhere"))
    assert [kind.__name__ for kind in method_classes()][-1] == "Invented"
    assert Invented in method_classes()
    found = card("invented")
    assert (found.bytes_per_sample, found.cost, found.sections["Cost"]) == (None, "", "taste.")
    assert "Invented  beauty  exact  –" in " ".join(listing([found]).split("\n")).replace(
        "          ", ""
    )


@pytest.mark.parametrize("name", ["RePB", "repb", "RE-PB", "re_pb"])
def test_case_and_hyphens_make_no_difference(name: str) -> None:
    assert card(name).name == "RePB"


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(SettingError, match=r"one of .*Full, .*The nearest is 'InfoBatch'\."):
        card("infobach")
    with pytest.raises(SettingError, match="unknown method 'zzzz'") as refused:
        card("zzzz")
    assert "nearest" not in str(refused.value)
