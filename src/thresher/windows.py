"""What RePB may do inside its windows: a rule is a pure function of scores and windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher import within
from thresher._arrays import Array, unit_interval
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger, pieces
from thresher.plan import Plan, Trace

__all__ = ["Importance", "WindowRule"]

_CHUNK = 1 << 15


class WindowRule(ABC):
    """The chance of each sample of a window to leave the set, from the scores of that window.

    A frozen dataclass of its settings. Within a window the scores are of (nearly) the same model
    and may be compared; across windows they may not, so a window's chances have to be the same
    whatever the other windows are. On shards a rule is given each shard's part of a window by
    itself; equation 1, which needs a mean alone, compares over all shards.

    Example:
        >>> @dataclass(frozen=True)
        ... class LowerHalf(WindowRule):
        ...     def chance(self, scores: Tensor, sizes: Tensor, rho: float) -> Tensor:
        ...         parts = scores.split(sizes.tolist())
        ...         return torch.cat([rho * (part < part.median()) for part in parts])
        >>> LowerHalf().chance(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3]), rho=0.5).tolist()
        [0.5, 0.0, 0.0]
    """

    @abstractmethod
    def chance(self, scores: Tensor, sizes: Tensor, rho: float) -> Tensor:
        """Return the chance of each sample to be pruned.

        Args:
            scores: finite, window after window, float32, shape (m,).
            sizes: samples of each window, 1 or more, int64, shape (windows,), Σ sizes = m.
            rho: ρ in [0, 1]: how hard to prune. Σ chance has to be in proportion to it, so that
                RePB can solve it for a ratio.

        Returns:
            In [0, 1], shape (m,).
        """


@final
@dataclass(frozen=True, kw_only=True)
class Importance(WindowRule):
    """Keep with a chance in proportion to the score: importance sampling, inside each window.

    A sample stays with p = min((s + ε mean s) / c, 1), Σ p = (1 - ρ) · size of its window; negative
    scores count as 0. With `RePB(score="logit_grad_norm")` this is "RePB + Salaün" of the RePB
    paper's Table 9; how its sampler keeps a part of a window is not stated there and is ours.

    Args:
        epsilon: ε, added to the scores of a window, as a share of their mean.

    Example:
        >>> scores, sizes = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2, 2])
        >>> Importance(epsilon=0.0).chance(scores, sizes, rho=0.5).tolist()
        [0.25, 0.75, 0.5, 0.5]
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < float("inf"):
            raise SettingError(f"Importance(epsilon={self.epsilon})", "0 or more, and finite")

    def chance(self, scores: Tensor, sizes: Tensor, rho: float) -> Tensor:
        """Return 1 - p; see `WindowRule.chance`."""
        if rho >= 1:
            return torch.full_like(scores, rho)
        members = sizes.numpy()
        positive = np.maximum(scores.numpy(), 0.0, dtype=np.float64)
        mean = np.add.reduceat(positive, np.cumsum(members) - members) / members
        positive += self.epsilon * np.repeat(mean, members)
        p = within.probabilities(positive, 1 - rho, members)
        return torch.from_numpy(np.subtract(1, p, out=p)).float()


def columns(rule: WindowRule | None) -> tuple[Column, ...]:
    """Return what is kept of an epoch for a rule: scores and windows; for eq. 1 (None), one bit."""
    if rule is None:
        return (Column("below", torch.bool, False),)
    return (Column("score", torch.float32, np.nan), Column("window", torch.int32, -1))


def remember(
    ledger: Ledger,
    plan: Plan,
    trace: Trace,
    *,
    rule: WindowRule | None,
    score: str,
    window: int | None,
) -> None:
    """Write an epoch's scores into the columns of the rule; what has no score has no window."""
    values, step, rows = trace.scores[score].numpy(), trace.step.numpy(), plan.rows.numpy()
    if rule is None:
        # A comparison with NaN is false: samples and windows without a score are not below.
        below = trace.below_window_mean(score, window, ledger.population).numpy()
        below &= values > -np.inf
        ledger["below"].zero_().numpy()[rows] = below
        return
    scores, windows = ledger["score"].fill_(np.nan).numpy(), ledger["window"].fill_(-1).numpy()
    for part in pieces(len(rows)):
        number = np.zeros_like(step[part]) if window is None else step[part] // window
        known = np.isfinite(values[part])
        place, value = rows[part], values[part]
        if not known.all():
            place, value, number = (each.compress(known) for each in (place, value, number))
        scores[place], windows[place] = value, number


def judged(ledger: Ledger, rule: WindowRule | None) -> Judged:
    """Return the last epoch's scores as a rule sees them."""
    return ByMean(ledger) if rule is None else ByRule(ledger, rule)


@final
class ByMean:
    """Equation 1: what was below the mean of its window is pruned with chance ρ."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def prunable(self) -> float:
        """Return Σ chance at ρ = 1."""
        return self._ledger.count(self._ledger["below"])

    def drawn(self, rho: float, uniform: Tensor) -> Tensor:
        """Return who is pruned if in the set, by uniform numbers: bool, shape (rows,)."""
        return (uniform < rho).logical_and_(self._ledger["below"])


@final
class ByRule:
    """A rule's chances, 0 without a score.

    Cost: a sort of 8 bytes a sample, reading scores in another order, and the rule, which is given
        whole windows of some ten thousand samples at a time.
    """

    def __init__(self, ledger: Ledger, rule: WindowRule) -> None:
        window, score = ledger["window"].numpy(), ledger["score"].numpy()
        self._rule, self._ledger = rule, ledger
        bits = max(len(window) - 1, 1).bit_length()
        keys, filled = np.empty(np.count_nonzero(window >= 0), dtype=np.int64), 0
        for start in range(0, len(window), _CHUNK):
            part = window[start : start + _CHUNK]
            ids = np.flatnonzero(part >= 0)
            place = slice(filled, filled + len(ids))
            keys[place] = part.take(ids).astype(np.int64) << bits | ids + start
            filled = place.stop
        keys.sort()
        num_windows = int(keys[-1] >> bits) + 1 if filled else 0
        sizes = np.diff(np.searchsorted(keys, np.arange(num_windows + 1) << bits))
        self._sizes, self._ids = sizes[sizes > 0], np.bitwise_and(keys, (1 << bits) - 1, keys)
        self._scores = score.take(self._ids)

    def prunable(self) -> float:
        """Return Σ chance at ρ = 1."""
        here = sum(float(np.sum(chance)) for _, chance in self._pieces(1.0))
        return self._ledger.population.plus(here)

    def drawn(self, rho: float, uniform: Tensor) -> Tensor:
        """Return who is pruned if in the set, by uniform numbers: bool, shape (rows,)."""
        result, number = np.zeros(self._ledger.num_rows, dtype=np.bool_), uniform.numpy()
        for members, chance in self._pieces(rho):
            ids = self._ids[members]
            result[ids] = number.take(ids) < chance
        return torch.from_numpy(result)

    def _pieces(self, rho: float) -> Iterator[tuple[slice, Array]]:
        for some, members in within.pieces(self._sizes):
            scores = torch.from_numpy(self._scores[members])
            chance = self._rule.chance(scores, torch.from_numpy(self._sizes[some]), rho)
            yield members, unit_interval(chance, f"the chances of {self._rule}")


Judged = ByMean | ByRule
"""The last epoch's scores as a rule, or equation 1, sees them."""
