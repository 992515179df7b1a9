"""The Trainer, driven by plans: a mixin of few overrides."""

from __future__ import annotations

import functools
import math
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from torch.optim.lr_scheduler import ReduceLROnPlateau

from thresher.accounting import metrics
from thresher.checkpoint import load_safely, save_atomically
from thresher.errors import CheckpointError, SettingError
from thresher.integrations.transformers._epochs import show_total, watched
from thresher.integrations.transformers._loader import TaggedLoader, plain_loader
from thresher.integrations.transformers._refusals import (
    refuse_own_loss,
    refuse_used,
    require_fitting,
)
from thresher.integrations.transformers._weighing import WeighingMixin
from thresher.loader import PlannedLoader
from thresher.pacing import PacedScheduler
from thresher.pruner import Pruner
from thresher.scores import scoring
from thresher.takeover import refuse_stream

FILE = "pruner.pt"
"""The pruner's state in a checkpoint folder."""

_LOGGED = ("planned_ratio", "trained_ratio", "weight_mean", "effective_ratio")


class _Unpruned:
    """What the Trainer asks of a loader to know how long a run is: here, an unpruned one."""

    def __init__(self, dataset: Any, length: int) -> None:
        self.dataset = dataset
        self._length = length

    def __len__(self) -> int:
        return self._length


