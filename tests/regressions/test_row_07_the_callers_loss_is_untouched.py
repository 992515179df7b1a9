"""Published code weights the caller's losses in place.

An operation that saved its output for the backward pass (exp, sqrt, sigmoid) then raises, and what
the caller logs, or uses again, is not its loss any more.
"""

from __future__ import annotations

import math

import pytest
import torch

from contracts.drive import epoch_of, losses, named
from contracts.found import METHODS, short
from thresher import InfoBatch, Pruner, RePB
from thresher.methods import Method

SIZE = 60


def prepared(method: Method) -> Pruner:
    """A run at the start of its fourth epoch, where weights differ from 1."""
    pruner = Pruner(method, epochs=12, num_samples=SIZE)
    for _ in range(3):
        epoch_of(pruner, losses(SIZE))
    return pruner


def test_the_fault_shows_with_this_torch() -> None:
    loss = torch.zeros(4, requires_grad=True).exp()
    loss.mul_(torch.tensor([2.0, 1, 1, 1]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.mean().backward()


@pytest.mark.parametrize("function", [torch.exp, torch.sqrt, torch.sigmoid, torch.tanh])
@pytest.mark.parametrize("method", METHODS, ids=short)
def test_the_callers_loss_is_untouched(method: Method, function: object) -> None:
    assert callable(function)
    pruner = prepared(method)
    plan = pruner.plan(3)
    inputs = torch.linspace(0.5, 2, len(plan), requires_grad=True)
    loss = function(inputs)
    before, version = loss.detach().clone(), loss._version
    reduced = pruner.reduce(loss, ids=plan.ids, scores=named(method, loss))
    reduced.backward()
    assert torch.equal(loss, before)
    assert loss._version == version
    weights = plan.weights / len(plan)
    (expected,) = torch.autograd.grad((function(inputs) * weights).sum(), inputs)
    assert inputs.grad is not None
    assert torch.allclose(inputs.grad, expected, rtol=1e-5)


@pytest.mark.parametrize("method", [InfoBatch(r=0.9), RePB(rho=1.0)], ids=short)
def test_a_nan_loss_passes_through_and_keeps_its_sample(method: Method) -> None:
    """A gradient scaler has to see it, and no threshold may drop the sample for it."""
    pruner = Pruner(method, epochs=12, num_samples=SIZE)
    plan = pruner.plan(0)
    loss = losses(SIZE)[0][plan.ids]
    loss[7] = math.nan
    assert math.isnan(pruner.reduce(loss, ids=plan.ids, scores=named(method, loss)))
    with pytest.warns(UserWarning, match="NaN or infinite"):
        coming = pruner.plan(1)
    assert int(plan.ids[7]) in coming.ids.tolist()
    assert len(coming) < SIZE
