"""Train on the part of the data that matters, with weights that make up for the rest.

pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=200)
loader = pruner.wrap(loader)
...
loss = pruner.reduce(losses)        # instead of losses.mean()
"""

from thresher import errors, scores
from thresher.methods import (
    Full,
    HistoricalRanking,
    HistoricalReplacement,
    InfoBatch,
    Method,
    Omission,
    OrderDP,
    PersistentImportance,
    RandomPruning,
    RandomWithinBatch,
    RePB,
)
from thresher.plan import Plan
from thresher.pruner import Pruner

__version__ = "0.1.0"

__all__ = [
    "Full",
    "HistoricalRanking",
    "HistoricalReplacement",
    "InfoBatch",
    "Method",
    "Omission",
    "OrderDP",
    "PersistentImportance",
    "Plan",
    "Pruner",
    "RandomPruning",
    "RandomWithinBatch",
    "RePB",
    "errors",
    "scores",
]
