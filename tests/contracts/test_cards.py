"""Every method is one short file with a card: what it guarantees, costs, and where it is from."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import pytest

import thresher
from contracts.found import CLASSES, METHODS
from thresher import methods
from thresher.ledger import Ledger
from thresher.methods import Method

MODULES = [
    importlib.import_module(f"thresher.methods.{module.name}")
    for module in pkgutil.iter_modules(methods.__path__)
]

of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def card(kind: type[Method]) -> str:
    assert kind.__doc__ is not None
    return inspect.cleandoc(kind.__doc__)


@pytest.mark.parametrize(
    "path", sorted(Path(methods.__path__[0]).glob("*.py")), ids=lambda path: path.stem
)
def test_file_has_at_most_120_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120


def test_every_method_written_is_exported() -> None:
    written = {
        kind
        for module in MODULES
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Method) and not inspect.isabstract(kind)
    }
    assert written == set(CLASSES)
    assert {kind.__name__ for kind in written} <= set(thresher.__all__)


@of_every_class
def test_method_has_a_file_of_its_own(kind: type[Method]) -> None:
    assert [other for other in CLASSES if other.__module__ == kind.__module__] == [kind]
    stem = kind.__module__.rsplit(".", 1)[1]
    assert stem.replace("_", "") == kind.__name__.lower()


@of_every_class
def test_card_has_its_sections_in_order(kind: type[Method]) -> None:
    sections = re.findall(r"^([A-Z]\w+):", card(kind), flags=re.MULTILINE)
    own = {field.name for field in fields(kind)} - {field.name for field in fields(Method)}
    named = ["Args", "Guarantees", "Cost", "Example", "References"]
    if not own:
        named.remove("Args")
    assert sections == named
    assert ">>> " in card(kind)


@of_every_class
def test_card_names_every_parameter_of_its_own(kind: type[Method]) -> None:
    inherited = {field.name for field in fields(Method)}
    for field in fields(kind):
        if field.name not in inherited:
            assert re.search(rf"^    {field.name}: ", card(kind), re.MULTILINE), field.name


@of_every_class
def test_cost_on_the_card_is_what_the_ledger_takes(kind: type[Method]) -> None:
    cost = card(kind).split("\nCost: ")[1].split("\n\n")[0]
    stated = [int(number) for number in re.findall(r"(\d+) bytes a sample", cost)]
    ledgers = [
        Ledger(1, method.columns(), method.scalars) for method in METHODS if type(method) is kind
    ]
    assert {ledger.bytes_per_sample for ledger in ledgers} - {0} == set(stated)


@of_every_class
def test_reference_is_complete(kind: type[Method]) -> None:
    reference = kind.reference
    assert reference.title
    assert reference.authors
    assert 1900 < reference.year < 2100
    assert reference.venue or reference.arxiv
    assert kind.__dict__.keys() >= {"reference"}, "inherited from another method"


@of_every_class
def test_claims_are_stated_on_the_card(kind: type[Method]) -> None:
    guarantees = card(kind).split("\nGuarantees: ")[1].split("\nCost: ")[0]
    if kind.claims_unbiased:
        assert re.search(r"unbiased|in expectation", guarantees)
