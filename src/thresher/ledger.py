"""What a method remembers between epochs: named per-sample columns, and scalars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.plan import Plan, Trace

_CHUNK = 1 << 15


@final
@dataclass(frozen=True)
class Column:
    """A per-sample column a method declares once: the ledger makes, copies and checkpoints it.

    Args:
        name: the column's name.
        dtype: its torch dtype.
        fill: its value before anything was observed; NaN means "unseen" for scores.
    """

    name: str
    dtype: torch.dtype
    fill: float | bool


@final
class Ledger:
    """Named per-sample tensors of shape (n,) and scalars, with reductions over all samples.

    Online methods keep short vectors beside them, of any fixed shape.

    A method reads populations only through `sum`, `mean` and `count`, so that the same file serves
    a ledger that holds every sample and one that holds a shard of them. Sums are taken in a fixed
    order, so a threshold does not depend on the number of threads.

    Example:
        >>> ledger = Ledger(3, [Column("loss", torch.float32, float("nan"))])
        >>> ledger["loss"][1] = 4.0
        >>> ledger.mean(ledger["loss"], where=~ledger["loss"].isnan())
        4.0
    """

    def __init__(
        self,
        num_samples: int,
        columns: Iterable[Column] = (),
        scalars: Mapping[str, float] | None = None,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.num_samples = num_samples
        self.columns = {
            column.name: torch.full((num_samples,), column.fill, dtype=column.dtype, device="cpu")
            for column in columns
        }
        self.scalars: dict[str, float] = dict(scalars or {})
        self.vectors = {name: vector.clone() for name, vector in (vectors or {}).items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    @property
    def everyone(self) -> Tensor:
        """A new mask that is true for every sample: bool, shape (n,)."""
        return torch.ones(self.num_samples, dtype=torch.bool, device="cpu")

    def copy(self) -> Ledger:
        """Return a ledger with the same values that can be changed without changing this one."""
        new = Ledger(self.num_samples)
        new.columns = {name: column.clone() for name, column in self.columns.items()}
        new.scalars = dict(self.scalars)
        new.vectors = {name: vector.clone() for name, vector in self.vectors.items()}
        return new

    @property
    def bytes_per_sample(self) -> int:
        """Memory of one sample's row, in bytes."""
        return sum(column.element_size() for column in self.columns.values())

    def sum(self, values: Tensor, where: Tensor | None = None) -> float:
        """Return Σ values over all samples (`where` true), in float64."""
        mask = True if where is None else where.numpy()
        return float(np.sum(values.numpy(), dtype=np.float64, where=mask))

    def count(self, where: Tensor) -> int:
        """Return the number of samples for which `where`, bool (n,), is true."""
        return int(np.count_nonzero(where.numpy()))

    def mean(self, values: Tensor, where: Tensor | None = None) -> float:
        """Return the float64 mean over all samples (`where` true); NaN if there are none."""
        count = len(values) if where is None else self.count(where)
        return self.sum(values, where) / count if count else float("nan")

    def remember(self, plan: Plan, trace: Trace, name: str) -> None:
        """Store a trace's scores as the last ones seen; a non-finite one becomes NaN, unseen."""
        column = self.columns[name].numpy()
        for ids, score in visited(plan, trace, name):
            column[ids] = score

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: fixed-shape tensors and plain scalars."""
        copy = self.copy()
        return {"columns": copy.columns, "scalars": copy.scalars, "vectors": copy.vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot of a ledger with the same columns."""
        self.columns = {name: state["columns"][name].clone() for name in self.columns}
        self.scalars = dict(state["scalars"])
        self.vectors = {name: state["vectors"][name].clone() for name in self.vectors}


def visited(plan: Plan, trace: Trace, name: str) -> Iterator[tuple[Array, Array]]:
    """Yield the ids that were scored, int64, and their scores, float32, NaN if not finite.

    In pieces that fit in the cache: nothing grows with the plan.
    """
    ids, score, seen = plan.ids.numpy(), trace.scores[name].numpy(), trace.seen.numpy()
    for part in pieces(len(ids)):
        of_part = score[part]
        is_broken = ~np.isfinite(of_part)
        if is_broken.any():
            of_part = np.where(is_broken, np.float32("nan"), of_part)
        if seen[part].all():
            yield ids[part], of_part
        else:
            yield ids[part][seen[part]], of_part[seen[part]]


def pieces(size: int) -> Iterator[slice]:
    """Yield slices that cover `size` samples, each small enough for the cache."""
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
