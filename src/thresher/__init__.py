"""Train on the part of the data that matters, with weights that make up for the rest.

pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=200)
loader = pruner.wrap(loader)
...
loss = pruner.reduce(losses)        # instead of losses.mean()
"""

from importlib import import_module
from typing import TYPE_CHECKING

from thresher._version import __version__ as __version__

if TYPE_CHECKING:
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

if not TYPE_CHECKING:
    # Imported when it is first asked for: torch takes more than a second, which nobody wants to
    # wait for who mistyped a flag of the command line.

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'thresher' has no attribute {name!r}")
        if name[0].islower():
            return import_module(f"thresher.{name}")
        homes = {"Plan": "thresher.plan", "Pruner": "thresher.pruner"}
        found = getattr(import_module(homes.get(name, "thresher.methods")), name)
        globals()[name] = found
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
