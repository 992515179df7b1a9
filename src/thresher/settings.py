"""The settings of a run, apart from its method: checked once, compared with a checkpoint's."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

import torch

from thresher import storage
from thresher.errors import CheckpointError, SettingError, ThresherWarning
from thresher.methods._method import Method
from thresher.schedule import RATE_TOLERANCE, most_saved

# With two epochs, scores of the first could steer only the second.
_FEWEST_EPOCHS = 3


class Data(NamedTuple):
    """What a run has to know of its data before it can begin.

    Args:
        num_samples: n.
        shuffled: whether each epoch has an order of its own.
        visits: sample visits of a run that is measured in optimizer steps; None for another.
        batch_size: the loader's; None below the loop.
        is_stream: whether samples have neither number nor ids; `num_samples` is 1 then.
        steps_per_epoch: T, batches of an epoch over a stream; None: one pass.
    """

    num_samples: int
    shuffled: bool = True
    visits: int | None = None
    batch_size: int | None = None
    is_stream: bool = False
    steps_per_epoch: int | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `Pruner` was told of the run; see there."""

    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    step_exponent: float | None = None
    max_weight: float | None = None
    accumulation_steps: int = 1
    score_dtype: str = "torch.float32"
    shard: bool = False

    def visits(self, batch_size: int) -> int | None:
        """Return the sample visits of a run that is measured in steps; None for another."""
        if self.steps is None:
            return None
        return self.steps * self.accumulation_steps * batch_size

    def are_spent(self, epoch: int, steps_done: int) -> bool:
        """Return whether a run that would train `epoch` next has come to its end."""
        if self.steps is not None:
            return steps_done >= self.steps
        return self.epochs is not None and epoch >= self.epochs

    def check(self, method: Method, num_samples: int | None) -> None:
        """Refuse settings that no run can use, and warn of those that save less than is asked."""
        self._need_samples(method)
        if num_samples is not None:
            self._need_no_loader(method, num_samples)
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"Pruner({name}={value})", "1 or more")
        if self.epochs is not None and self.steps is not None:
            raise SettingError(
                f"Pruner(epochs={self.epochs}, steps={self.steps})", "one of the two"
            )
        if self.accumulation_steps < 1:
            raise SettingError(
                f"Pruner(accumulation_steps={self.accumulation_steps})",
                "micro-batches per optimizer step, 1 or more",
            )
        self._check_weights()
        self._check_score_dtype(method)
        if self.epochs is None and self.steps is None:
            self._need_no_length(method)
        elif self.epochs is not None:
            self._warn_if_idle(method, self.epochs)

    def _check_weights(self) -> None:
        if self.step_exponent is not None and not math.isfinite(self.step_exponent):
            raise SettingError(f"Pruner(step_exponent={self.step_exponent})", "a finite number")
        if self.max_weight is not None and not 1 <= self.max_weight < math.inf:
            raise SettingError(
                f"Pruner(max_weight={self.max_weight})",
                "1 or more, and finite",
                "Weights are 1 without pruning; leave max_weight out to clip none",
            )

    def _need_samples(self, method: Method) -> None:
        if self.shard and method.family == "online":
            raise SettingError(
                f"Pruner({type(method).__name__}(...), shard=True)",
                "a method that remembers samples",
                "An online method remembers none, and each rank looks at candidates of its own "
                "anyway: leave shard out",
            )

    def _need_no_loader(self, method: Method, num_samples: int) -> None:
        if self.steps is not None:
            raise SettingError(
                f"Pruner(steps={self.steps}, num_samples={num_samples})",
                "epochs for a loop without a DataLoader",
                "Steps are counted in a loader's batches: wrap one, or give epochs",
            )
        if method.family == "online":
            raise SettingError(
                f"Pruner({type(method).__name__}(...), num_samples={num_samples})",
                "a DataLoader, as an online method looks at candidate batches",
                "Write loader = pruner.wrap(loader, score_fn=thresher.scores.scoring(model, fn))",
            )

    def _check_score_dtype(self, method: Method) -> None:
        is_narrow = storage.dtype_of(self.score_dtype) != torch.float32
        if is_narrow and not any(column.is_score for column in method.columns()):
            raise SettingError(
                f"Pruner({method!r}, score_dtype={self.score_dtype})",
                "a method that remembers scores between epochs",
                "This one has none to store in fewer bytes; leave score_dtype out",
            )

    def _need_no_length(self, method: Method) -> None:
        if method.delta < 1 or method.prune_ratio is not None:
            raise SettingError(
                f"Pruner({method!r}) without epochs",
                "the length of the run, which its prune_ratio and delta refer to",
                "Write Pruner(..., epochs=...), or steps=... for a budget of optimizer steps",
            )

    def _warn_if_idle(self, method: Method, epochs: int) -> None:
        if method.needs and method.family != "online" and epochs < _FEWEST_EPOCHS:
            warnings.warn(
                f"{type(method).__name__} learns from earlier epochs, and a run of {epochs} leaves "
                f"nothing to prune from; expected: {_FEWEST_EPOCHS} epochs or more.",
                ThresherWarning,
                stacklevel=4,
            )
            return
        asked, most = method.prune_ratio or 0.0, most_saved(method, epochs)
        if asked - most > RATE_TOLERANCE:
            warnings.warn(
                f"{method!r} cannot save {asked:.0%} in {epochs} epochs: those before its first "
                f"scores, warmup_epochs and delta leave enough for {most:.0%}; expected: more "
                "epochs, less warm-up, a delta nearer to 1, or a lower prune_ratio.",
                ThresherWarning,
                stacklevel=4,
            )

    def require_same(self, saved: dict[str, Any], method: Method, saved_method: str) -> None:
        """Refuse a checkpoint of another method or of a run with other settings."""
        if saved_method != repr(method):
            raise CheckpointError(
                f"The checkpoint is of {saved_method}",
                f"{method!r}, this pruner's method",
                "Build the pruner with the method of the checkpoint to continue that run",
            )
        # A setting that came later was at its default.
        ours, saved = asdict(self), {**asdict(Settings()), **saved}
        differing = [name for name in ours if saved.get(name) != ours[name]]
        if differing:
            raise CheckpointError(
                "The checkpoint's run has "
                + ", ".join(f"{name}={saved.get(name)!r}" for name in differing),
                ", ".join(f"{name}={ours[name]!r}" for name in differing) + ", as this pruner has",
                "Its plans cannot be continued exactly; build the pruner as it was when saved",
            )
