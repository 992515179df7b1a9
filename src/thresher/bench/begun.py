"""What a comparison asks, and what was changed in it when results could be seen already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from thresher.bench.suite import Row


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What has to be fixed before the first run, or verdicts are wrong more often than they say.

    Args:
        seeds: all that there may be, in the order of their runs; of a folder of an older version
            nothing but their number is known.
        looks: the numbers of seeds at which verdicts may be read, if more than one.
        margin: δ, in points.
        rows: without the controls that come by themselves.
    """

    seeds: tuple[int, ...] | int
    looks: tuple[int, ...]
    margin: float
    rows: tuple[Row, ...]

    @property
    def num_seeds(self) -> int:
        """How many there may be."""
        return self.seeds if isinstance(self.seeds, int) else len(self.seeds)

    def and_rows_of(self, other: Asked) -> Asked:
        """Return the same with the other's rows too: what was once asked has been looked at."""
        return replace(self, rows=tuple(dict.fromkeys((*self.rows, *other.rows))))


def changes(begun: Asked, now: Asked) -> list[str]:
    """Return what is to be said of a comparison that is not what it was when it was begun.

    Args:
        begun: as the comparison was when the first run was made, and all rows asked for since.
        now: as it is.

    Example:
        >>> begun = Asked(seeds=(0, 1, 2), looks=(), margin=0.5, rows=())
        >>> print(*changes(begun, replace(begun, margin=1.0)))
        Begun with a margin of 0.5, now 1: chosen when results could be seen.
    """
    notes: list[str] = []
    if begun.looks != now.looks or not _have_same_seeds(begun, now):
        # Of an older folder's seeds only the number is known, so no more is said of today's.
        names = not isinstance(begun.seeds, int)
        notes.append(
            f"Begun with {_seeds(begun, names)}, now {_seeds(now, names)}: that was changed when "
            "results could be seen, so verdicts may be wrong more often than is said here."
        )
        if (begun.num_seeds, begun.looks) != (now.num_seeds, now.looks):
            notes[-1] += " Name the looks beforehand (--looks)."
    if begun.margin != now.margin:
        notes.append(
            f"Begun with a margin of {begun.margin:g}, now {now.margin:g}: chosen when results "
            "could be seen."
        )
    left_out = [str(row) for row in begun.rows if row not in now.rows]
    if left_out:
        notes.append(
            f"Not asked for any more: {', '.join(left_out)}. That was left out when results could "
            "be seen, and verdicts are corrected only for the rows that are here."
        )
    return notes


def _have_same_seeds(one: Asked, other: Asked) -> bool:
    if isinstance(one.seeds, int) or isinstance(other.seeds, int):
        return one.num_seeds == other.num_seeds
    # Their order says nothing, unless looks are at the first of them.
    return one.seeds == other.seeds if other.looks else {*one.seeds} == {*other.seeds}


def _seeds(asked: Asked, names: bool) -> str:
    num, seeds = asked.num_seeds, asked.seeds
    looks = f" (looks at {', '.join(map(str, asked.looks))})" if asked.looks else ""
    if names and not isinstance(seeds, int) and seeds != tuple(range(num)):
        return f"the seed{'s' * (num > 1)} {', '.join(map(str, seeds))}{looks}"
    return f"{num} seed{'s' * (num > 1)}{looks}"
