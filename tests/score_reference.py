"""The logit-gradient norm by autograd in float64, and made-up logits."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from thresher import scores


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """The norm by autograd in float64, from torch's own cross entropy."""
    z = logits.detach().double().requires_grad_()
    soft = targets.is_floating_point()
    y = targets.double() if soft else targets
    if logits.ndim == 3:
        z_torch = z.transpose(1, 2)
        y = y.transpose(1, 2) if soft else y
    else:
        z_torch = z
    losses = cross_entropy(
        z_torch,
        y,
        weight=None if weight is None else weight.double(),
        reduction="none",
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    if logits.ndim == 3:
        losses = scores.per_sample(losses, None if soft else torch.ne(targets, ignore_index))
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def assert_close(ours: Tensor, theirs: Tensor, rtol: float = 2e-6, atol: float = 0.0) -> None:
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), theirs, rtol=rtol, atol=atol), (ours, theirs)
