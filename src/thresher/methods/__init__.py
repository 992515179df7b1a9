"""The published methods: one a file, each a frozen dataclass of its paper's hyper-parameters."""

from thresher.methods._method import Method, Reference
from thresher.methods.full import Full
from thresher.methods.infobatch import InfoBatch
from thresher.methods.omission import Omission
from thresher.methods.orderdp import OrderDP
from thresher.methods.random_pruning import RandomPruning
from thresher.methods.repb import RePB
from thresher.methods.subset import Subset

__all__ = [
    "Full",
    "InfoBatch",
    "Method",
    "Omission",
    "OrderDP",
    "RandomPruning",
    "RePB",
    "Reference",
    "Subset",
]
