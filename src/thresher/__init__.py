"""Train on the part of the data that matters, with weights that make up for the rest.

pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=200)
loader = pruner.wrap(loader)
...
loss = pruner.reduce(losses)        # instead of losses.mean()
"""

from thresher import errors, online, scores, static, windows
from thresher.methods import (
    KAKURENBO,
    UCB,
    EpsilonGreedy,
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
    SeTa,
    Subset,
)
from thresher.plan import Plan
from thresher.pruner import Pruner

__version__ = "0.1.0"

__all__ = [
    "KAKURENBO",
    "UCB",
    "EpsilonGreedy",
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
    "SeTa",
    "Subset",
    "errors",
    "online",
    "scores",
    "static",
    "windows",
]
