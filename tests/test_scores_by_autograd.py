"""The logit-gradient norm by autograd: any loss, any shape, and the graph survives."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from score_reference import assert_close, random
from thresher import scores


def test_autograd_and_closed_form_agree_and_the_graph_survives() -> None:
    logits = random((6, 5), 0).requires_grad_()
    targets = torch.arange(6) % 5
    losses = cross_entropy(logits, targets, reduction="none")
    norms = scores.logit_grad_norm_autograd(losses, logits)
    assert not norms.requires_grad
    assert logits.grad is None
    assert_close(scores.logit_grad_norm(logits, targets), norms)
    losses.mean().backward()
    assert logits.grad is not None


def test_autograd_takes_any_loss_and_any_shape() -> None:
    inner = random((4, 3, 2), 0).requires_grad_()
    logits = inner * 1.0  # not a leaf
    losses = scores.per_sample((logits - 1) ** 2)
    expected = (2 * (inner.detach() - 1) / 6).flatten(1).norm(dim=1)
    assert torch.allclose(scores.logit_grad_norm_autograd(losses, logits), expected)

    one_each = torch.tensor([0.0, 2.0], requires_grad=True)
    losses = binary_cross_entropy_with_logits(one_each, torch.ones(2), reduction="none")
    expected = (one_each.detach().sigmoid() - 1).abs()
    assert torch.allclose(scores.logit_grad_norm_autograd(losses, one_each), expected)


def test_autograd_of_half_precision_is_float32() -> None:
    logits = random((3, 4), 0).to(torch.bfloat16).requires_grad_()
    losses = logits.float().square().sum(1)
    norms = scores.logit_grad_norm_autograd(losses, logits)
    assert norms.dtype == torch.float32
    assert torch.allclose(norms, 2 * logits.detach().float().norm(dim=1), rtol=1e-2)


def test_autograd_refuses() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    losses = logits.square().sum(1)
    with pytest.raises(ValueError, match=r'losses must have shape \(B,\).*reduction="none"'):
        scores.logit_grad_norm_autograd(losses.sum(), logits)
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3, 3\)"):
        scores.logit_grad_norm_autograd(losses, torch.zeros(3, 3, requires_grad=True))
    for stranger in (logits.detach(), logits.clone()):
        with pytest.raises(ValueError, match="do not depend on these logits"):
            scores.logit_grad_norm_autograd(losses, stranger)
    with pytest.raises(ValueError, match="do not depend on these logits"):
        scores.logit_grad_norm_autograd(losses.detach(), logits)
