"""Methods that choose once: from what a reference model says, a fixed subset with weights.

data = thresher.static.collect(model, loader)
ids, weights = thresher.static.EL2N().select(data, prune_ratio=0.5)
pruner = thresher.Pruner(thresher.Subset(ids, weights), epochs=200)
"""

from thresher.static._method import ScoreMethod, SetMethod, StaticMethod
from thresher.static.cal import CAL
from thresher.static.collect import collect
from thresher.static.collected import Collected
from thresher.static.contextual_diversity import ContextualDiversity
from thresher.static.craig import CRAIG
from thresher.static.deepfool import DeepFool
from thresher.static.dp import DP
from thresher.static.el2n import EL2N
from thresher.static.entropy import Entropy
from thresher.static.facility_location import FacilityLocation
from thresher.static.forgetting import Forgetting
from thresher.static.glister import GLISTER
from thresher.static.grad_match import GradMatch
from thresher.static.grand import GraND
from thresher.static.graph_cut import GraphCut
from thresher.static.herding import Herding
from thresher.static.info_max import InfoMax
from thresher.static.k_center_greedy import KCenterGreedy
from thresher.static.least_confidence import LeastConfidence
from thresher.static.log_determinant import LogDeterminant
from thresher.static.margin import Margin
from thresher.static.moso import MoSo
from thresher.static.perplexity_band import PerplexityBand
from thresher.static.random import Random
from thresher.static.recorder import TrainingRecorder
from thresher.static.retrieve import RETRIEVE

__all__ = [
    "CAL",
    "CRAIG",
    "DP",
    "EL2N",
    "GLISTER",
    "RETRIEVE",
    "Collected",
    "ContextualDiversity",
    "DeepFool",
    "Entropy",
    "FacilityLocation",
    "Forgetting",
    "GraND",
    "GradMatch",
    "GraphCut",
    "Herding",
    "InfoMax",
    "KCenterGreedy",
    "LeastConfidence",
    "LogDeterminant",
    "Margin",
    "MoSo",
    "PerplexityBand",
    "Random",
    "ScoreMethod",
    "SetMethod",
    "StaticMethod",
    "TrainingRecorder",
    "collect",
]
