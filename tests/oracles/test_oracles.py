"""Every method chooses and weights what the literal transcription of its paper does."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, named
from contracts.found import CLASSES, METHODS, short
from thresher import (
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    HistoricalRanking,
    HistoricalReplacement,
    InfoBatch,
    Omission,
    OrderDP,
    PersistentImportance,
    RandomPruning,
    RandomWithinBatch,
    RePB,
    SeTa,
    Subset,
)
from thresher.draws import Draws
from thresher.methods import Method
from thresher.windows import Importance

SIZE = 37
EPOCHS = 9
BATCH = 5

MORE: list[Method] = [
    EpsilonGreedy(epsilon=1.0),
    EpsilonGreedy(kappa=0.3, epsilon=0.0, a=0.7),
    EpsilonGreedy(kappa=0.8, epsilon=0.4, period=3),
    HistoricalRanking(large_batch=8),
    HistoricalRanking(kappa=0.2, large_batch=16, beta_1=0.5, beta_2=0.8),
    HistoricalReplacement(large_batch=8),
    HistoricalReplacement(kappa=1.0, alpha=0.5, large_batch=16, beta_1=0.5, beta_2=0.8),
    InfoBatch(r=0.9),
    KAKURENBO(max_fraction=0.8, tau=0.3, milestones=((2, 0.7), (4, 0.2))),
    KAKURENBO(max_fraction=0.5, tau=0.0),
    Omission(kappa=0.2, alpha=0.5, beta_1=0.5, beta_2=0.8),
    Omission(kappa=0.9, alpha=0.0, beta_1=0.0, beta_2=0.0, sampling="bernoulli"),
    Omission(large_batch=8),
    Omission(kappa=0.3, alpha=0.5, large_batch=7),
    Omission(kappa=0.2, large_batch=16, sampling="bernoulli"),
    Omission(large_batch=1),
    OrderDP(rho_s=0.9, rho_q=0.2),
    OrderDP(rho_s=1.0, rho_q=1.0),
    OrderDP(max_staleness=3),
    OrderDP(rho_s=0.8, rho_q=0.3, max_staleness=1),
    PersistentImportance(kappa=0.2, alpha=0.9, epsilon=0.1),
    RandomPruning(mode="cycle", prune_ratio=0.7),
    RandomWithinBatch(large_batch=8),
    RandomWithinBatch(kappa=0.3, large_batch=7),
    RePB(rho=0.0),
    RePB(rho=0.9, window=3),
    RePB(rho=1.0),
    RePB(rho=0.6, window=None, resample=False),
    Subset([5, 0, 36, 8], [0.5, 2.0, 1.0, 4.0]),
    Subset([7]),
    SeTa(r=0.0, k=5, window=3),
    SeTa(r=0.5, k=10, window=2),
    SeTa(r=0.0, k=50, window=20),
    SeTa(k=1, window=1),
    UCB(c=0.0),
    UCB(kappa=0.2, c=10.0, a=0.9, period=2),
    RePB(rho=0.3, window=2, rule=Importance()),
    RePB(rho=0.8, window=None, rule=Importance(epsilon=0.5), score="logit_grad_norm"),
]


def oracle_of(method: Method) -> Any:
    stem = type(method).__module__.rsplit(".", 1)[1]
    return importlib.import_module(f"oracles.{stem}").Oracle(method, SIZE)


def damaged(table: Tensor, seed: int) -> Tensor:
    """Some losses of some epochs are NaN or infinite."""
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(table.shape, generator=generator)
    broken = table.masked_fill(hit < 0.05, math.nan).masked_fill(hit > 0.97, math.inf)
    return broken.masked_fill((hit > 0.48) & (hit < 0.5), -math.inf)


def order_of_training(size: int, seed: int) -> Tensor:
    """The positions of a plan in the order they are trained in, without a last, partial batch.

    As planned; batches swapped, as workers that need not keep order do; or wholly scattered, as a
    loop does that names its ids.
    """
    positions = torch.arange(size - size % BATCH)
    generator = torch.Generator().manual_seed(seed)
    if seed % 3 == 1:
        batches = positions.view(-1, BATCH)
        return batches[torch.randperm(len(batches), generator=generator)].reshape(-1)
    if seed % 3 == 2:
        return positions[torch.randperm(len(positions), generator=generator)]
    return positions


def as_told(method: Method, losses: Tensor) -> list[Any]:
    """What an oracle is told of each sample: its score, or its scores by name if there are more."""
    if len(method.needs) < 2:
        return losses.tolist()
    columns = {name: score.tolist() for name, score in named(method, losses).items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def follow(method: Method, seed: int, target: float | None) -> None:
    """A run in lockstep."""
    table = damaged(losses(SIZE, EPOCHS, seed), seed)
    hand = ByHand(method, table, lambda epoch: Draws(seed, epoch), target)
    oracle = oracle_of(method)
    for epoch in range(EPOCHS):
        plan = hand.plan()
        expected = oracle.plan(epoch, Draws(seed, epoch), target)
        assert set(plan.ids.tolist()) == (expected.keys() or {int(plan.ids[0])})
        for i, weight in zip(plan.ids.tolist(), plan.weights.tolist(), strict=True):
            assert weight == pytest.approx(expected.get(i, weight), rel=2e-6)
        scores, trained = table[epoch][plan.ids], order_of_training(len(plan), seed)
        step = torch.full((len(plan),), -1, dtype=torch.int32)
        step[trained] = torch.arange(len(trained), dtype=torch.int32) // BATCH
        hand.observe(plan, scores, step)
        told = as_told(method, scores[trained])
        pairs = list(zip(plan.ids[trained].tolist(), told, strict=True))
        oracle.observe([pairs[k : k + BATCH] for k in range(0, len(pairs), BATCH)])
        if seed % 2 and type(method).refreshed is not Method.refreshed:
            # As with a `score_fn`; without one nobody asks.
            hand.refresh(plan)
            oracle.refresh(as_told(method, table[epoch]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("method", [*METHODS, *MORE], ids=short)
def test_method_follows_its_paper(method: Method, seed: int) -> None:
    follow(method, seed, target=None)


@pytest.mark.parametrize("target", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("method", METHODS, ids=short)
def test_method_follows_its_paper_towards_a_ratio(method: Method, target: float) -> None:
    for seed in (6, 7, 8):
        follow(method, seed, target)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_method_has_an_oracle(kind: type[Method]) -> None:
    assert oracle_of(kind()).plan(0, Draws(0, 0), None)
