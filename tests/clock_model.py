"""What a simple model of the clock knows of a plan, and of a pass over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class PlanModel:
    """A plan, and what happened to it."""

    ids: list[int]
    scored: dict[int, float] = field(default_factory=dict)
    num_reduced: int = 0
    num_skipped: int = 0
    reach: int = 0

    @property
    def is_behind(self) -> bool:
        return not set(self.ids[: self.reach]) <= self.scored.keys()

    def awaits(self, ids: list[int]) -> bool:
        return set(ids) <= set(self.ids[: self.reach]) - self.scored.keys()


@dataclass(eq=False)
class PassModel:
    """An iterator: its batches, the one it holds unreduced, and those fetched since a reduce."""

    home: Any
    real: Any
    plan: PlanModel
    batches: list[list[int]]
    reduced_before: int
    cursor: int = 0
    last: list[int] = field(default_factory=list)
    is_held: bool = False
    num_fetched: int = 0
    is_named: bool = False

    @property
    def is_pending(self) -> bool:
        return self.is_held and self.last[0] not in self.plan.scored
