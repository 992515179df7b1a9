"""The static methods that `thresher compare` knows, and the reference model that each of them sees.

The reference is the task's own network, trained in full under the task's own budget, for fewer
epochs and from other initial weights than the runs of the table. Its length is a share of theirs:

- A fifth for whatever one pass of a model tells. EL2N and GraND are of a model early in training
  (after 20 and 4 of 200 epochs in their paper: a fifth of ten epochs is two, the fewest in which a
  network has settled), and uncertainty, geometry and gradients are usually asked of a short
  training too, because half of a run's visits cannot pay for a whole one.
- The whole for forgetting, whose events are counted over a training, as in its paper.
- None for what asks no model.

One reference a method: papers that average over ten of them are ten times as dear.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_EARLY, _WHOLE, _NONE = 0.2, 1.0, 0.0


class Static(NamedTuple):
    """A static method's class in `thresher.static`, one line for `--help`, and its reference.

    Args:
        kind: the class.
        text: what it keeps.
        share: epochs of the reference, of those of full training; 0 if it asks no model.
        settings: what the name stands for unless it is said otherwise: what keeps the choice among
            60,000 samples within a minute on one core.
    """

    kind: str
    text: str
    share: float = _EARLY
    settings: Mapping[str, Any] = MappingProxyType({})


STATIC: dict[str, Static] = {
    "static-random": Static("Random", "drawn uniformly, once", _NONE),
    "el2n": Static("EL2N", "the largest error vectors early in training"),
    "grand": Static("GraND", "the largest gradients early in training"),
    "forgetting": Static("Forgetting", "what a whole training forgets most often", _WHOLE),
    "least-confidence": Static("LeastConfidence", "the least sure predictions"),
    "entropy": Static("Entropy", "the predictions of largest entropy"),
    "margin": Static("Margin", "the smallest margins between the two likeliest classes"),
    "deepfool": Static("DeepFool", "the inputs nearest to a decision boundary; minutes to ask"),
    "cal": Static("CAL", "predictions unlike those of samples that look alike"),
    "perplexity-band": Static("PerplexityBand", "the middle of the losses; band=low, high"),
    "herding": Static("Herding", "a running mean of features near to the mean of all"),
    "k-center-greedy": Static("KCenterGreedy", "always the farthest from what is chosen"),
    "contextual-diversity": Static("ContextualDiversity", "the same among predictions"),
    "facility-location": Static(
        "FacilityLocation",
        "everybody is like somebody chosen; here class by class (balanced=false: minutes)",
        settings=MappingProxyType({"balanced": True}),
    ),
    "graph-cut": Static("GraphCut", "like everybody, and unlike each other"),
    "log-determinant": Static("LogDeterminant", "gradients that span the largest volume"),
    "info-max": Static("InfoMax", "informative, and unlike each other"),
    "craig": Static("CRAIG", "a weighted cover of the gradients, class by class"),
    "grad-match": Static("GradMatch", "weights that match the sum of all gradients"),
    "glister": Static("GLISTER", "whose step lowers the loss (of the training data) most"),
    "retrieve": Static("RETRIEVE", "the same by the model's own labels"),
    "moso": Static("MoSo", "without whom the risk would rise most, class by class"),
    "dp": Static("DP", "leaves out who together moves the parameters least"),
}
"""By the name on the command line."""
