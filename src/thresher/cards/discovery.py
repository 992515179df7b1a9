"""Every method of the library, found by looking."""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.util import find_spec
from typing import Any

from thresher.cards.card import Card
from thresher.errors import SettingError

FAMILIES: dict[str, str] = {
    "historical": "choose before an epoch from what earlier ones left; only KAKURENBO scores anew",
    "online": "look at candidate batches with a scoring forward pass, and train on a part of each",
    "static": "choose once, from what a reference model says; then train on that subset",
}
"""Family -> what it does."""

_PACKAGES = ("thresher.methods", "thresher.online", "thresher.static")


def method_classes() -> list[type[Any]]:
    """Return the concrete methods that the packages of all families export.

    Returns:
        Classes, by family and then by name.

    Example:
        >>> [kind.__name__ for kind in method_classes() if kind.__name__.startswith("R")][0]
        'RandomPruning'
    """
    found: list[type[Any]] = []
    for name in _PACKAGES:
        if find_spec(name) is None:
            continue
        package = importlib.import_module(name)
        exported = [getattr(package, each) for each in package.__all__]
        found += [
            each
            for each in exported
            if inspect.isclass(each) and hasattr(each, "family") and not inspect.isabstract(each)
        ]
    order = list(FAMILIES)
    return sorted(found, key=lambda kind: (order.index(kind.family), kind.__name__))


def all_cards() -> list[Card]:
    """Return the card of every method, by family and then by name."""
    return [Card.of(kind) for kind in method_classes()]


def card(name: str) -> Card:
    """Return the card of the method called `name`; case, `-` and `_` make no difference.

    Raises:
        SettingError: there is none; the message has the nearest name.

    Example:
        >>> card("random-pruning").name
        'RandomPruning'
    """
    cards = all_cards()
    names = {_plain(each.name): each for each in cards}
    found = names.get(_plain(name))
    if found is not None:
        return found
    nearest = difflib.get_close_matches(_plain(name), names, n=1, cutoff=0.5)
    raise SettingError(
        f"unknown method {name!r}",
        f"one of {', '.join(each.name for each in cards)}",
        f"The nearest is {names[nearest[0]].name!r}" if nearest else "",
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
