"""What a run would save, before it is started."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from thresher.diagnostics.redraw import require_historical
from thresher.draws import Draws
from thresher.errors import SettingError, ThresherWarning
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Trace
from thresher.planning import Planner
from thresher.schedule import RATE_TOLERANCE, Budget

# Enough that a share is known to a thousandth, and a step to hold a batch.
_SAMPLES, _BATCH = 4096, 128

Losses = Callable[[Draws, Draws], Tensor]
"""Makes everybody's losses from the run's draws and the epoch's: float32, shape (n,)."""


@final
@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The share of all sample visits that a run is expected to save.

    Args:
        method: its settings.
        epochs: of the run.
        rates: how losses are distributed -> the share saved; one entry for all if it is exact.
        asked: the method's `prune_ratio`.
    """

    method: str
    epochs: int
    rates: dict[str, float]
    asked: float | None

    @property
    def low(self) -> float:
        """The least of the rates."""
        return min(self.rates.values())

    @property
    def high(self) -> float:
        """The largest of the rates."""
        return max(self.rates.values())

    def __str__(self) -> str:
        span = f"{self.low:.1%}"
        if self.high - self.low >= 5e-4:
            each = ", ".join(f"{name} {rate:.1%}" for name, rate in self.rates.items())
            span = f"{self.low:.1%} to {self.high:.1%} ({each})"
        return f"{self.method}: saves {span} of the sample visits of {self.epochs} epochs"


def forecast(method: Method, *, epochs: int, seed: int = 0) -> Forecast:
    """Simulate a run's plans on made-up losses, without a model, and count what they save.

    A method whose rate is exact is simulated once. Others depend on how many losses lie below a
    mean, and are simulated with three kinds of losses that fall as training goes on: exponential
    and drawn anew at each visit; exponential, easiness mostly lasting; log-normal with σ = 2 and
    lasting, where few samples carry the mean. Real losses tend to lie between. For RePB and
    InfoBatch `thresher.theory` has the same in closed form, for a share below that stays.

    Warns if the method's `prune_ratio` is out of reach with every one of these.

    Args:
        method: a historical method.
        epochs: E, of the run.
        seed: of the losses and of the plans.

    Returns:
        A `Forecast`; it holds for any number of samples but a few.

    Cost: about a millisecond an epoch.

    Example:
        >>> from thresher import OrderDP
        >>> print(forecast(OrderDP(rho_s=0.5, rho_q=0.5), epochs=10))
        OrderDP(...): saves 75.0% of the sample visits of 10 epochs
    """
    require_historical(method)
    if epochs < 1:
        raise SettingError(f"forecast(epochs={epochs})", "1 or more")
    models = dict(list(_LOSSES.items())[:1]) if method.has_exact_rate else _LOSSES
    rates = {name: _saved(method, losses, epochs, seed) for name, losses in models.items()}
    found = Forecast(method=repr(method), epochs=epochs, rates=rates, asked=method.prune_ratio)
    if found.asked is not None and found.high < found.asked - RATE_TOLERANCE:
        warnings.warn(
            f"{found}; asked: {found.asked:.1%}. Ask for less, train for more epochs, or choose "
            "a method with an exact rate (`thresher methods` lists them).",
            ThresherWarning,
            stacklevel=2,
        )
    return found


def _saved(method: Method, losses: Losses, epochs: int, seed: int) -> float:
    planner, budget = Planner(method=method, seed=seed), Budget(num_samples=_SAMPLES, epochs=epochs)
    ledger, visits = Ledger(_SAMPLES, method.columns(), method.scalars), 0
    for epoch in range(epochs):
        plan = planner.plan(ledger, budget, epoch=epoch, visits=visits)
        visits += len(plan)
        loss = losses(Draws(seed, 0), Draws(seed, epoch)) * math.exp(-3 * epoch / epochs)
        step = torch.arange(len(plan), dtype=torch.int32, device="cpu") // _BATCH
        method.observe(ledger, plan, Trace(scores=_scores(method, loss[plan.ids]), step=step))
        ids = method.refreshed(ledger, plan)
        if ids is not None:
            method.observe_refreshed(ledger, ids, _scores(method, loss[ids]))
    return 1 - visits / (_SAMPLES * epochs)


def _scores(method: Method, loss: Tensor) -> dict[str, Tensor]:
    """What a classifier with these losses would show by the names that the method asks for."""
    likelihood = torch.exp(-loss)
    known = {"confidence": likelihood, "correct": (likelihood > 0.5).float()}
    return {name: known.get(name, loss) for name in ("loss", *method.needs)}


def _exponential(draws: Draws, purpose: str) -> Tensor:
    return -torch.log1p(-draws.uniform(_SAMPLES, purpose))


def _normal(draws: Draws, purpose: str) -> Tensor:
    return torch.special.ndtri(draws.uniform(_SAMPLES, purpose, torch.float64).clamp(1e-12)).float()


def _fresh(run: Draws, epoch: Draws) -> Tensor:
    return _exponential(epoch, "forecast loss")


def _lasting(run: Draws, epoch: Draws) -> Tensor:
    noise = (0.3 * _normal(epoch, "forecast noise")).exp()
    return _exponential(run, "forecast hardness") * noise


def _heavy(run: Draws, epoch: Draws) -> Tensor:
    noise = 0.3 * _normal(epoch, "forecast noise")
    return (2 * _normal(run, "forecast hardness") + noise).exp()


_LOSSES: dict[str, Losses] = {
    "fresh exponential losses": _fresh,
    "lasting exponential losses": _lasting,
    "heavy-tailed losses": _heavy,
}
