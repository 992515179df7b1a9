"""The logit-gradient norm of cross entropy, in closed form."""

import torch
from torch import Tensor

from thresher.scores._blocks import block_elements, blocks
from thresher.scores._precision import at_least_float32 as _at_least_float32


@torch.no_grad()
def logit_grad_norm(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """Return ‖∂ℓ_i/∂z_i‖₂ of cross entropy in closed form: no graph and no backward pass.

    ℓ is what `torch.nn.functional.cross_entropy(..., reduction="none")` computes from the same
    arguments; for sequences ℓ_i is its mean over the tokens of sample i that are not ignored, so
    the norm is √(Σ_t ‖∂ℓ_t/∂z_t‖²) / (number of tokens). With p = softmax(z), a
    token's norm is

        w_y ‖p − onehot(y)‖ = w_y √((Σ_{c≠y} p_c)² + Σ_{c≠y} p_c²),

    which has no difference of nearly equal numbers: it is as accurate for a sample that the model
    is sure of as for any other. Smoothed and probability targets q use W·softmax(z) − q, W = Σq,
    where the largest target's entry is minus the sum of the others.

    Args:
        logits: `(B, C)` or `(B, T, V)`, classes last. For causal language models there is
            `token_scores`, which shifts labels, knows packed documents and is the loss as well.
        targets: class ids, `(B,)` or `(B, T)`; or class probabilities, the logits' shape.
        weight: of each class, `(C,)`, as in `cross_entropy`.
        label_smoothing: in [0, 1], as in `cross_entropy`.
        ignore_index: the class id whose tokens (or samples) do not count and score 0.

    Returns:
        float32, `(B,)`. Computed in float32, in float64 for float64 logits.

    Raises:
        ValueError: shapes do not fit (torch's `(B, C, d1, ...)` layout among them), the logits are
            not floating point, or smoothing is out of range.

    Cost: about 60 µs for a batch of 128 × 10, and half the forward pass of cross entropy itself at
        V = 32,000 (CPU, one thread); logits are read in blocks, so no temporary grows
        with them.

    Example:
        >>> logit_grad_norm(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).tolist()
        [0.7071067690849304]
    """
    _check_cross_entropy(logits, targets, weight, label_smoothing, ignore_index)
    valid = None if targets.is_floating_point() else targets != ignore_index
    norms = _token_norms(logits, targets, valid, weight, label_smoothing)
    if logits.ndim == 2:
        return norms.float()
    # Scaled, because squares of small norms leave the range of float32.
    largest = norms.amax(1).clamp_(min=torch.finfo(norms.dtype).tiny)
    total = torch.linalg.vector_norm(norms / largest.unsqueeze(1), dim=1) * largest
    num_tokens = max(logits.shape[1], 1) if valid is None else valid.sum(1).clamp_(min=1)
    return (total / num_tokens).float()


def _token_norms(
    z: Tensor, y: Tensor, valid: Tensor | None, weight: Tensor | None, smoothing: float
) -> Tensor:
    """Return every token's norm, the targets' shape, 0 where not valid; `(B, 1)` if T = 0."""
    dtype = _at_least_float32(z)
    weight = None if weight is None else weight.to(dtype)
    labels = y if valid is None else torch.where(valid, y.long(), 0)
    if 0 < z.numel() <= block_elements(z):
        # Small logits: what putting one block together costs is half of everything.
        return _block_norms(z, labels, valid, weight, smoothing)
    if z.ndim == 2:
        wide = None if valid is None else valid.unsqueeze(1)
        return _token_norms(z.unsqueeze(1), y.unsqueeze(1), wide, weight, smoothing).squeeze(1)
    norms = torch.zeros((z.shape[0], max(z.shape[1], 1)), dtype=dtype, device=z.device)
    for block in blocks(z):
        of_block = None if valid is None else valid[block]
        norms[block] = _block_norms(z[block], labels[block], of_block, weight, smoothing)
    return norms


def _block_norms(
    z: Tensor, labels: Tensor, valid: Tensor | None, weight: Tensor | None, smoothing: float
) -> Tensor:
    dtype = _at_least_float32(z)
    if valid is None:
        return _soft_norm(z.to(dtype, copy=True), labels.to(dtype), weight, smoothing)
    if smoothing > 0.0:
        norms = _smoothed_norm(z.to(dtype, copy=True), labels, weight, smoothing)
    else:
        norms = _hard_norm(z, labels, weight)
    return norms.where(valid, 0.0)


def _hard_norm(z: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Return the norms of a block, the labels' shape, for class ids."""
    others = torch.softmax(z, -1, dtype=_at_least_float32(z))
    others.scatter_(-1, labels.unsqueeze(-1), 0.0)
    # Squares of small probabilities leave the range of float32. Few operations, because in a
    # training loop each finds the caches full of the model, and takes about 10 µs on a CPU.
    wide = None if z.device.type == "mps" else torch.float64  # which does not have it
    total = others.sum(-1, dtype=wide)
    norm = torch.hypot(total, torch.linalg.vector_norm(others, dim=-1, dtype=wide))
    return norm if weight is None else norm * weight[labels].abs()


def _smoothed_norm(z: Tensor, labels: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """Return the norms of a block, the labels' shape, for smoothed ids; overwrites the logits z."""
    floor = z.new_full((z.shape[-1],), smoothing / z.shape[-1])
    if weight is not None:
        floor *= weight
    own_weight = 1.0 if weight is None else weight[labels]
    total = z.new_ones(labels.shape) * own_weight * (1.0 - smoothing) + floor.sum()
    return _residual_norm(z, floor, total, labels.unsqueeze(-1))


def _soft_norm(z: Tensor, q: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """Return the norms of a block, `(b, t)`, for class probabilities; overwrites the logits z."""
    if smoothing > 0.0:
        q = q * (1.0 - smoothing) + smoothing / z.shape[-1]
    if weight is not None:
        q = q * weight
    return _residual_norm(z, q, q.sum(-1), q.argmax(-1, keepdim=True))


def _residual_norm(z: Tensor, q: Tensor, total: Tensor, pivot: Tensor) -> Tensor:
    """Return ‖total·softmax(z) − q̃‖, where q̃ is q away from the pivot and sums to total."""
    z.sub_(z.amax(-1, keepdim=True)).exp_()
    z.mul_((total / z.sum(-1)).unsqueeze(-1)).sub_(q)
    # The residual sums to zero, so its largest entry, a difference near 1 − 1, is not needed.
    z.scatter_(-1, pivot, 0.0)
    return torch.hypot(torch.linalg.vector_norm(z, dim=-1), z.sum(-1))


def _check_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
) -> None:
    shape = tuple(logits.shape)
    soft = targets.is_floating_point()
    expected = shape if soft else shape[:-1]
    if logits.ndim not in (2, 3) or tuple(targets.shape) != expected or shape[-1] == 0:
        raise ValueError(
            f"logits must have shape (B, C) with targets (B,), or (B, T, V) with targets (B, T), "
            f"classes last (class probabilities: the logits' shape); got logits {shape} and "
            f"targets {tuple(targets.shape)}. For torch's (B, C, d1, ...) layout pass "
            f"logits.flatten(2).transpose(1, 2) and targets.flatten(1)."
        )
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point; got {logits.dtype}. Pass raw scores.")
    if weight is not None and tuple(weight.shape) != shape[-1:]:
        raise ValueError(
            f"weight must have shape ({shape[-1]},), one number a class; "
            f"got {tuple(weight.shape)}. Weights of samples belong to the loss."
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            f"label_smoothing must be in [0, 1]; got {label_smoothing}. Use the criterion's value."
        )
    if soft and ignore_index >= 0:
        raise ValueError(
            f"ignore_index={ignore_index} has no meaning for class probabilities. "
            f"Leave it out, or pass class ids."
        )
