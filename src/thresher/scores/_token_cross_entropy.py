"""Cross entropy of every token, and its gradient's norm, with no temporary the size of the logits.

With the target y taken out, and z₁ the largest of the other logits,

    s = Σ_{c≠y} exp(z_c − z₁),  r = Σ_{c≠y} exp(z_c − z₁)²,  d = z₁ + log s − z_y,

everything follows without a difference of nearly equal numbers and within float32's range:
ℓ = log(1 + exp d), 1 − p_y = 1 / (1 + exp(−d)), ‖∂ℓ/∂z‖ = (1 − p_y) √(1 + r / s²).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thresher.scores._blocks import blocks
from thresher.scores._precision import at_least_float32


def token_cross_entropy(
    logits: Tensor, targets: Tensor, valid: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return losses and gradient norms, `(B, T)`, 0 where not valid; the losses have a graph.

    Args:
        logits: `(B, T, V)`.
        targets: int64, `(B, T)`; class ids, also where not valid.
        valid: bool, `(B, T)`.
        smoothing: `label_smoothing` of torch's cross entropy.
    """
    return _TokenCrossEntropy.apply(logits, targets, valid, smoothing)


class _TokenCrossEntropy(torch.autograd.Function):
    """Keeps the logits and three numbers a token; torch's own keeps a log-softmax as well."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, valid: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        dtype = at_least_float32(logits)
        own, rest, mean, norms = logits.new_zeros((4, *targets.shape), dtype=dtype)
        for block in blocks(logits):
            z = logits[block].to(dtype, copy=True)
            if smoothing > 0.0:
                mean[block] = z.mean(-1)
            own[block], rest[block], norms[block] = _others(z, targets[block], smoothing)
        gap = _gap(rest, own)
        losses = torch.logaddexp(gap, torch.zeros_like(gap))
        if smoothing > 0.0:
            spread = torch.logaddexp(rest, own) - mean
            losses = (1.0 - smoothing) * losses + smoothing * spread
        norms = torch.where(gap.isnan(), gap, norms).where(valid, 0.0)
        ctx.save_for_backward(logits, targets, valid, own, rest)
        ctx.smoothing = smoothing
        ctx.mark_non_differentiable(norms)
        return losses.where(valid, 0.0), norms

    @staticmethod
    @once_differentiable  # whose type forgets the parameters' names
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None, None]:
        logits, targets, valid, own, rest = ctx.saved_tensors
        smoothing, num_classes = ctx.smoothing, logits.shape[-1]
        outer = grad_outputs[0].to(own.dtype).where(valid, 0.0).unsqueeze(-1)
        log_total = torch.logaddexp(rest, own).unsqueeze(-1)
        # Not as p − 1, which would lose what a sure model has left to learn.
        at_target = smoothing * (1.0 - 1.0 / num_classes) - _gap(rest, own).sigmoid()
        at_target = at_target.unsqueeze(-1) * outer
        gradient = torch.empty_like(logits)
        for block in blocks(logits):
            part = logits[block] - log_total[block]
            part.exp_()
            if smoothing > 0.0:
                part.sub_(smoothing / num_classes)
            part.mul_(outer[block])
            part.scatter_(-1, targets[block].unsqueeze(-1), at_target[block])
            gradient[block] = part
        return gradient, None, None, None


def _gap(rest: Tensor, own: Tensor) -> Tensor:
    """Return log((1 − p) / p) of the target, NaN where its logit is no number to learn from."""
    return (rest - own).where(own < torch.inf, torch.nan)


def _others(z: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return z_y, log Σ_{c≠y} exp z_c and the gradient's norm; overwrites the logits z."""
    place = labels.unsqueeze(-1)
    own = z.gather(-1, place)
    z.scatter_(-1, place, -torch.inf)
    # All of the others may be −inf, and −inf less itself is NaN.
    top = z.amax(-1, keepdim=True).clamp_(min=torch.finfo(z.dtype).min)
    z.sub_(top).exp_()
    total = z.sum(-1, keepdim=True)
    rest = top + total.log()
    missing = (rest - own).sigmoid_()
    if smoothing > 0.0:
        z.mul_(missing / total.clamp(min=1.0)).sub_(smoothing / z.shape[-1])
        z.scatter_(-1, place, 0.0)
        norm = torch.hypot(torch.linalg.vector_norm(z, dim=-1, keepdim=True), z.sum(-1, True))
    else:
        # The largest of the others is exp 0, so total ≥ 1, or 0 where there are none.
        ratio = torch.linalg.vector_norm(z, dim=-1, keepdim=True) / total.clamp(min=1.0)
        norm = missing * torch.hypot(ratio, torch.ones_like(ratio))
    return own.squeeze(-1), rest.squeeze(-1), norm.squeeze(-1)
