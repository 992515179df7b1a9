"""The page of all cards, docs/methods.md."""

from __future__ import annotations

import re
from collections.abc import Sequence

from thresher.cards.bibtex import bibtex
from thresher.cards.card import Card
from thresher.cards.discovery import FAMILIES
from thresher.cards.text import row

_ARGUMENT = re.compile(r"^(\w+): ", re.MULTILINE)

_HEAD = """\
# The methods

Made by `scripts/method-cards` from the methods' own docstrings and class facts; do not edit.
`thresher methods` and `thresher methods NAME` print the same, and
`thresher.cards.citation(method)` gives a method's BibTeX.

- *rate*: `exact` if settings alone decide how many samples are trained, else `data-dependent`.
- *unbiased for*: what the weighted gradient is in expectation, up to a factor; a dash where
  nothing is claimed.
- *cost*: what the method remembers of each sample between epochs, as it comes; of a static method,
  what choosing once takes. More is under each card's Cost."""

_TABLE = """\
| method | needs | rate | unbiased for | cost | paper |
|---|---|---|---|---|---|"""


def page(cards: Sequence[Card]) -> str:
    """Return the page as Markdown: a table for each family, all cards, and their papers.

    Args:
        cards: as `all_cards` gives them.
    """
    parts = [_HEAD]
    for family, meaning in FAMILIES.items():
        members = [card for card in cards if card.family == family]
        if members:
            rows = [f"| {' | '.join(_cells(card))} |" for card in members]
            parts += [f"## {family.capitalize()}", f"These {meaning}.", "\n".join([_TABLE, *rows])]
            parts += [_shared(text) for text in dict.fromkeys(m.inherited for m in members) if text]
            parts += map(_section, members)
    entries = sorted({bibtex(card.reference) for card in cards})
    joined = "\n\n".join(entries)
    parts += ["## Papers", f"```bibtex\n{joined}\n```"]
    return "\n\n".join(parts) + "\n"


def _cells(card: Card) -> list[str]:
    name, *facts = (cell.replace("|", "\\|") for cell in row(card))
    return [f"[{name}](#{name.lower()})", *facts]


def _section(card: Card) -> str:
    parts = [f"### {card.name}", f"**{card.summary}**", card.text, f"`{card.call}`"]
    for name, text in card.sections.items():
        if name == "Args":
            parts.append(_listed(text))
        elif name.startswith("Example"):
            parts.append(f"```pycon\n{text}\n```")
        else:
            parts.append(f"*{name}*: {' '.join(text.split())}")
    return "\n\n".join(part for part in parts if part)


def _shared(arguments: str) -> str:
    return f"Settings that they share:\n\n{_listed(arguments)}"


def _listed(arguments: str) -> str:
    """A list of arguments, the lines that continue one's description joined to its first."""
    return _ARGUMENT.sub(r"- `\1`: ", re.sub(r"\n +", " ", arguments))
