"""Claims of unbiasedness, measured on the gradients of a linear model; and ordered SGD, exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from online.found import METHODS, looking, short, shown
from thresher.draws import Draws
from thresher.methods import Reference
from thresher.online import (
    Candidates,
    Choice,
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
)
from thresher.stream import Stream

SIZE, BATCH = 13, 4
RUNS = 400


def linear_model(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Gradients of squared residuals, float64 (n, 3), and their norms, float32; some are 0."""
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(size, 3, generator=generator, dtype=torch.float64) + 0.5
    residuals = torch.randn(size, generator=generator, dtype=torch.float64).exp()
    residuals[::5] = 0.0
    gradients = inputs * residuals[:, None]
    return gradients, gradients.norm(dim=1).float()


def standard_errors_off(draw: Callable[[int], Tensor], truth: Tensor, runs: int = RUNS) -> float:
    """How far the mean of draws, (3,) each, is from the truth, in its largest coordinate."""
    drawn = torch.stack([draw(seed) for seed in range(runs)])
    error = drawn.std(0) / math.sqrt(runs)
    # Weights are float32: below their rounding a difference is no bias.
    return float(((drawn.mean(0) - truth).abs() / (error + 1e-6 * truth.abs().max())).max())


def batch_gradient(choice: Choice, gradients: Tensor) -> Tensor:
    """The gradient that a loop gets: (1/m) Σ w g."""
    part = gradients[choice.positions]
    return part.mean(0) if choice.weights is None else (choice.weights[:, None] * part).mean(0)


CLAIMING = [
    method
    for method in METHODS
    if method.claims_unbiased and method.prune_ratio is None and method.candidates is None
]
"""A ratio and the number of candidates are of the epoch, not of the rule."""


@pytest.mark.parametrize("method", CLAIMING, ids=short)
def test_a_batch_is_unbiased_for_its_candidates(method: OnlineMethod) -> None:
    gradients, norms = linear_model()
    memory = looking(method)

    def draw(seed: int) -> Tensor:
        candidates = shown(method, norms, batch_size=BATCH, memory=memory, seed=seed)
        return batch_gradient(method.choose(candidates), gradients)

    assert standard_errors_off(draw, gradients.mean(0)) < 4


@pytest.mark.parametrize("method", [ExtraForwardBernoulli(), ImportanceSampling()], ids=short)
def test_a_batch_is_unbiased_for_the_data_set(method: OnlineMethod) -> None:
    """Candidates are drawn too, and where two orders meet."""
    gradients, norms = linear_model(23)

    def draw(seed: int) -> Tensor:
        ids, _ = Stream(23, seed, shuffled=True).take(seed % 46, SIZE)
        memory = looking(method)
        candidates = shown(method, norms[ids], batch_size=BATCH, memory=memory, seed=seed)
        return batch_gradient(method.choose(candidates), gradients[ids])

    assert standard_errors_off(draw, gradients.mean(0)) < 4


@dataclass(frozen=True, kw_only=True)
class Unweighted(OnlineMethod):
    """Draws in proportion to the norm, forgets the weights, and claims that this is unbiased."""

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def choose(self, candidates: Candidates) -> Choice:
        norm = candidates.scores["logit_grad_norm"].double()
        keys = candidates.draws.uniform(candidates.size, "draw", torch.float64)
        kept = keys < BATCH * norm / norm.sum()
        kept[0] |= not bool(kept.any())
        positions = kept.nonzero().squeeze(1)
        return Choice(positions, torch.ones(len(positions)), candidates.memory)


def test_a_false_claim_is_refuted() -> None:
    gradients, norms = linear_model()

    def draw(seed: int) -> Tensor:
        return batch_gradient(
            Unweighted().choose(shown(Unweighted(), norms, batch_size=BATCH, seed=seed)), gradients
        )

    assert standard_errors_off(draw, gradients.mean(0)) > 4


# ---------------------------------------------------------------------------------- ordered SGD


def chance_of_rank(j: int, n: int, s: int, q: int) -> float:
    """γ_j: the chance that the j-th largest of n, from 1, is among the q largest of s drawn."""
    ways = sum(
        math.comb(j - 1, above) * math.comb(n - j, s - 1 - above) for above in range(min(q, j))
    )
    return ways / math.comb(n, s)


@pytest.mark.parametrize(("n", "s", "q"), [(7, 3, 1), (8, 4, 2), (9, 5, 4), (6, 6, 2), (7, 4, 4)])
def test_ordered_top_q_follows_the_gradient_of_the_ordered_loss_exactly(
    n: int, s: int, q: int
) -> None:
    """Over all candidate batches: E[(1/q) Σ_Q g] = (1/q) Σ_j γ_j g_(j)."""
    gradients, norms = linear_model(n)
    losses = norms + torch.arange(n) * 1e-3  # no two are equal
    method = OrderedTopQ()
    total, count = torch.zeros(3, dtype=torch.float64), 0
    for drawn in itertools.combinations(range(n), s):
        ids = torch.tensor(drawn)
        choice = method.choose(shown(method, losses[ids], batch_size=q))
        total, count = total + batch_gradient(choice, gradients[ids]), count + 1
    gamma = [chance_of_rank(j, n, s, q) for j in range(1, n + 1)]
    assert math.fsum(gamma) == pytest.approx(q)
    order = losses.argsort(descending=True)
    truth = (torch.tensor(gamma, dtype=torch.float64)[:, None] * gradients[order]).sum(0) / q
    assert torch.allclose(total / count, truth, rtol=1e-12, atol=1e-12)


def test_ordered_top_q_breaks_ties_evenly() -> None:
    method = OrderedTopQ()
    counts = np.zeros(6)
    for seed in range(600):
        choice = method.choose(shown(method, torch.ones(6), batch_size=2, seed=seed))
        counts[choice.positions.numpy()] += 1
    error = math.sqrt(600 * (1 / 3) * (2 / 3))
    assert np.abs(counts - 200).max() < 4 * error


# --------------------------------------------------------------------------------- the stream


@pytest.mark.parametrize("start", [0, 3, 4])
def test_candidate_batches_are_uniform_parts_of_the_data_also_where_orders_meet(start: int) -> None:
    """Of n = 5, batches of 2: cursor 4 takes the last of one order and one of the next."""
    runs = 1500
    pairs = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for seed in range(runs):
        ids, _ = Stream(5, seed, shuffled=True).take(start, 2)
        pairs[tuple(sorted(ids.tolist()))] += 1  # type: ignore[index]
    error = math.sqrt(runs * 0.1 * 0.9)
    assert max(abs(count - runs / 10) for count in pairs.values()) < 4 * error


def test_draws_of_neighbouring_candidate_batches_share_nothing() -> None:
    first, second = (Draws(0, cursor).uniform(1000, "selection") for cursor in (0, 8))
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 4 / math.sqrt(1000)
