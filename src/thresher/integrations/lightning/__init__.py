"""Lightning 2: `DataPruning`, a callback, and `reduce`, one line in `training_step`."""

from thresher.integrations.lightning._callback import DataPruning, reduce

__all__ = ["DataPruning", "reduce"]
