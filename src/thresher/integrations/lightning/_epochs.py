"""What Lightning gets to see of a wrapped loader: each epoch's true length, before it begins."""

from __future__ import annotations

import types
from typing import Any, cast

from torch.utils.data import DataLoader

from thresher.loader import PlannedLoader


class EpochLoader(PlannedLoader):
    """A wrapped loader whose length is that of the epoch the Trainer is in, or about to begin.

    Lightning asks for the length between epochs, and stops an epoch there. An epoch that was left
    early is over for it, while a wrapped loader counts it as in progress; and one that was saved
    after its last batch is over for the loader, but not for Lightning.

    Attributes:
        is_between_epochs: whether the next question is about an epoch that has not begun.
    """

    is_between_epochs: bool
    _trainer: Any
    _length: int

    def __len__(self) -> int:
        if not self.is_between_epochs:
            return self._length
        course = self._thresher.course
        progress = course.clock.current
        stop = course.stop(progress)
        if self._trainer.current_epoch != course.clock.epoch or progress.seen < stop:
            progress, stop = course.next_pass()
            self.is_between_epochs = False
        self._length = progress.num_batches(course.grid, stop)
        return self._length

    # With both of these Lightning knows that an epoch can be resumed where it was interrupted.
    def state_dict(self) -> dict[str, Any]:
        """Return nothing: where the loader stands is in the pruner's state, which ranks share."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore nothing."""


def epochwise(loader: DataLoader[Any], trainer: Any) -> EpochLoader:
    """Return a wrapped loader as Lightning is to see it, of the same class otherwise."""
    kind = type(loader)
    bases = (EpochLoader,) if kind is PlannedLoader else (EpochLoader, kind)
    made = object.__new__(types.new_class(kind.__name__, bases))
    made.__dict__.update(loader.__dict__)
    made.__dict__.update(is_between_epochs=True, _length=0, _trainer=trainer)
    return cast("EpochLoader", made)


def finish_epoch(trainer: Any, coming: int) -> None:
    """Let the Trainer count an epoch as finished that was saved at the end of its last batch.

    It would compare the batches it has trained with the length of the coming epoch, and if that is
    longer take up there where the finished one ended.
    """
    current = trainer.fit_loop.epoch_loop.batch_progress.current
    if current.completed < current.ready:
        current.completed = max(current.completed, coming)
