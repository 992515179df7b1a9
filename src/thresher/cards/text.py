"""Cards as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from thresher.cards.bibtex import bibtex, short
from thresher.cards.card import Card
from thresher.cards.discovery import FAMILIES

_COLUMNS = ("method", "needs", "rate", "unbiased for", "cost", "paper")


def listing(cards: Iterable[Card]) -> str:
    """Return one line a method, family by family.

    Example:
        >>> from thresher import RePB
        >>> print(listing([Card.of(RePB)]))
        historical: choose before an epoch from what earlier ones left; only KAKURENBO scores anew
        <BLANKLINE>
          method  needs  rate            unbiased for                        cost          paper
          RePB    loss   data-dependent  the mean gradient, in the long run  6 B a sample  Zhou ...
    """
    rows = {family: [row(each) for each in cards if each.family == family] for family in FAMILIES}
    everything = [_COLUMNS, *(each for group in rows.values() for each in group)]
    widths = [max(len(cells[k]) for cells in everything) for k in range(len(_COLUMNS))]
    parts: list[str] = []
    for family, group in rows.items():
        if group:
            lines = [
                "  "
                + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
                for cells in (_COLUMNS, *group)
            ]
            parts.append(f"{family}: {FAMILIES[family]}\n\n" + "\n".join(map(str.rstrip, lines)))
    return "\n\n".join(parts)


def row(card: Card) -> tuple[str, ...]:
    """Return a method's facts as the cells of a table; a dash is nothing."""
    return (
        card.name,
        ", ".join(card.needs) or "–",
        card.rate,
        card.unbiased_for or "–",
        card.cost or "–",
        short(card.reference),
    )


def full_text(card: Card) -> str:
    """Return a card with everything that is on it, and its paper as BibTeX."""
    facts = {
        "needs": ", ".join(card.needs) or "no scores",
        "rate": card.rate,
        "unbiased for": card.unbiased_for or "nothing that is named",
        "cost": card.cost or "see below",
    }
    arguments = [text for text in (card.inherited, card.sections.get("Args")) if text]
    sections = {"Args": "\n".join(arguments)} if arguments else {}
    sections |= {name: text for name, text in card.sections.items() if name != "Args"}
    width = max(map(len, facts))
    parts = [
        f"{card.name} ({card.family})",
        card.summary,
        card.text,
        "\n".join(f"{name.ljust(width)}  {value}" for name, value in facts.items()),
        card.call,
        *(f"{name}:\n{_indented(text)}" for name, text in sections.items()),
        bibtex(card.reference),
    ]
    return "\n\n".join(part for part in parts if part)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
