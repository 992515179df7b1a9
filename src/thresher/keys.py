"""Ids that are strings: a row for each, which is the string's own in every later pass."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import StreamIdError

# Strings that came lately are looked up one by one, until there are so many, or a share of all.
_RECENT = 4096


@final
class Keys:
    """A table from strings, by their 64-bit hash, to rows: 16 bytes a string.

    A string gets the next free row when it comes for the first time, and keeps it. Two strings with
    one hash, of which there is a chance of n² / 2⁶⁵, come as one id twice in a pass, and that is
    refused.
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.int64)  # ascending
        self._rows = np.empty(0, dtype=np.int64)
        self._recent = dict[int, int]()

    def __len__(self) -> int:
        return len(self._hashes) + len(self._recent)

    def rows(self, names: Sequence[str], num_rows: int) -> np.ndarray:
        """Return the row of each string: int64, (m,).

        Args:
            names: strings.
            num_rows: how many rows there are.

        Raises:
            StreamIdError: more strings came than there are rows.

        Cost: a hash and a search each.
        """
        hashes = np.array([_hash(name) for name in names], dtype=np.int64)
        rows = self._settled(hashes)
        for place in np.flatnonzero(rows < 0).tolist():
            rows[place] = self._recent.setdefault(int(hashes[place]), len(self))
        if len(self) > num_rows:
            raise StreamIdError(
                f"The stream has yielded {len(self)} different ids",
                f"{num_rows}, as num_samples={num_rows} says",
                "Build Pruner(..., num_samples=...) for all samples; ids have to name each sample "
                "the same way in every pass",
            )
        if len(self._recent) > max(_RECENT, len(self._hashes) // 4):
            self._settle(*self._all())
        return rows

    def _settled(self, hashes: np.ndarray) -> np.ndarray:
        if not len(self._hashes):
            return np.full(len(hashes), -1, dtype=np.int64)
        found = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.where(self._hashes[found] == hashes, self._rows[found], -1)

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        recent = np.fromiter(self._recent.keys(), np.int64, len(self._recent))
        rows = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        return np.concatenate([self._hashes, recent]), np.concatenate([self._rows, rows])

    def _settle(self, hashes: np.ndarray, rows: np.ndarray) -> None:
        order = np.argsort(hashes)
        self._hashes, self._rows, self._recent = hashes[order], rows[order], {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the hash of each row, int64, by row; nothing if no string came."""
        hashes, rows = self._all()
        table = np.empty_like(hashes)
        table[rows] = hashes
        return {"keys": torch.from_numpy(table)} if len(self) else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what is under "keys" in a state."""
        hashes = np.empty(0, dtype=np.int64) if "keys" not in state else state["keys"].numpy()
        self._settle(hashes.copy(), np.arange(len(hashes)))


def _hash(name: str) -> int:
    # Python's own hash differs between processes.
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)
