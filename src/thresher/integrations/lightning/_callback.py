"""Lightning 2: a callback, and one line in `training_step`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, cast, final

from torch import Tensor
from torch.utils.data import DataLoader

from thresher import batch
from thresher.errors import CheckpointError, NotIteratedError
from thresher.integrations.lightning._epochs import EpochLoader, epochwise, finish_epoch
from thresher.integrations.lightning._settings import (
    require_one_loader,
    require_paceable,
    require_same_length,
    require_trainable,
)
from thresher.pruner import Pruner
from thresher.scores.scoring import BatchScores
from thresher.takeover import refuse_stream


def _package() -> Any:
    """Lightning, by the name that the user imports it by, or by the one that is installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in names:
        if sys.modules.get(name) is not None:
            return sys.modules[name]
    for name in names:
        if find_spec(name.partition(".")[0]) is not None:
            return import_module(name)
    raise ImportError(
        "thresher.integrations.lightning needs Lightning 2.5 or later, by either of its names; "
        'pip install "thresher[lightning]"'
    )


_Callback: Any = _package().Callback


@final
class DataPruning(_Callback):
    """Trains each epoch of a Lightning `Trainer` on the plan of a pruner.

    It wraps the train loader when a fit begins, in the process that trains, so give the Trainer the
    plain one; it tells the Trainer each epoch's true number of batches; it paces the module's
    learning-rate schedulers, which are built for unpruned training, as
    `trainer.estimated_stepping_batches` counts it; and it saves the pruner in Lightning's
    checkpoints. The losses are weighted in `training_step`, by `reduce`.

    Args:
        pruner: of as many epochs and accumulation steps as the Trainer.
        score_fn: as in `Pruner.wrap`.
        remainder: as in `Pruner.wrap`.

    Example:
        >>> from thresher import Pruner, RePB
        >>> pruner = Pruner(RePB(prune_ratio=0.5), epochs=20)
        >>> trainer = Trainer(max_epochs=20, callbacks=[DataPruning(pruner)])  # doctest: +SKIP
    """

    def __init__(
        self,
        pruner: Pruner,
        *,
        score_fn: Callable[[Any], BatchScores] | None = None,
        remainder: Literal["pad", "drop"] | None = None,
    ) -> None:
        super().__init__()
        self.pruner = pruner
        self._score_fn = score_fn
        self._remainder: Literal["pad", "drop"] | None = remainder
        self._loader: EpochLoader | None = None
        self._reloads_before: int | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what does not go with planned epochs, before other callbacks begin to train.

        Raises:
            SettingError: the Trainer was told something that planned epochs do not allow.
        """
        if stage == "fit":
            require_trainable(trainer, pl_module, self.pruner)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Wrap the train loader and pace the schedulers.

        Raises:
            SettingError: a scheduler cannot be paced, or was built for another number of steps.
            ThresherError: the loader cannot be wrapped, as in `Pruner.wrap`.
        """
        require_paceable(trainer)
        loop = trainer.fit_loop
        # The Trainer has no public way to exchange a loader that a hook of the module returns, nor
        # to do so after the schedulers were built for the unpruned one.
        source = loop._data_source
        loader: DataLoader[Any] = require_one_loader(source.dataloader())
        refuse_stream(loader, "Lightning")
        wrapped = self.pruner.wrap(loader, score_fn=self._score_fn, remainder=self._remainder)
        # Lightning has counted them if somebody asked for trainer.estimated_stepping_batches.
        if loop._combined_loader is not None and not trainer.fast_dev_run:
            require_same_length(loop.max_batches, wrapped)
        source.instance = self._loader = epochwise(wrapped, trainer)
        loop._combined_loader = None
        # So that the length of each epoch is asked for; the source returns the same loader.
        self._reloads_before = trainer.reload_dataloaders_every_n_epochs
        trainer.reload_dataloaders_every_n_epochs = 1
        for config in trainer.lr_scheduler_configs:
            is_by_step = config.interval == "step" and not config.reduce_on_plateau
            per = "step" if is_by_step else "epoch"
            config.scheduler = self.pruner.pace(config.scheduler, per=per)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Check that the pruner continues where the Trainer does.

        Raises:
            CheckpointError: it does not.
        """
        ahead, position = trainer.current_epoch - self.pruner.epoch, self.pruner.position
        # One that was left early is over for the Trainer, one whose end was not reached is not.
        is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if not (ahead == 0 or (ahead == 1 and position) or (ahead == -1 and is_last)):
            raise CheckpointError(
                f"The Trainer begins in epoch {trainer.current_epoch}, the pruner in epoch "
                f"{self.pruner.epoch}",
                "the same epoch",
                "Resume with trainer.fit(..., ckpt_path=...) from a checkpoint that was saved with "
                "DataPruning, and not with weights alone; start a new run with a new Pruner",
            )
        if ahead == 0 and not position:
            finish_epoch(trainer, len(cast("EpochLoader", self._loader)))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Let the next question for the length be about the coming epoch."""
        cast("EpochLoader", self._loader).is_between_epochs = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Answer for the last epoch from here on, as nobody trains a coming one."""
        if self._loader is not None:
            self._loader.is_between_epochs = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Plan nothing while the Trainer clears up, as other ranks may not answer."""
        self.on_train_end(trainer, pl_module)
        self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the Trainer as it was."""
        if self._reloads_before is not None:
            trainer.reload_dataloaders_every_n_epochs = self._reloads_before

    def state_dict(self) -> dict[str, Any]:
        """Return the pruner's state, in the middle of an epoch gathered from all ranks."""
        try:
            return self.pruner.state_dict(gather=True)
        except NotIteratedError:  # nothing was trained
            return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the pruner."""
        self.pruner.load_state_dict(state_dict)


def reduce(module: Any, losses: Tensor, *, scores: batch.Scores | None = None) -> Tensor:
    """Return the loss of a `training_step`: `pruner.reduce(losses)`, or the mean without a pruner.

    It is the mean, too, while the Trainer validates, so that a step may be shared; and a module
    trains as ever if the Trainer has no `DataPruning`.

    Args:
        module: the LightningModule.
        losses: one loss a sample, shape (m,).
        scores: other scores than the loss, as in `Pruner.reduce`.

    Raises:
        ThresherError: as `Pruner.reduce` does.

    Example:
        >>> def training_step(self, batch, batch_idx):
        ...     x, y = batch
        ...     losses = torch.nn.functional.cross_entropy(self(x), y, reduction="none")
        ...     return reduce(self, losses)
    """
    trainer = module.trainer
    if trainer.training:
        for callback in trainer.callbacks:
            if isinstance(callback, DataPruning):
                return callback.pruner.reduce(losses, scores=scores)
    return losses.mean()
