"""What a Trainer shows of epochs that are not all as long, and of one that was interrupted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from thresher.integrations.transformers._loader import Lengths


def watched(handler: Any) -> Any:
    """Return a callback that puts `state.epoch` right in the rest of an interrupted epoch.

    The Trainer computes it from the batches of the pass, and a resumed pass has only those that are
    left. The callback comes first of all in `handler`, so that the others see the right number.
    """
    callback_of_theirs: Any = import_module("transformers").TrainerCallback

    class EpochFraction(callback_of_theirs):
        """Knows the epoch and the lengths of the pass that is running."""

        def __init__(self) -> None:
            self.epoch = 0
            self.lengths = Lengths(1, 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Count from the beginning of the epoch."""
            whole, left = self.lengths
            if whole > left:
                done = round((state.epoch - self.epoch) * left)
                state.epoch = self.epoch + (whole - left + done) / whole

    callback = EpochFraction()
    handler.callbacks.insert(0, callback)
    return callback


def show_total(handler: Any, steps: int) -> None:
    """Let the progress bar end at `steps`, known by now."""
    for callback in handler.callbacks:
        bar = getattr(callback, "training_bar", None)
        if bar is not None and getattr(bar, "total", steps) != steps:
            bar.total = steps
            bar.refresh()
