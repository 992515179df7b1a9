"""One state of a method, drawn from again and again."""

from __future__ import annotations

from typing import Any

from thresher.errors import SettingError
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Plan
from thresher.planning import Planner
from thresher.pruner import Pruner
from thresher.schedule import Budget
from thresher.storage import dtype_of


def redraw(
    method: Method,
    ledger: Ledger,
    *,
    epoch: int,
    draws: int = 64,
    seed: int = 0,
    step_exponent: float | None = 0.0,
) -> list[Plan]:
    """Return `draws` plans of one epoch from one ledger, under as many seeds.

    A `prune_ratio` is taken as this epoch's share: what a schedule would still have to make up for
    is not known here. Annealing does not apply.

    Args:
        method: a historical method.
        ledger: what it remembers; `ledger_of(pruner)` gives it.
        epoch: the epoch to plan.
        draws: plans to make, under the seeds `seed`, `seed + 1`, ...
        seed: the first seed.
        step_exponent: γ; 0 scales the weights of each plan to mean 1, so that gradients of
            different methods have the same length. None leaves the method's own weights.

    Example:
        >>> from thresher import OrderDP
        >>> ledger = Ledger(10, OrderDP().columns())
        >>> [len(plan) for plan in redraw(OrderDP(), ledger, epoch=3, draws=2)]
        [3, 3]
    """
    require_historical(method)
    if draws < 1:
        raise SettingError(f"redraw(draws={draws})", "1 or more")
    budget = Budget(num_samples=ledger.num_samples)
    return [
        Planner(method=method, seed=each, step_exponent=step_exponent).plan(
            ledger, budget, epoch=epoch, visits=0
        )
        for each in range(seed, seed + draws)
    ]


def ledger_of(pruner: Pruner) -> Ledger:
    """Return a copy of a pruner's ledger, as it was when the epoch in progress was planned.

    Below the loop, `pruner.plan(pruner.epoch)` closes an epoch that has been trained, so that the
    ledger holds its scores.

    Example:
        >>> from thresher import InfoBatch
        >>> pruner = Pruner(InfoBatch(), epochs=3, num_samples=2)
        >>> pruner.observe(pruner.plan(0).ids, torch.ones(2))
        >>> _ = pruner.plan(1)
        >>> ledger_of(pruner)["loss"].tolist()
        [1.0, 1.0]
    """
    state: dict[str, Any] = pruner.state_dict()
    method, stored = pruner.method, dtype_of(pruner.settings.score_dtype)
    ledger = Ledger(state["num_samples"], method.columns(), method.scalars, score_dtype=stored)
    ledger.load_state_dict(state["clock"]["ledger"])
    return ledger


def require_historical(method: Method) -> None:
    """Refuse a method whose selection is not made from a ledger before an epoch."""
    if method.family != "historical":
        raise SettingError(
            f"{method!r}, of the {method.family} family",
            "a historical method",
            "Only these choose an epoch's samples before it begins, from what a ledger holds",
        )
