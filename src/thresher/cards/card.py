"""A method's card: its class facts, and its docstring taken apart."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, final

from thresher.ledger import Ledger
from thresher.methods import Reference

_HEADING = re.compile(r"^([A-Z][a-z]+):(.*)$")


@final
@dataclass(frozen=True, kw_only=True)
class Card:
    """What a reader has to know of a method before using it.

    Args:
        name: of its class.
        family: historical, online or static.
        summary: one sentence: what is kept and why.
        text: the rest of the description, with the formula; may be empty.
        sections: Args, Guarantees, Cost, Example, References; as far as the docstring has them.
        inherited: the arguments that it shares with its family; may be empty.
        call: its class with every setting at its default.
        needs: scores, or other inputs, that it wants.
        has_exact_rate: whether settings alone decide how many samples it trains.
        unbiased_for: what its weighted gradient is unbiased for; empty if for nothing.
        bytes_per_sample: what it remembers of each sample, as it comes; None if it has no ledger.
        cost: in a few words; of a method with a ledger, what that takes.
        reference: its paper.
    """

    name: str
    family: str
    summary: str
    text: str
    sections: Mapping[str, str]
    inherited: str
    call: str
    needs: tuple[str, ...]
    has_exact_rate: bool
    unbiased_for: str
    bytes_per_sample: int | None
    cost: str
    reference: Reference

    @classmethod
    def of(cls, kind: type[Any]) -> Card:
        """Return the card of a method's class.

        Example:
            >>> from thresher import RePB
            >>> Card.of(RePB).bytes_per_sample, Card.of(RePB).rate
            (6, 'data-dependent')
        """
        summary, text, sections = _parts(inspect.cleandoc(kind.__doc__ or ""))
        # As it comes: a setting may change what a method needs, or remembers.
        method = kind()
        size = Ledger(1, method.columns()).bytes_per_sample if hasattr(kind, "columns") else None
        return cls(
            name=kind.__name__,
            family=method.family,
            summary=summary,
            text=text,
            sections=sections,
            inherited=_inherited(kind, sections.get("Args", "")),
            call=_call(kind),
            needs=tuple(method.needs),
            has_exact_rate=method.has_exact_rate,
            unbiased_for=method.unbiased_for,
            bytes_per_sample=size,
            cost=getattr(method, "cost", "") if size is None else f"{size} B a sample",
            reference=method.reference,
        )

    @property
    def rate(self) -> str:
        """Whether the share it trains is "exact", or "data-dependent"."""
        return "exact" if self.has_exact_rate else "data-dependent"


def _parts(docstring: str) -> tuple[str, str, dict[str, str]]:
    """Split a docstring into its first paragraph, what follows, and its sections by name."""
    blocks: dict[str, list[str]] = {"": []}
    name = ""
    for line in docstring.splitlines():
        heading = _HEADING.match(line)
        if heading:
            name, first = heading.groups()
            blocks[name] = [first.strip()]
        else:
            blocks[name].append(line)
    summary, _, text = "\n".join(blocks.pop("")).strip().partition("\n\n")
    sections = {key: _dedented(lines) for key, lines in blocks.items()}
    return " ".join(summary.split()), text.strip(), sections


def _dedented(lines: list[str]) -> str:
    """A section's lines, without their common indentation."""
    rest = inspect.cleandoc("\n" + "\n".join(lines[1:])) if len(lines) > 1 else ""
    return "\n".join(part for part in (lines[0], rest) if part).strip()


def _inherited(kind: type[Any], own: str) -> str:
    """The Args of the classes that a method is derived from, without those it describes itself."""
    found: dict[str, str] = {}
    for base in kind.__mro__[:0:-1]:
        found |= _arguments(_parts(inspect.cleandoc(base.__doc__ or ""))[2].get("Args", ""))
    return "\n".join(text for name, text in found.items() if name not in _arguments(own))


def _arguments(section: str) -> dict[str, str]:
    """The lines of each argument, by its name."""
    parts = re.split(r"^(?=\w+: )", section, flags=re.MULTILINE)
    return {part.split(":")[0]: part.rstrip() for part in parts if part.strip()}


def _call(kind: type[Any]) -> str:
    settings = [
        f"{each.name}={each.default!r}" for each in fields(kind) if each.default is not MISSING
    ]
    return f"{kind.__name__}({', '.join(settings)})"
