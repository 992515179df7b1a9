"""Losses, scores and metrics of a sample with one class, and of one with a class at every place."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from thresher.bench.catalogue import METHODS, build_method
from thresher.bench.metrics import ACCURACY, BITS
from thresher.bench.objectives import Classification, NextCharacters
from thresher.bench.tasks import task
from thresher.methods import Method

B, T, V = 5, 7, 11


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, T, V, generator=generator, requires_grad=True)
    return logits, torch.randint(0, V, (B, T), generator=generator)


def test_the_loss_of_a_text_is_the_mean_over_its_characters() -> None:
    logits, targets = batch()
    losses = NextCharacters().losses(logits, targets).detach()
    logits = logits.detach()
    for row in range(B):
        assert float(losses[row]) == pytest.approx(
            float(F.cross_entropy(logits[row], targets[row]))
        )


def test_the_gradient_norm_of_a_text_is_that_of_its_loss() -> None:
    logits, targets = batch()
    objective = NextCharacters()
    [gradient] = torch.autograd.grad(objective.losses(logits, targets).sum(), logits)
    norms = objective.scores(("logit_grad_norm",), logits, targets)["logit_grad_norm"]
    assert torch.allclose(norms, gradient.flatten(1).norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["correct", "confidence", "entropy", "margin"])
def test_other_scores_of_a_text_are_means_over_its_characters(name: str) -> None:
    logits, targets = batch()
    scores = NextCharacters().scores((name,), logits, targets)[name]
    each = [
        Classification().scores((name,), logits[row], targets[row])[name].mean() for row in range(B)
    ]
    assert torch.allclose(scores, torch.stack(each))


@pytest.mark.parametrize("objective", [Classification(), NextCharacters()])
def test_losses_that_are_there_are_not_computed_again(
    objective: Classification | NextCharacters,
) -> None:
    logits, targets = batch()
    if isinstance(objective, Classification):
        logits, targets = logits[:, 0], targets[:, 0]
    given_losses = torch.arange(float(B), requires_grad=True)
    loss = objective.scores(("loss",), logits, targets, given_losses)["loss"]
    assert torch.equal(loss, given_losses)
    assert not loss.requires_grad
    own = objective.scores(("loss",), logits, targets)["loss"]
    assert torch.allclose(own, objective.losses(logits, targets))


def test_every_score_that_a_method_needs_can_be_had_of_a_text() -> None:
    logits, targets = batch()
    for method in [build_method(name, 0.3) for name in METHODS]:
        if isinstance(method, Method):
            scores = NextCharacters().scores(method.needs, logits, targets)
            assert [scores[name].shape for name in method.needs] == [(B,)] * len(method.needs)


def test_the_metric_is_in_bits_and_that_of_all_characters() -> None:
    class Unsure(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.zeros(*inputs.shape, 8)

    targets = torch.zeros(5, T, dtype=torch.long)
    batches = [(part, part) for part in targets.split(3)]
    model = Unsure()
    assert NextCharacters().evaluate(model, batches, "cpu") == pytest.approx(3.0)
    assert not model.training


def test_accuracy_is_a_share_of_all_samples() -> None:
    class Echo(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return F.one_hot(inputs, 4).float()

    inputs = torch.tensor([0, 1, 2, 3, 0])
    targets = torch.tensor([0, 1, 2, 0, 1])
    batches = list(zip(inputs.split(2), targets.split(2), strict=True))
    assert Classification().evaluate(Echo(), batches, "cpu") == 60.0


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_plus_is_better_whichever_way_the_metric_goes(ours: float, theirs: float) -> None:
    assert ACCURACY.gain(ours, theirs) == ours - theirs
    assert BITS.gain(ours, theirs) == theirs - ours


def test_the_metric_of_a_task_is_that_of_its_objective() -> None:
    assert task("cifar10").metric is ACCURACY
    assert task("tinyshakespeare").metric is BITS
    assert math.isclose(BITS.margin, 0.02)
