"""When to prune, and how much, so that a whole run saves the ratio that was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from thresher.errors import SettingError
from thresher.methods._method import Method

# The share an epoch may leave out to make up for epochs that cannot prune. Near 1 an epoch would
# shrink to a handful of samples; a ratio that needs more is not reached, and the report says so.
_MOST = 0.95

RATE_TOLERANCE = 0.01
"""How far a run's rate may be from the asked one before its owner is told."""


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a run is: a number of epochs, or a number of sample visits; both None is open-ended.

    Args:
        num_samples: n.
        epochs: E, epochs of the run.
        visits: sample visits of a run that is measured in optimizer steps.
    """

    num_samples: int
    epochs: int | None = None
    visits: int | None = None

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise SettingError(f"A data set of {self.num_samples} samples", "at least one sample")


def is_active(method: Method, budget: Budget, *, epoch: int, visits: int) -> bool:
    """Return whether `epoch` may be pruned: after the warm-up and before the annealing.

    Args:
        method: gives `warmup_epochs` and δ.
        budget: the length of the run.
        epoch: e, from 0; active only if e + 1 <= δE.
        visits: visits planned before this epoch; in a run of steps, active only up to δ of them.
    """
    if epoch < method.warmup_epochs:
        return False
    return method.prunes_to_the_end or not is_annealing(method, budget, epoch=epoch, visits=visits)


def is_annealing(method: Method, budget: Budget, *, epoch: int, visits: int) -> bool:
    """Return whether the share δ of the run is over, in epochs or, in a run of steps, in visits."""
    if budget.visits is not None:
        return visits >= method.delta * budget.visits
    return budget.epochs is not None and epoch >= _last(method.delta, budget.epochs)


def target(method: Method, budget: Budget, *, epoch: int, visits: int) -> float | None:
    """Return the share of samples that an active epoch should leave out, or None without a ratio.

    What is still to be saved is spread evenly over the epochs that can still prune: with P asked,
    v visits planned so far and A active epochs left, (P n E - (n e - v)) / (n A). So a shortfall of
    one epoch is made up by the next ones, and the run ends at P if the method can reach it.

    In a run of T visits instead of epochs, T visits stand for T / (1 - P) of the full run; of them
    the annealed (1 - δ) T are not pruned, and the rest must each stand for 1 / (1 - target).
    """
    asked = method.prune_ratio
    if asked is None:
        return None
    size = budget.num_samples
    first = max(epoch, method.first_prunable_epoch)
    if budget.visits is not None:
        unpruned = size * (first - epoch)
        share = _target_of_visits(method, budget.visits, size * first, visits + unpruned)
    elif budget.epochs is None:
        share = asked
    else:
        left = max(1, _last(_pruned_share(method), budget.epochs) - first)
        saved = size * epoch - visits
        share = (asked * size * budget.epochs - saved) / (size * left)
    return min(max(share, 0.0), max(_MOST, asked))


def most_saved(method: Method, epochs: int) -> float:
    """Return the share of a run's visits that a rule with this warm-up and δ could save at most."""
    prunable = max(0, _last(_pruned_share(method), epochs) - method.first_prunable_epoch)
    return prunable / epochs * max(_MOST, method.prune_ratio or 0.0)


def kept_of_stream(
    method: Method, *, epochs: int | None, has_steps: bool, has_equal_epochs: bool
) -> float | None:
    """Return the share of what passes by that each active epoch of a stream should train on.

    With P asked and A of E epochs active: where each is one pass, 1 - P E / A; where each has as
    many batches, A / (E / (1 - P) - (E - A)), as a pruned one stands for more of the full run than
    one that is not. In a run of steps a share δ of them is pruned; what warm-up epochs take of
    these nobody knows before. None without a ratio.
    """
    asked = method.prune_ratio
    if asked is None:
        return None
    total, active = 1.0, _pruned_share(method)
    if epochs is not None:
        total, first = epochs, method.first_prunable_epoch
        active = max(1, _last(_pruned_share(method), epochs) - first)
    if has_equal_epochs or has_steps:
        kept = active / (total / (1 - asked) - (total - active))
    else:
        kept = 1 - asked * total / active
    return min(1.0, max(kept, 1 - max(_MOST, asked)))


def _target_of_visits(method: Method, total: int, stood_for: float, visits: float) -> float:
    assert method.prune_ratio is not None
    annealed = (1 - _pruned_share(method)) * total
    pruned = max(0.0, total - visits - annealed)
    must_stand_for = total / (1 - method.prune_ratio) - stood_for - annealed
    return 1 - pruned / must_stand_for if must_stand_for > pruned else 0.0


def _pruned_share(method: Method) -> float:
    """Return δ, or 1 for a method that prunes to the end."""
    return 1.0 if method.prunes_to_the_end else method.delta


def _last(delta: float, epochs: int) -> int:
    """Return ⌊δE⌋: epochs below it may be pruned. Guards 0.9 * 10 against becoming 8.99..."""
    return math.floor(delta * epochs + 1e-9)
