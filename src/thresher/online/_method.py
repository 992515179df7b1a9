"""What an online method is: all that a new one must read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method
from thresher.plan import Epoch, Selection

Memory = Mapping[str, Tensor]
"""What a method remembers from one look to the next: short tensors whose shapes never change."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What a method is shown of one candidate batch.

    Args:
        size: B, how many they are.
        batch_size: b, how many are trained together.
        kept: κ, the share of its candidates that the epoch is to train on.
        scores: name -> float32, shape (B,), on the host, of the model as it is now; empty if the
            method did not want them.
        memory: what the method remembers.
        draws: random numbers keyed by the place of these candidates in the stream.
    """

    size: int
    batch_size: int
    kept: float
    scores: Mapping[str, Tensor]
    memory: Memory
    draws: Draws

    @property
    def everybody(self) -> Tensor:
        """All positions: int64, shape (B,)."""
        return torch.arange(self.size, dtype=torch.int64, device="cpu")


@final
class Choice(NamedTuple):
    """Which candidates are trained.

    Args:
        positions: int64, shape (m,), unique, within the candidate batch.
        weights: float32, shape (m,), positive: these make the next batch, m >= 1, whose loss is
            (1/m) Σ w_i ℓ_i. None: these, m >= 0, wait with weight 1 until b are there.
        memory: what the method remembers from now on.
    """

    positions: Tensor
    weights: Tensor | None
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class OnlineMethod(Method):
    """A published rule that looks at candidates with a scoring forward: settings only, no state.

    All samples pass by as candidates, one random order after the other. `choose` is a pure function
    of their scores, a small memory and random numbers. An epoch is ⌊κn/b⌋ trained batches, however
    many candidates that takes; before the warm-up ends and while annealing it is all samples.

    Args:
        candidates: B/b, candidates for each sample of a batch; None lets an epoch be about one pass
            over the data, 1/κ.
    """

    candidates: float | None = None

    family: ClassVar[str] = "online"
    scalars: ClassVar[dict[str, float]] = {"cursor": 0.0}
    waits: ClassVar[bool] = False
    """Whether chosen samples may wait for others to make a batch with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Comparing with NaN is false, so NaN is refused too.
        if self.candidates is not None and not 1 <= self.candidates < np.inf:
            raise SettingError(
                f"{type(self).__name__}(candidates={self.candidates})",
                "candidates for each trained sample, 1 or more",
            )

    @property
    def kept(self) -> float:
        """κ where no `prune_ratio` is asked: such that an epoch is about one pass over the data."""
        return 0.5 if self.candidates is None else 1 / self.candidates

    def num_candidates(self, batch_size: int, kept: float) -> int:
        """Return B, the size of a candidate batch."""
        return round(batch_size * (self.candidates or 1 / kept))

    @final
    def columns(self) -> tuple[Column, ...]:
        return (Column("queue", torch.int32, 0),) if self.waits else ()

    def memory(self) -> dict[str, Tensor]:
        """Return the memory of a run that has not begun."""
        return {}

    def wants_scores(self, candidates: Candidates) -> bool:
        """Return whether these candidates, shown without scores, are to be scored."""
        return True

    @abstractmethod
    def choose(self, candidates: Candidates) -> Choice:
        """Choose among candidates; changes nothing that it is given."""

    def learned(self, memory: Memory, scores: Mapping[str, Tensor]) -> Memory:
        """Return the memory after a batch of waiting samples was trained with these scores.

        Called if the loop gives the scores that the method needs, by `reduce(losses, scores=...)`.
        """
        return memory

    @final
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return Selection(kept=ledger.everyone)


def filled(scores: Tensor) -> np.ndarray:
    """Return scores in float64, those that are not finite at the mean of the others (1 if none)."""
    values = scores.numpy().astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = values[finite].mean() if finite.any() else 1.0
    return values
