"""Methods that look at candidates with a scoring forward pass, and train on a part of them.

pruner = thresher.Pruner(thresher.online.SelectiveBackprop(prune_ratio=0.5), epochs=200)
score_fn = thresher.scores.scoring(model, lambda model, batch: ...)  # one score a sample
loader = pruner.wrap(loader, score_fn=score_fn)                      # the loop stays as it is
"""

from thresher.online._method import Candidates, Choice, OnlineMethod
from thresher.online.extra_forward_bernoulli import ExtraForwardBernoulli
from thresher.online.importance_sampling import ImportanceSampling
from thresher.online.ordered_top_q import OrderedTopQ
from thresher.online.selective_backprop import SelectiveBackprop

__all__ = [
    "Candidates",
    "Choice",
    "ExtraForwardBernoulli",
    "ImportanceSampling",
    "OnlineMethod",
    "OrderedTopQ",
    "SelectiveBackprop",
]
