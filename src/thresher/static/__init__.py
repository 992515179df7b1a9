"""Methods that choose once: from what a reference model says, a fixed subset with weights.

data = thresher.static.collect(model, loader)
ids, weights = thresher.static.EL2N().select(data, prune_ratio=0.5)
pruner = thresher.Pruner(thresher.Subset(ids, weights), epochs=200)
"""

from thresher.static._method import ScoreMethod, SetMethod, StaticMethod
from thresher.static.collect import collect
from thresher.static.collected import Collected
from thresher.static.deepfool import DeepFool
from thresher.static.dp import DP
from thresher.static.el2n import EL2N
from thresher.static.entropy import Entropy
from thresher.static.forgetting import Forgetting
from thresher.static.grand import GraND
from thresher.static.info_max import InfoMax
from thresher.static.least_confidence import LeastConfidence
from thresher.static.margin import Margin
from thresher.static.moso import MoSo
from thresher.static.perplexity_band import PerplexityBand
from thresher.static.random import Random
from thresher.static.recorder import TrainingRecorder

__all__ = [
    "DP",
    "EL2N",
    "Collected",
    "DeepFool",
    "Entropy",
    "Forgetting",
    "GraND",
    "InfoMax",
    "LeastConfidence",
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
