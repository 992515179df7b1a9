"""The logit-gradient norm of any loss, by automatic differentiation."""

import torch
from torch import Tensor

from thresher.scores._precision import at_least_float32


def logit_grad_norm_autograd(losses: Tensor, logits: Tensor) -> Tensor:
    """Return ‖∂ℓ_i/∂z_i‖₂ of any loss by one backward pass from the losses to the logits.

    Right where ℓ_i depends on no other sample's logits. The graph is kept for the caller's own
    backward, and no `.grad` is touched.

    Args:
        losses: one loss a sample, `(B,)`, part of a graph.
        logits: `(B, ...)`, a tensor that the losses were computed from (not a detached copy).

    Returns:
        `(B,)`, detached; float32 for half-precision logits, else the logits' dtype.

    Raises:
        ValueError: the losses are not one a sample, or do not depend on these logits.

    Cost: the backward pass of the loss function alone, and one gradient the size of the logits.

    Example:
        >>> logits = torch.zeros(1, 2, requires_grad=True)
        >>> losses = torch.nn.functional.cross_entropy(logits, torch.tensor([1]), reduction="none")
        >>> logit_grad_norm_autograd(losses, logits).tolist()
        [0.7071067690849304]
    """
    if losses.ndim != 1 or logits.ndim == 0 or logits.shape[0] != losses.shape[0]:
        raise ValueError(
            f"losses must have shape (B,) and logits (B, ...); got {tuple(losses.shape)} and "
            f'{tuple(logits.shape)}. Build the criterion with reduction="none", and pass dense '
            f"losses through per_sample first."
        )
    gradient = None
    if losses.requires_grad and logits.requires_grad:
        (gradient,) = torch.autograd.grad(
            losses.sum(), logits, retain_graph=True, allow_unused=True
        )
    if gradient is None:
        raise ValueError(
            "the losses do not depend on these logits in the autograd graph. Call this with grad "
            "enabled, before backward, and pass the very tensor the losses were computed from."
        )
    gradient = gradient.detach().to(at_least_float32(gradient))
    if gradient.ndim == 1:
        return gradient.abs()
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)