class PrunedMixin(WeighingMixin):
    """What `pruned` puts before a Trainer; see there."""

    accelerator: Any
    state: Any
    model: Any
    callback_handler: Any
    lr_scheduler: Any

    def __init__(self, *args: Any, pruner: Pruner, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_fitting(self, pruner)
        self.pruner = pruner
        self._tagged: TaggedLoader | None = None
        self._pass = watched(self.callback_handler)

    def create_accelerator_and_postprocess(self) -> None:
        """Build the accelerator; it divides no loss by the accumulation, which the Trainer does."""
        cast("Any", super()).create_accelerator_and_postprocess()
        # Before transformers 5.6 both did.
        self.accelerator.gradient_accumulation_steps = 1

    def get_train_dataloader(self) -> Any:
        """Return the Trainer's loader, driven by plans; accelerate does not shard it again."""
        require_fitting(self, self.pruner)  # arguments may have been changed since
        plain = plain_loader(cast("Any", super()).get_train_dataloader())
        refuse_stream(plain, "a Trainer")
        score_fn = scoring(self.model, self._score)
        plain.collate_fn = self._collated(plain.collate_fn)
        planned = cast("PlannedLoader", self.pruner.wrap(plain, score_fn=score_fn))
        self._tagged = TaggedLoader(planned)
        return self._tagged

    def _collated(self, collate: Any) -> Any:
        """Return the collate function of planned batches."""
        return collate

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """Return the numbers of an unpruned run, for which schedules are built."""
        whole = _Unpruned(dataloader.dataset, dataloader.unpruned_length())
        values = cast("Any", super()).set_initial_training_values(args, whole)
        # A number of steps is spent in more epochs, if they are shorter.
        return (sys.maxsize, *values[1:]) if args.max_steps > 0 else values

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the scheduler, paced; one that steps on a metric is left alone."""
        base = cast("Any", super())
        scheduler = base.create_scheduler(
            num_training_steps=num_training_steps, optimizer=optimizer
        )
        is_metric = isinstance(scheduler, ReduceLROnPlateau) or hasattr(scheduler, "patience")
        if not is_metric and not isinstance(scheduler, PacedScheduler):
            self.lr_scheduler = self.pruner.pace(scheduler)
        return self.lr_scheduler

    def _init_training_state(
        self,
        max_steps: Any,
        num_update_steps_per_epoch: Any,
        num_train_epochs: Any,
        resume_from_checkpoint: Any,
        trial: Any,
    ) -> tuple[int, int]:
        if resume_from_checkpoint is not None:
            self.pruner.load_state_dict(_state_in(resume_from_checkpoint))
        elif self.pruner.epoch or self.pruner.position:
            refuse_used(self.pruner)
        cast("Any", super())._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        # The plans know which batches are left; nothing needs to be skipped.
        return self.pruner.epoch, 0

    def _run_epoch(self, **kwargs: Any) -> None:
        assert self._tagged is not None
        epoch, micro = kwargs["epoch"], self.args.gradient_accumulation_steps
        lengths = self._tagged.lengths()
        self._pass.epoch, self._pass.lengths = epoch, lengths
        updates = -(-lengths.left // micro)
        if self.pruner.settings.epochs is not None:
            later = self.pruner.settings.epochs - epoch - 1
            unpruned = math.ceil(self._tagged.unpruned_length() / micro)
            # Exact in the last epoch, where whatever waits for the last step has to find it.
            self.state.max_steps = self.state.global_step + updates + later * unpruned
            show_total(self.callback_handler, self.state.max_steps)
        kwargs.update(steps_in_epoch=lengths.left, num_update_steps_per_epoch=updates)
        cast("Any", super())._run_epoch(**kwargs)
        self._log_epoch()

    def _log_epoch(self) -> None:
        report = self.pruner.report()
        if report.rows:
            row = metrics(report.rows[-1], report.num_samples, {})
            cast("Any", self).log({f"pruner_{name}": row[name] for name in _LOGGED})

    def _finalize_training(self, trial: Any, num_train_samples: Any, start_time: Any) -> Any:
        report = self.pruner.report()
        cast("Any", self).log(
            {"pruner_samples": report.trained, "pruner_prune_rate": report.prune_rate}
        )
        base = cast("Any", super())
        return base._finalize_training(trial, report.trained, start_time)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        cast("Any", super())._save_optimizer_and_scheduler(output_dir)
        # Every rank has trained a part of the epoch, so all have to give theirs.
        state = self.pruner.state_dict(gather=True)
        if self.args.should_save:
            save_atomically(state, Path(output_dir) / FILE)


def _state_in(checkpoint: str) -> dict[str, Any]:
    path = Path(checkpoint) / FILE
    if not path.exists():
        raise CheckpointError(
            f"{checkpoint} has no {FILE}",
            "a checkpoint that a pruned Trainer saved, without save_only_model=True",
            "Start the run anew; model weights alone are loaded with from_pretrained",
        )
    return load_safely(path)


@functools.cache
def pruned(base: type[Any]) -> type[Any]:
    """Return a Trainer class that trains each epoch on the plan of a `Pruner`.

    It takes one argument more, `pruner`; all else stays as it is. Each rank trains its part of
    every global batch of the plan. The loss of an optimizer step is Σ w_i S_i / N, where S_i is the
    loss of sample i summed over its labels and N counts the labels of all micro-batches on all
    ranks, as the Trainer does. For models that take no such count it is the mean over
    micro-batches, of (1/m) Σ w_i ℓ_i, or for tokens of Σ w_i S_i over the micro-batch's own count.
    The learning rate at the end of each epoch is the unpruned run's.

    Args:
        base: `transformers.Trainer` or a subclass of it. One with a `compute_loss` of its own has
            to define `per_sample_loss(self, outputs, labels, inputs)`, which returns one loss a
            sample, shape (batch,); any other may, for models that are none of the usual ones.

    Returns:
        A subclass of `base`, the same for the same `base`. Its trainer has the `pruner`.

    Raises:
        SettingError: `base` is no Trainer, or returns one loss a batch; when a trainer is built,
            arguments that pruning cannot honour.

    Guarantees: a run that is resumed from a checkpoint trains the samples, in the order and with
        the weights, of one that was not interrupted.
    """
    trainer: Any = import_module("transformers").Trainer
    if not (isinstance(base, type) and issubclass(base, trainer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(
            f"pruned({base!r})", "transformers.Trainer or a subclass of it", "Give the class"
        )
    has_hook = hasattr(base, "per_sample_loss")
    if base.compute_loss is not trainer.compute_loss and not has_hook:
        refuse_own_loss(base)
    bases = (PrunedMixin, base)
    if has_hook:
        own = {"per_sample_loss": base.per_sample_loss}
        return types.new_class(f"Pruned{base.__name__}", bases, {}, lambda body: body.update(own))
    return types.new_class(f"Pruned{base.__name__}", bases)
