"""DeepCore's uncertainty rules keep the most uncertain when balanced, and the most certain if not.

Its scores grow with certainty; one path sorts them ascending and the other descending. Its least
confidence reads logits, whose largest says nothing about the others.
"""

from __future__ import annotations

import pytest
import torch

from static.found import SCORES, made_up, short
from thresher.static import Collected, Entropy, LeastConfidence, Margin, ScoreMethod

RULES = [LeastConfidence, Entropy, Margin]
of_every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
BOTH = pytest.mark.parametrize("balanced", [False, True])


@BOTH
@of_every_rule
def test_the_most_uncertain_are_kept(rule: type[LeastConfidence], balanced: bool) -> None:
    # Of each class one sample is a coin flip and one is certain.
    sure, unsure = [0.98, 0.01, 0.01], [0.34, 0.33, 0.33]
    data = Collected(
        labels=torch.tensor([0, 0, 1, 1, 2, 2]),
        num_classes=3,
        probabilities=torch.tensor([sure, unsure, unsure, sure, sure, unsure]),
    )
    ids, _ = rule(balanced=balanced).select(data, prune_ratio=0.5)
    assert set(ids.tolist()) == {1, 2, 5}


@pytest.mark.parametrize("method", SCORES, ids=short)
def test_both_paths_of_a_score_rule_agree_within_a_class(method: ScoreMethod) -> None:
    """Whoever of a class is kept unbalanced is among those kept balanced with as large a quota."""
    data = made_up(90, method)
    assert data.labels is not None
    kind = type(method)
    settings = {name: getattr(method, name) for name in vars(method) if name != "balanced"}
    free, _ = kind(balanced=False, **settings).select(data, prune_ratio=0.0)
    fair, _ = kind(balanced=True, **settings).select(data, prune_ratio=0.0)
    for label in range(data.num_classes):
        of_class = [[i for i in ids.tolist() if data.labels[i] == label] for ids in (free, fair)]
        assert of_class[0] == of_class[1]


def test_least_confidence_reads_probabilities() -> None:
    """The largest logit is the same in both; the largest probability is not."""
    logits = torch.tensor([[5.0, 5.0, 5.0], [5.0, -5.0, -5.0]])
    data = Collected(num_classes=3, probabilities=logits.softmax(1))
    assert LeastConfidence().select(data, prune_ratio=0.5)[0].tolist() == [0]
