"""A scheduler that was built for unpruned training, driven at the pace of pruned epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from thresher.clock import Clock
from thresher.course import Course
from thresher.errors import SettingError, ThresherWarning
from thresher.outline import Outline
from thresher.plan import Plan


class Position(NamedTuple):
    """Where training stands, in optimizer steps.

    Args:
        epoch: the epoch in progress.
        planned: k, its planned steps; None without a loader, or of a pass over a stream.
        full: K, the steps of an unpruned epoch; None where `planned` is.
        factor: what the method multiplies this epoch's learning rate by.
    """

    epoch: int
    planned: int | None
    full: int | None
    factor: float


def position_of(clock: Clock, course: Course | None) -> Position:
    """Return where a run stands; steps of epochs are known of a loader, and not of passes."""
    current, micro = clock.current, clock.accumulation_steps
    plan = current.plan
    is_pass = isinstance(plan, Outline) and plan.num_batches is None
    if course is None or is_pass:
        return Position(clock.epoch, None, None, plan.learning_rate_factor)
    return Position(
        epoch=clock.epoch,
        planned=-(-current.num_batches(course.grid) // micro),
        full=-(-course.num_batches(plan.num_samples) // micro),
        factor=plan.learning_rate_factor,
    )


@final
class RateFactor:
    """What a method multiplies an optimizer's learning rates by.

    Args:
        optimizer: its groups' rates are the designed ones times the factor that was put on last.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.designed: list[float | Tensor] | None = None
        self.has_warned = False

    def put_on(self, factor: float) -> None:
        """Multiply the designed rates by `factor`, never by an earlier one too."""
        self.take_off()
        if factor == 1:
            return
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.designed = [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]
        self._set([rate * factor for rate in self.designed])

    def take_off(self) -> None:
        """Restore the designed rates."""
        if self.designed is not None:
            self._set(self.designed)
            self.designed = None

    def _set(self, rates: list[float | Tensor]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


@final
class RateFactors:
    """The factors of all optimizers whose schedulers are paced."""

    def __init__(self) -> None:
        self._factors: list[RateFactor] = []

    def of(self, optimizer: Optimizer) -> RateFactor:
        """Return the optimizer's factor: one, or two schedulers of it would multiply twice."""
        for factor in self._factors:
            if factor.optimizer is optimizer:
                return factor
        self._factors.append(RateFactor(optimizer))
        return self._factors[-1]

    def put_on(self, plan: Plan | Outline) -> None:
        """Multiply all designed rates by the factor of the plan that is being trained."""
        for factor in self._factors:
            factor.put_on(plan.learning_rate_factor)


@final
class PacedScheduler(LRScheduler):
    """Drives `inner` so that its curve over the training stays as it was designed.

    Per step, call j of an epoch of k planned steps brings the inner scheduler to step
    e K + round(j K / k) of the full run, so every epoch ends at the designed rate. Per epoch, calls
    pass through. The method's own factor multiplies the rates after each inner step, and again when
    its epoch begins, and is taken off before the next, so that it never compounds.

    Other attributes are the inner scheduler's. Cost: at most K inner steps an epoch.

    Attributes:
        calls_per_step: c calls of `step` are one optimizer step, and c inner steps too; Accelerate
            makes one for each process.
    """

    # LRScheduler's constructor would take a first step of its own.
    def __init__(
        self,
        inner: LRScheduler | ReduceLROnPlateau,
        position: Callable[[], Position],
        per: str,
        factor: RateFactor,
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
        self._factor = factor
        self._has_warned = False
        self.calls_per_step = 1

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Advance; per epoch, arguments such as ReduceLROnPlateau's metric go to the inner one."""
        if self._per == "step" and any(value is not None for value in (*args, *kwargs.values())):
            raise SettingError(
                f"step got {args or kwargs} from a scheduler paced per step",
                "step() without arguments, as the pruner knows the position",
                "To step on a metric or a position of your own, use pace(scheduler, per='epoch')",
            )
        position = self._position()
        self._factor.take_off()
        if self._per == "epoch":
            self.inner.step(*args, **kwargs)
        else:
            self._catch_up(position)
        self._factor.put_on(position.factor)

    def _catch_up(self, position: Position) -> None:
        planned, full = position.planned, position.full
        if planned is None or full is None:
            raise SettingError(
                "pace(per='step') without a wrapped loader, or over passes of a stream, so the "
                "steps of an epoch are not known",
                "pruner.wrap(loader) before the first scheduler.step(), and of a stream "
                "pruner.wrap(loader, steps_per_epoch=...)",
                "In a loop without a DataLoader, or over passes of a stream, use "
                "pace(scheduler, per='epoch')",
            )
        planned, full = planned * self.calls_per_step, full * self.calls_per_step
        if position.epoch != self._epoch:
            self._epoch, self._calls = position.epoch, 0
        self._calls += 1
        if self._calls > planned and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"scheduler.step() was called more often than the {position.planned} optimizer "
                f"steps planned for epoch {position.epoch}; expected: once an optimizer step. "
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

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the rates in use, the method's factor included."""
        return [group["lr"] for group in self.inner.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the inner scheduler's state and how far it was driven."""
        return {
            "inner": self.inner.state_dict(),
            "epoch": self._epoch,
            "calls": self._calls,
            "advanced": self._advanced,
            "designed": None if self._factor.designed is None else list(self._factor.designed),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        self.inner.load_state_dict(state_dict["inner"])
        self._epoch, self._calls = state_dict["epoch"], state_dict["calls"]
        self._advanced, self._factor.designed = state_dict["advanced"], state_dict["designed"]

    def __getattr__(self, name: str) -> Any:
        # Before `inner` is set (unpickling, copying) there is nobody to ask.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


# Optimizers that divide a gradient by its own size, whatever they are derived from.
_SCALE_FREE = ("ada", "rmsprop", "rprop", "lion", "muon", "lamb")


def warn_if_cancelled(factor: RateFactor, step_exponent: float | None) -> None:
    """Warn once that an optimizer of Adam's kind cancels what a step exponent multiplies by."""
    name = type(factor.optimizer).__name__
    if step_exponent is None or factor.has_warned:
        return
    if any(part in name.lower() for part in _SCALE_FREE):
        factor.has_warned = True
        warnings.warn(
            f"step_exponent={step_exponent} multiplies an epoch's losses by a constant, which "
            f"{name} cancels; expected: an optimizer such as SGD.",
            ThresherWarning,
            stacklevel=3,
        )
