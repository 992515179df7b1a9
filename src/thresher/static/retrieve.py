"""RETRIEVE: the unlabelled samples whose gradient step lowers the labelled loss the most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher.methods._method import Reference, require_one_of, require_within
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.gradients import Gradients
from thresher.static.one_step import Greedy, OneStepGreedy, Target
from thresher.static.parts import generator_of


@final
@dataclass(frozen=True, kw_only=True)
class RETRIEVE(SetMethod):
    """Greedily add argmax_i m_i ⟨g_i, ∇L(θ − η Σ_S m g)⟩ among samples without labels.

    g_i is the last-layer gradient of the consistency loss: cross-entropy to a pseudo-label, m_i
    whether the confidence in it is at least `threshold`. Pseudo-labels are `Collected.labels`, if
    given (from a weakly augmented view, while features and probabilities are those of a strongly
    augmented one), else argmax p; the confidence is the score "confidence", if given, else max p.
    L is the mean loss of the labelled samples, `Collected.validation`; without them the mean
    consistency loss itself.

    Args:
        eta: η. The step is on the *sum* of S, as published: its length grows with the budget.
        threshold: the confidence below which a sample's consistency loss does not count.
        greedy: "r-greedy", "stochastic" or "naive", as on `GLISTER`'s card.
        rounds: r, of r-greedy.
        seed: of the random candidates.

    Guarantees: the exact greedy set of its rule, with exactly the budget; none on the gradient.
        Samples below the threshold gain 0, and are added only where all others would do harm.
    Cost: O((n + n_L)·c·d) for each of r looks, or of k; 4·n·(c + d) bytes.

    Example:
        >>> from thresher.static import RETRIEVE, Collected
        >>> p = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.3, 0.7]])
        >>> unlabelled = Collected(probabilities=p, num_classes=2,
        ...                        features=torch.tensor([[1.0], [1.0], [-1.0]]),
        ...                        validation=Collected(labels=torch.tensor([0]), num_classes=2,
        ...                            probabilities=p[:1], features=torch.tensor([[2.0]])))
        >>> RETRIEVE().select(unlabelled, prune_ratio=0.6)[0].tolist()
        [0]

    References:
        Killamsetty et al., section 3 and Algorithm 1; its code in CORDS.
    """

    eta: float = 0.01
    threshold: float = 0.0
    greedy: Greedy = "r-greedy"
    rounds: int = 15
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("features", "probabilities")
    cost: ClassVar[str] = "a forward pass (labelled samples too), O(r·n·c·d)"
    reference: ClassVar[Reference] = Reference(
        title="RETRIEVE: Coreset Selection for Efficient and Robust Semi-Supervised Learning",
        authors="Killamsetty, Zhao, Chen, Iyer",
        year=2021,
        venue="NeurIPS",
        arxiv="2106.07760",
    )

    def __post_init__(self) -> None:
        require_within(self, "eta", "[0, inf)", "the length of the step")
        require_within(self, "threshold", "[0, 1]", "a probability")
        require_one_of(self, "greedy", "r-greedy", "stochastic", "naive")
        require_within(self, "rounds", "[1, inf)", "one round or more")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        assert data.probabilities is not None
        confidence, guesses = data.probabilities.max(1)
        if data.has("confidence"):
            confidence = data.signal("confidence")
        counted = (confidence >= self.threshold).float()
        guessed = replace(data, labels=guesses if data.labels is None else data.labels)
        gradients = Gradients(guessed, among)
        gradients.residuals *= counted[among, None]
        target = Target(guessed, counted)
        if data.validation is not None:
            data.validation.require("labels", *self.needs)
            target = Target(data.validation)
        rule = OneStepGreedy(eta=self.eta, greedy=self.greedy, rounds=self.rounds)
        generator = generator_of(self.seed, among)
        chosen = rule.choose(gradients, target, budget, generator)
        return among[torch.from_numpy(chosen)], None
