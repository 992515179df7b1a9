"""What the log-probabilities of the targets tell, where a fused head returns no logits."""

import torch
from torch import Tensor

from thresher.scores._precision import at_least_float32
from thresher.scores.documents import Documents
from thresher.scores.tokens import Reduction, TokenScores, wide


def token_scores_from_log_probs(
    log_probs: Tensor, mask: Tensor, *, log_sum_sq_probs: Tensor | None = None
) -> TokenScores:
    """Return the losses −log p_y of a fused head, with their graph, and what it tells of the norms.

    The loss is exact. The logit-gradient norm is not a function of p_y alone: it is exact if the
    head also gives log Σ_c p_c² over the whole vocabulary, by

        ‖p − onehot(y)‖² = (1 − p_y)² + Σ_c p_c² − p_y²;

    without that it is not given, but bounded: see `target_grad_norm`. Both are of the logits that
    the log-probabilities are the log-softmax of, after any scale, cap or temperature.

    Args:
        log_probs: log p_y of every token, `(B, T − 1)`, column t of token t + 1, as TRL's fused
            head returns them; or `(B, T)`, where labels were shifted before.
        mask: which tokens count, the same shape (`label_mask` of TRL's).
        log_sum_sq_probs: log Σ_c p_c², the same shape, if the head was asked for it.

    Returns:
        TokenScores, of the log-probabilities' dtype, at least float32; their norms are None without
        log_sum_sq_probs.

    Raises:
        ValueError: shapes or dtypes do not fit.

    Guarantees: the norms are as accurate as the arguments: of log p_y that was rounded to ±ε,
        1 − p_y is good to ±ε, so that tokens of p_y ≥ 1 − ε cannot be told apart. Rounding never
        takes a norm out of 1 − p_y to √2 (1 − p_y).

    Example:
        >>> half, mask = torch.tensor([[0.5]]).log(), torch.tensor([[True]])
        >>> tokens = token_scores_from_log_probs(half, mask, log_sum_sq_probs=half)
        >>> tokens.logit_grad_norm().tolist()
        [0.7071067690849304]
    """
    mask = _checked(log_probs, mask)
    log_probs = log_probs.to(at_least_float32(log_probs))
    losses = torch.where(mask, -log_probs, 0.0)
    if log_sum_sq_probs is None:
        return TokenScores(losses, mask)
    if log_sum_sq_probs.shape != log_probs.shape:
        raise ValueError(
            f"log_sum_sq_probs must have the log-probabilities' shape {tuple(log_probs.shape)}; "
            f"got {tuple(log_sum_sq_probs.shape)}. Take both from one output."
        )
    norms = _norms(wide(log_probs.detach()), wide(log_sum_sq_probs.detach()))
    return TokenScores(losses, mask, norms.to(losses.dtype).where(mask, 0.0))


@torch.no_grad()
def target_grad_norm(
    log_probs: Tensor,
    mask: Tensor,
    documents: Documents | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the gradient's norm at the targets' own logits, √(Σ_t (1 − p_t)²) / num_tokens.

    A fused head's log-probabilities tell this part of the logit-gradient norm and no more. What is
    missing is bounded: with V classes, whatever the other probabilities are,

        √(V / (V − 1)) · target_grad_norm ≤ logit_grad_norm ≤ √2 · target_grad_norm.

    The lower bound is reached where the rest is spread evenly, the upper one where it is all on one
    class. Two documents may so be ranked otherwise than by logit_grad_norm, if their values lie
    within √2 of each other.

    Args:
        log_probs: log p_t of every token's target, shaped as in `token_scores_from_log_probs`.
        mask: which tokens count, the same shape.
        documents: where several share a row; None means that each row is one.
        reduction: "mean" or "sum", as in `TokenScores.logit_grad_norm`.

    Returns:
        `(num,)`, detached; the log-probabilities' dtype, at least float32.

    Raises:
        ValueError: shapes or dtypes do not fit, or as `TokenScores.loss`.

    Example:
        >>> target_grad_norm(torch.tensor([[0.5, 0.9]]).log(), torch.tensor([[1, 0]])).tolist()
        [0.5]
    """
    mask = _checked(log_probs, mask)
    missing = -torch.expm1(log_probs.to(at_least_float32(log_probs)))
    return TokenScores(missing, mask, missing).logit_grad_norm(documents, reduction=reduction)


def _norms(log_p: Tensor, log_sum_sq: Tensor) -> Tensor:
    missing = -torch.expm1(log_p)
    # Σ p² − p², in the form that keeps its digits: a product near p = 1, a difference elsewhere.
    near = (2.0 * log_p).exp() * torch.expm1(log_sum_sq - 2.0 * log_p)
    far = log_sum_sq.exp() - (2.0 * log_p).exp()
    others = torch.where(log_p > -0.7, near, far)
    # Rounding may leave what is possible: no other is negative, and all on one class is the most.
    others = others.clamp(min=0.0).minimum(missing.square())
    return torch.hypot(missing, others.sqrt())


def _checked(log_probs: Tensor, mask: Tensor) -> Tensor:
    if log_probs.ndim != 2 or mask.shape != log_probs.shape or not log_probs.is_floating_point():
        raise ValueError(
            f"log_probs must be floating point, (B, T - 1), one a token, with a mask of that "
            f"shape; got {log_probs.dtype}, {tuple(log_probs.shape)} and {tuple(mask.shape)}. Pass "
            f"the log-probability of each label, not of all classes."
        )
    return mask != 0
