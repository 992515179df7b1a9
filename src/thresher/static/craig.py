"""CRAIG: medoids of the gradients, each weighted by how many it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.methods._method import Reference, require_within
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.coverage import Coverage
from thresher.static.gradients import Gradients
from thresher.static.kernel_rows import Block
from thresher.static.parts import generator_of


@final
@dataclass(frozen=True, kw_only=True)
class CRAIG(SetMethod):
    """Greedily maximise Σ_i max_{j in S} (D − ‖g_i − g_j‖) within each class.

    g are last-layer gradients, D at least as large as every distance (twice the largest norm; it
    changes no choice). The weight of j is the number of samples that no other chosen one is nearer
    to than j, itself among them: Σ w = n. (DeepCore counts each chosen sample twice.)
    Among at most `exact_up_to` candidates the greedy set is exact, with lazy bounds; among more,
    each step looks at ⌈(n / k)·ln(1/ε)⌉ random ones.

    Args:
        balanced: per class, as published; False for all samples together.
        exact_up_to: candidates (of a class, if balanced) up to which the rule is exact.
        epsilon: ε of the stochastic rule.
        seed: of its candidates.

    Guarantees: ‖Σ_S w_j g_j − Σ g_i‖ is at most the sum of the distances to the nearest chosen
        one, which is what the rule makes small: its objective is at least (1 − 1/e) of the best,
        stochastic (1 − 1/e − ε) in expectation.
    Cost: O(ln(1/ε)·n²·(c + d)) a class of n, exact some ten times as much; 4·n·(c + d) bytes and
        80 MiB at most. Not with apricot-select, for the reasons on `FacilityLocation`'s card.

    Example:
        >>> from thresher.static import CRAIG, Collected
        >>> p = torch.tensor([[0.5, 0.5]]).expand(5, 2)
        >>> h = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1]])
        >>> data = Collected(labels=torch.zeros(5, dtype=torch.int64), num_classes=2, features=h,
        ...                  probabilities=p)
        >>> ids, weights = CRAIG().select(data, prune_ratio=0.6)
        >>> ids.tolist(), weights.tolist()
        ([2, 3], [3.0, 2.0])

    References:
        Mirzasoleiman, Bilmes and Leskovec, section 3 and Algorithm 1.
    """

    balanced: bool = True
    exact_up_to: int = 7_000
    epsilon: float = 0.01
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "a forward pass, O(n²·(c + d)) a class"
    reference: ClassVar[Reference] = Reference(
        title="Coresets for Data-efficient Training of Machine Learning Models",
        authors="Mirzasoleiman, Bilmes, Leskovec",
        year=2020,
        venue="ICML",
        arxiv="1906.01827",
    )

    def __post_init__(self) -> None:
        require_within(self, "epsilon", "(0, 1)", "the share of the best value to give away")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        chosen = Coverage(closeness(Gradients(data, among)), len(among)).greedy(
            budget,
            exact_up_to=self.exact_up_to,
            epsilon=self.epsilon,
            generator=generator_of(self.seed, among),
        )
        return among[torch.from_numpy(chosen.order)], torch.from_numpy(chosen.sizes).float()


def closeness(gradients: Gradients) -> Block:
    """Return the block of D − ‖g_i − g_j‖ with D twice the largest norm (1 if that is 0)."""
    squares = gradients.squared_norms()
    farthest = 2 * float(squares.max().sqrt()) or 1.0

    def block(positions: Array) -> Array:
        some = torch.from_numpy(positions)
        distances = gradients.inner(some).mul_(-2.0).add_(squares).add_(squares[some, None])
        # The rounding would put a sample away from itself, and behind its equals.
        distances.clamp_(min=0.0)[torch.arange(len(some), device="cpu"), some] = 0.0
        return distances.sqrt_().neg_().add_(farthest).numpy()

    return block
