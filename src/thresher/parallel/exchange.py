"""What ranks tell each other: first a few whole numbers that must agree, then arrays."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import final

import numpy as np

from thresher.errors import RanksDisagreeError
from thresher.parallel.ranks import Ranks

_FORMAT = 1
# Fixed for good, so that ranks with different versions of Thresher can tell each other so.
_NUMBERS = 32
_TEXT = 1024

_CURES = {
    "moment": "Iterate, reduce, save and ask for plans on every rank alike, or on none",
    "batches trained": "Reduce a batch on all ranks or on none: they have to take equal steps",
    "failures": "Look for the error of the rank that has 1: its data set or model failed",
    "plan": "Give every rank the same protected samples and the same checkpoint",
    "batches when saved": "Load on every rank what it saved at the same moment",
    "plan when saved": "Load on every rank what it saved at the same moment",
    "epoch": "Load on every rank what it saved at the same moment, or on none",
    "protected samples": "Give every rank the same always_keep, labels and min_per_class",
}


@final
class Exchange:
    """One rank's end of all that the ranks of a run tell each other.

    Every rank has to make the same calls in the same order. The first numbers of each call say
    which it is, so that ranks which are not alike learn it, all of them, instead of waiting.

    Args:
        ranks: who takes part.
        about: what the runs of all ranks must have in common: numbers, or texts that are compared
            by a hash and shown if they differ.

    Attributes:
        bytes_sent: handed over by this rank so far; each of the others gets them.
        seconds: spent so far, waiting for slower ranks included.
    """

    def __init__(self, ranks: Ranks, about: Mapping[str, int | str]) -> None:
        self.ranks = ranks
        self.bytes_sent = 0
        self.seconds = 0.0
        self._about = dict(about)

    def agree(
        self, moment: str, same: Mapping[str, int], own: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Compare numbers over the ranks, and return each rank's `own`: name -> int64, (W,).

        Args:
            moment: what is being done, the same on all ranks.
            same: numbers that must be equal.
            own: numbers that need not be.

        Raises:
            RanksDisagreeError: on every rank, if the ranks are not alike.
        """
        names = ["format", *self._about, "moment", *same]
        told = [_FORMAT, *map(_as_number, self._about.values()), _as_number(moment)]
        told += [*same.values(), *(own or {}).values()]
        assert len(told) <= _NUMBERS
        table = self.gather(np.array(told + [0] * (_NUMBERS - len(told)), dtype=np.int64))
        # Of different moments the later numbers mean different things.
        known = 2 + len(self._about)
        is_alike = bool((table[:, :known] == table[0, :known]).all())
        compared = names if is_alike else names[:known]
        differing = [k for k in range(len(compared)) if (table[:, k] != table[0, k]).any()]
        if differing:
            self._refuse([(names[k], table[:, k]) for k in differing], moment)
        return {name: table[:, len(names) + k] for k, name in enumerate(own or {})}

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return every rank's `values`, of one shape and dtype on all: (W, *shape)."""
        start = time.perf_counter()
        found = self.ranks.gathered(values)
        self.bytes_sent += values.nbytes
        self.seconds += time.perf_counter() - start
        return found

    def _refuse(self, differing: list[tuple[str, np.ndarray]], moment: str) -> None:
        came: list[str] = []
        for name, values in differing:
            own = moment if name == "moment" else self._about.get(name)
            told = self._texts(own) if isinstance(own, str) else [str(value) for value in values]
            came.append(f"{name} ({_listed(told)})")
        cures = [cure for name, cure in _CURES.items() if name == differing[0][0]]
        raise RanksDisagreeError(
            f"Ranks differ in {', '.join(came)}",
            "the same on all ranks, which otherwise do not train by the same plans",
            *(cures or ["Build data set, loader and pruner alike on every rank"]),
        )

    def _texts(self, own: str) -> list[str]:
        text = np.zeros(_TEXT, dtype=np.uint8)
        encoded = own.encode()[:_TEXT]
        text[: len(encoded)] = list(encoded)
        return [bytes(row[row > 0]).decode(errors="replace") for row in self.gather(text)]


def _as_number(value: int | str) -> int:
    return zlib.crc32(value.encode()) if isinstance(value, str) else value % 2**63


def _listed(values: list[str]) -> str:
    """Name each value, and the ranks that have it."""
    ranks: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(value, []).append(rank)
    return "; ".join(
        f"{value} on rank{'s' * (len(have) > 1)} {', '.join(map(str, have[:5]))}"
        + (f" and {len(have) - 5} more" if len(have) > 5 else "")
        for value, have in ranks.items()
    )
