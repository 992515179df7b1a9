"""What a method remembers between epochs: named per-sample columns, and scalars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher import storage
from thresher._arrays import Array
from thresher.errors import CheckpointError
from thresher.plan import Plan, Trace
from thresher.population import EVERYONE, Population

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

    @property
    def is_score(self) -> bool:
        """Whether it holds scores, which may be stored in fewer bytes: float32, NaN if unseen."""
        return self.dtype == torch.float32 and math.isnan(self.fill)


@final
class Ledger:
    """Named per-sample tensors, a row a sample, and scalars, with reductions over all samples.

    Online methods keep short vectors beside them, of any fixed shape.

    A whole ledger has n rows, and a sample's row is its id. One of a shard has the rows of its own
    samples, and the same method file serves both: it makes tensors of `num_rows` and indexes
    columns by `Plan.rows`, and reads what is of all samples only through `num_samples`, `sum`,
    `mean`, `count` and what takes the `population`. Sums are exact, so a threshold depends neither
    on the number of threads nor on that of shards.

    Args:
        num_samples: n, on all shards.
        columns: what is remembered of each sample.
        scalars: what is remembered beside.
        vectors: as are these.
        population: all samples, and which of them have rows here; None: all.
        score_dtype: what columns of scores are stored as, see `storage`. A method sees float32: an
            unpacked column, from when it is asked for until `settle`.

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
        population: Population | None = None,
        score_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.num_samples = num_samples
        self.population = EVERYONE if population is None else population
        self.num_rows = self.population.shard.num_rows(num_samples)
        self.score_dtype = score_dtype
        self.columns = dict[str, Tensor]()
        self._packed = set[str]()
        self._unpacked = dict[str, Tensor]()
        for column in columns:
            value = torch.full((1,), column.fill, dtype=column.dtype, device="cpu")
            if column.is_score and score_dtype != column.dtype:
                value = storage.narrowed(value, score_dtype)
                self._packed.add(column.name)
            self.columns[column.name] = value.repeat(self.num_rows)
        self.scalars: dict[str, float] = dict(scalars or {})
        self.vectors = {name: vector.clone() for name, vector in (vectors or {}).items()}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._packed:
            return self.columns[name]
        if name not in self._unpacked:
            self._unpacked[name] = storage.widened(self.columns[name])
        return self._unpacked[name]

    def settle(self) -> None:
        """Store what was unpacked: from here on it is what the next epoch, or a state, sees."""
        for name, column in self._unpacked.items():
            storage.narrow_into(self.columns[name], column)
        self._unpacked = {}

    @property
    def everyone(self) -> Tensor:
        """A new mask that is true for every row: bool, shape (rows,)."""
        return torch.ones(self.num_rows, dtype=torch.bool, device="cpu")

    def copy(self) -> Ledger:
        """Return a ledger with the same values that can be changed without changing this one."""
        self.settle()
        new = Ledger(self.num_samples, population=self.population, score_dtype=self.score_dtype)
        new._packed = self._packed
        new.columns = {name: _cloned(column) for name, column in self.columns.items()}
        new.scalars = dict(self.scalars)
        new.vectors = {name: vector.clone() for name, vector in self.vectors.items()}
        return new

    @property
    def bytes_per_sample(self) -> int:
        """Memory of one sample's row between epochs, in bytes."""
        return sum(column.element_size() for column in self.columns.values())

    def sum(self, values: Tensor, where: Tensor | None = None) -> float:
        """Return Σ values over all samples (`where` true), in float64, rounded once."""
        mask = None if where is None else where.numpy()
        return self.population.sum(values.numpy(), mask)

    def count(self, where: Tensor) -> int:
        """Return the number of samples for which `where`, bool (rows,), is true."""
        return self.population.count(where.numpy())

    def mean(self, values: Tensor, where: Tensor | None = None) -> float:
        """Return the float64 mean over all samples (`where` true); NaN if there are none."""
        mask = None if where is None else where.numpy()
        return self.population.mean(values.numpy(), mask)

    def remember(self, plan: Plan, trace: Trace, name: str) -> None:
        """Store a trace's scores as the last ones seen; a non-finite one becomes NaN, unseen."""
        if name not in self._packed or name in self._unpacked:
            column = self[name].numpy()
            for rows, score in visited(plan, trace, name):
                column[rows] = score
            return
        column = storage.bits(self.columns[name])
        for rows, score in visited(plan, trace, name):
            stored = storage.narrowed(torch.from_numpy(score), self.score_dtype)
            column[rows] = storage.bits(stored)

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: fixed-shape tensors and plain scalars."""
        copy = self.copy()
        return {"columns": copy.columns, "scalars": copy.scalars, "vectors": copy.vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot of a ledger with the same columns.

        Raises:
            CheckpointError: a column has another dtype, or another number of rows.
        """
        for name, column in self.columns.items():
            saved = state["columns"][name]
            if (saved.dtype, saved.shape) != (column.dtype, column.shape):
                raise CheckpointError(
                    f"The saved column {name} is {saved.dtype} of {len(saved)} rows",
                    f"{column.dtype} of {len(column)} rows, as this ledger has",
                    "Build the pruner with the score_dtype and the data set of the checkpoint",
                )
        self._unpacked = {}
        self.columns = {name: state["columns"][name].clone() for name in self.columns}
        self.scalars = dict(state["scalars"])
        self.vectors = {name: state["vectors"][name].clone() for name in self.vectors}


def _cloned(column: Tensor) -> Tensor:
    if not column.numel():  # of which no view has another dtype
        return column.clone()
    # In numpy's memory, for which it asks for huge pages: random access is a quarter faster.
    memory = torch.from_numpy(np.empty(column.nbytes, dtype=np.uint8))
    return memory.view(column.dtype).copy_(column)


def visited(plan: Plan, trace: Trace, name: str) -> Iterator[tuple[Array, Array]]:
    """Yield the rows that were scored, int64, and their scores, float32, NaN if not finite.

    In pieces that fit in the cache: nothing grows with the plan.
    """
    ids, score, seen = plan.ids.numpy(), trace.scores[name].numpy(), trace.seen.numpy()
    for part in pieces(len(ids)):
        rows = plan.shard.rows(ids[part])
        of_part = score[part]
        is_broken = ~np.isfinite(of_part)
        if is_broken.any():
            of_part = np.where(is_broken, np.float32("nan"), of_part)
        if seen[part].all():
            yield rows, of_part
        else:
            yield rows[seen[part]], of_part[seen[part]]


def pieces(size: int) -> Iterator[slice]:
    """Yield slices that cover `size` samples, each small enough for the cache."""
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
