"""The published methods: one a file, each a frozen dataclass of its paper's hyper-parameters."""

from thresher.methods._method import Method, Reference
from thresher.methods.epsilon_greedy import EpsilonGreedy
from thresher.methods.full import Full
from thresher.methods.historical_ranking import HistoricalRanking
from thresher.methods.historical_replacement import HistoricalReplacement
from thresher.methods.infobatch import InfoBatch
from thresher.methods.kakurenbo import KAKURENBO
from thresher.methods.omission import Omission
from thresher.methods.orderdp import OrderDP
from thresher.methods.persistent_importance import PersistentImportance
from thresher.methods.random_pruning import RandomPruning
from thresher.methods.random_within_batch import RandomWithinBatch
from thresher.methods.repb import RePB
from thresher.methods.seta import SeTa
from thresher.methods.subset import Subset
from thresher.methods.ucb import UCB

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
    "RandomPruning",
    "RandomWithinBatch",
    "RePB",
    "Reference",
    "SeTa",
    "Subset",
]
