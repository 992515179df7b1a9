"""How long a step is, besides where it points: the gradient that `reduce` gives, over many runs.

methods.md §0.1: with weights of mean 1 its expectation is ḡ, the mean gradient of all samples
("population"), with InfoBatch's n/S times as much ("batch"); a step exponent chooses.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from contracts.drive import named
from thresher import InfoBatch, Method, Omission, Pruner, RandomPruning

SIZE, RUNS, EPOCHS = 24, 250, 3

# What each trains is a fixed number of samples once scores are fixed.
PUBLISHED: list[tuple[Method, float]] = [
    (InfoBatch(), 1.0),
    (Omission(sampling="systematic"), 0.0),
    (RandomPruning(), 0.0),
]


def linear_model() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and parameters: float64, shapes (n, 3), (n,) and (3,)."""
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(SIZE, 3, generator=generator, dtype=torch.float64) + 0.5
    targets = torch.randn(SIZE, generator=generator, dtype=torch.float64).exp()
    return inputs, targets, torch.full((3,), 0.2, dtype=torch.float64)


def gradient(losses: Tensor, theta: Tensor, pruner: Pruner) -> tuple[Tensor, int]:
    """The gradient of the last epoch's one batch, and its size; scores stay as they are."""
    for epoch in range(EPOCHS):
        ids = pruner.plan(epoch).ids
        loss = pruner.reduce(losses[ids], ids=ids, scores=named(pruner.method, losses[ids]))
    return torch.autograd.grad(loss, theta, retain_graph=True)[0], len(ids)


@pytest.mark.parametrize("exponent", [None, 0.0, 1.0])
@pytest.mark.parametrize(("method", "published"), PUBLISHED, ids=lambda value: repr(value)[:12])
def test_the_expected_gradient_is_that_of_all_samples_times_the_step_length(
    method: Method, published: float, exponent: float | None
) -> None:
    inputs, targets, theta = linear_model()
    theta.requires_grad_()
    losses = (inputs @ theta - targets).square() / 2
    whole = torch.autograd.grad(losses.mean(), theta, retain_graph=True)[0]
    found, sizes = [], set[int]()
    for seed in range(RUNS):
        pruner = Pruner(method, epochs=8, num_samples=SIZE, seed=seed, step_exponent=exponent)
        each, size = gradient(losses, theta, pruner)
        found.append(each)
        sizes.add(size)
    assert len(sizes) == 1
    longer = SIZE / sizes.pop()
    assert longer > 1.2, "or the modes could not be told apart"
    gradients = torch.stack(found)
    error = gradients.std(0) / math.sqrt(RUNS)
    wanted = whole * longer ** (published if exponent is None else exponent)
    # Weights are float32: below their rounding a difference is no bias.
    assert bool(((gradients.mean(0) - wanted).abs() < 4 * error + 1e-6 * wanted.abs()).all())
    other = whole * longer ** (1 - (published if exponent is None else exponent))
    assert bool(((gradients.mean(0) - other).abs() > 4 * error).any()), "the other mode is refuted"
