"""Every static method is one short file with a card, like every other method."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import pytest

from static.found import CLASSES
from thresher import static
from thresher.static import StaticMethod

FOLDER = Path(static.__path__[0])
MODULES = [
    importlib.import_module(f"thresher.static.{module.name}")
    for module in pkgutil.iter_modules(static.__path__)
]

of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def card(kind: type[StaticMethod]) -> str:
    assert kind.__doc__ is not None
    return inspect.cleandoc(kind.__doc__)


def test_every_method_written_is_exported() -> None:
    written = {
        kind
        for module in MODULES
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, StaticMethod) and not inspect.isabstract(kind)
    }
    assert written == set(CLASSES)


@of_every_class
def test_method_has_a_short_file_of_its_own(kind: type[StaticMethod]) -> None:
    assert [other for other in CLASSES if other.__module__ == kind.__module__] == [kind]
    stem = kind.__module__.rsplit(".", 1)[1]
    assert stem.replace("_", "") == kind.__name__.lower()
    assert len((FOLDER / f"{stem}.py").read_text().splitlines()) <= 120


@of_every_class
def test_card_has_its_sections_in_order(kind: type[StaticMethod]) -> None:
    sections = re.findall(r"^([A-Z]\w+):", card(kind), flags=re.MULTILINE)
    own = {field.name for field in fields(kind)} - {field.name for field in fields(StaticMethod)}
    named = ["Args", "Guarantees", "Cost", "Example", "References"]
    if not own and "Args" not in sections:
        named.remove("Args")
    assert sections == named
    assert ">>> " in card(kind)
    for name in own:
        assert re.search(rf"^    {name}: ", card(kind), re.MULTILINE), name


@of_every_class
def test_facts_are_complete(kind: type[StaticMethod]) -> None:
    reference = kind.reference
    assert kind.__dict__.keys() >= {"reference", "cost"}, "inherited from another method"
    assert reference.title
    assert reference.authors
    assert 1900 < reference.year < 2100
    assert reference.venue or reference.arxiv
    assert kind.family == "static"
    assert kind.cost
    if kind.unbiased_for:
        assert "unbiased" in card(kind)
