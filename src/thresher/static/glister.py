"""GLISTER: the set whose gradient step lowers the loss of held-out samples the most."""

from __future__ import annotations

from dataclasses import dataclass
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
class GLISTER(SetMethod):
    """Greedily add argmax_i ⟨g_i, ∇L_V(θ − η Σ_S g)⟩, ∇L_V looked at anew after each addition.

    g are last-layer gradients and the step moves the last layer alone, so ∇L_V after it is exact
    without a model. L_V is the mean loss of `Collected.validation`, or else of the training samples
    themselves. (DeepCore's ∇L_V is never looked at anew; CORDS never ends for budgets below r.)

    Args:
        eta: η. The step is on the *sum* of S, as published: its length grows with the budget.
        greedy: "r-greedy" adds the best k / r of all at once, r times; "stochastic" the best of
            ⌈(n / k)·ln 100⌉ random candidates, k times; "naive" the best of all, k times.
        rounds: r, of r-greedy.
        seed: of the random candidates.

    Guarantees: the exact greedy set of its rule, with exactly the budget; none on the gradient. L_V
        is submodular in S only for some losses, and then naive is within 1 − 1/e, stochastic within
        1 − 1/e − 0.01 in expectation; r-greedy with r = k is naive.
    Cost: O((n + n_V)·c·d) for each look: r looks, or k (50,000 × 512 and k = 25,000: half an hour).
        4·n·(c + d) bytes.

    Example:
        >>> from thresher.static import GLISTER, Collected
        >>> p = torch.full((3, 2), 0.5)
        >>> train = Collected(labels=torch.tensor([0, 1, 1]), num_classes=2, probabilities=p,
        ...                   features=torch.tensor([[1.0], [1.0], [-1.0]]),
        ...                   validation=Collected(labels=torch.tensor([0]), num_classes=2,
        ...                       probabilities=p[:1], features=torch.tensor([[2.0]])))
        >>> GLISTER().select(train, prune_ratio=0.3)[0].tolist()
        [0, 2]

    References:
        Killamsetty et al., section 4 (GLISTER-ONLINE); its code CORDS has r = 15.
    """

    eta: float = 0.01
    greedy: Greedy = "r-greedy"
    rounds: int = 15
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "a forward pass (held-out samples too), O(r·n·c·d)"
    reference: ClassVar[Reference] = Reference(
        title="GLISTER: Generalization based Data Subset Selection for Efficient and Robust "
        "Learning",
        authors="Killamsetty, Sivasubramanian, Ramakrishnan, Iyer",
        year=2021,
        venue="AAAI",
        arxiv="2012.10630",
    )

    def __post_init__(self) -> None:
        require_within(self, "eta", "[0, inf)", "the length of the step")
        require_one_of(self, "greedy", "r-greedy", "stochastic", "naive")
        require_within(self, "rounds", "[1, inf)", "one round or more")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        held_out = data.validation or data
        held_out.require(*self.needs)
        rule = OneStepGreedy(eta=self.eta, greedy=self.greedy, rounds=self.rounds)
        generator = generator_of(self.seed, among)
        chosen = rule.choose(Gradients(data, among), Target(held_out), budget, generator)
        return among[torch.from_numpy(chosen)], None
