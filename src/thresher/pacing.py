"""A scheduler that was built for unpruned training, driven at the pace of pruned epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from thresher.errors import SettingError, ThresherWarning


class Position(NamedTuple):
    """Where training stands, in optimizer steps.

    Args:
        epoch: the epoch in progress.
        planned: k, its planned steps; None without a loader.
        full: K, the steps of an unpruned epoch; None without a loader.
        factor: what the method multiplies this epoch's learning rate by.
    """

    epoch: int
    planned: int | None
    full: int | None
    factor: float


@final
class PacedScheduler(LRScheduler):
    """Drives `inner` so that its curve over the training stays as it was designed.

    Per step, call j of an epoch of k planned steps brings the inner scheduler to step
    e K + round(j K / k) of the full run, so every epoch ends at the designed rate. Per epoch, calls
    pass through. The method's own factor multiplies the rates after each inner step and is taken
    off before the next, so that it never compounds.

    Other attributes are the inner scheduler's. Cost: at most K inner steps an epoch.
    """

    # LRScheduler's constructor would take a first step of its own.
    def __init__(
        self, inner: LRScheduler | ReduceLROnPlateau, position: Callable[[], Position], per: str
    ) -> None:
        if per not in ("step", "epoch"):
            raise SettingError(f"pace(per={per!r})", "'step' or 'epoch'")
        if per == "step" and isinstance(inner, ReduceLROnPlateau):
            raise SettingError(
                "pace(per='step') got ReduceLROnPlateau, which steps on a metric",
                "a scheduler that is stepped once an optimizer step",
                "Use pace(scheduler, per='epoch') and step(metric) once an epoch",
            )
        self.inner = inner
        self._position = position
        self._per = per
        self._epoch = -1
        self._calls = 0
        self._advanced = 0
        self._designed: list[float] | None = None
        self._has_warned = False

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Advance; per epoch, arguments such as ReduceLROnPlateau's metric go to the inner one."""
        position = self._position()
        self._take_factor_off()
        if self._per == "epoch":
            self.inner.step(*args, **kwargs)
        else:
            self._catch_up(position)
        if position.factor != 1:
            groups = self._optimizer.param_groups
            self._designed = [group["lr"] for group in groups]
            for group in groups:
                group["lr"] = group["lr"] * position.factor

    def _catch_up(self, position: Position) -> None:
        planned, full = position.planned, position.full
        if planned is None or full is None:
            raise SettingError(
                "pace(per='step') without a wrapped loader, so the steps of an epoch are not known",
                "pruner.wrap(loader) before the first scheduler.step()",
                "In a loop without a DataLoader use pace(scheduler, per='epoch')",
            )
        if position.epoch != self._epoch:
            self._epoch, self._calls = position.epoch, 0
        self._calls += 1
        if self._calls > planned and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"scheduler.step() was called more often than the {planned} optimizer steps "
                f"planned for epoch {position.epoch}; expected: once an optimizer step. "
                "If gradients are accumulated, tell Pruner(accumulation_steps=...).",
                ThresherWarning,
                stacklevel=3,
            )
        done = min(self._calls, planned)
        # Exact integers, halves up: the fraction j K / k may not be representable.
        within = (2 * done * full + planned) // (2 * planned)
        goal = position.epoch * full + within
        while self._advanced < goal:
            cast("LRScheduler", self.inner).step()
            self._advanced += 1

    def _take_factor_off(self) -> None:
        if self._designed is None:
            return
        for group, rate in zip(self._optimizer.param_groups, self._designed, strict=True):
            group["lr"] = rate
        self._designed = None

    @property
    def _optimizer(self) -> Optimizer:
        return self.inner.optimizer

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the rates in use, the method's factor included."""
        return [group["lr"] for group in self._optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the inner scheduler's state and how far it was driven."""
        return {
            "inner": self.inner.state_dict(),
            "epoch": self._epoch,
            "calls": self._calls,
            "advanced": self._advanced,
            "designed": None if self._designed is None else list(self._designed),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        self.inner.load_state_dict(state_dict["inner"])
        self._epoch, self._calls = state_dict["epoch"], state_dict["calls"]
        self._advanced, self._designed = state_dict["advanced"], state_dict["designed"]

    def __getattr__(self, name: str) -> Any:
        # Before `inner` is set (unpickling, copying) there is nobody to ask.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


def warn_if_cancelled(optimizer: Optimizer, step_exponent: float | None) -> None:
    """Warn that an optimizer of Adam's kind cancels what a step exponent multiplies the loss by."""
    name = type(optimizer).__name__
    if step_exponent is not None and "adam" in name.lower():
        warnings.warn(
            f"step_exponent={step_exponent} multiplies an epoch's losses by a constant, which "
            f"{name} cancels; expected: an optimizer such as SGD.",
            ThresherWarning,
            stacklevel=3,
        )
