"""Scores of a classifier's batch: how sure the model is, and whether it is right.

All take logits `(B, C)`, raw and with the classes last, and give float32, `(B,)`, without a graph.
They are computed in float32, in float64 for float64 logits. Where a row has no finite largest logit
(but NaN or infinity), its scores are NaN, which every method takes for unseen.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from thresher.errors import MissingScoreError
from thresher.scores._precision import at_least_float32
from thresher.scores.cross_entropy import logit_grad_norm


@torch.no_grad()
def confidence(logits: Tensor) -> Tensor:
    """Return the probability of the predicted class: max_c softmax(z)_c, over the classes.

    Args:
        logits: `(B, C)`.

    Returns:
        float32, `(B,)`, in [1/C, 1].

    Raises:
        ValueError: the logits are not `(B, C)` and floating point.

    Example:
        >>> confidence(torch.tensor([[0.0, 0.0], [50.0, 0.0]])).tolist()
        [0.5, 1.0]

    References:
        Nguyen et al., KAKURENBO, 2023. (Its code takes the softmax over the batch instead.)
    """
    _check(logits)
    return logits.softmax(-1, dtype=at_least_float32(logits)).amax(-1).float()


@torch.no_grad()
def least_confidence(logits: Tensor) -> Tensor:
    """Return 1 − max_c softmax(z)_c, without the cancellation: the larger, the less certain.

    Args:
        logits: `(B, C)`.

    Returns:
        float32, `(B,)`, in [0, 1 − 1/C]; of full relative accuracy however sure the model is.

    Raises:
        ValueError: the logits are not `(B, C)` and floating point.

    Example:
        >>> least_confidence(torch.tensor([[0.0, 0.0], [50.0, 0.0]])).tolist()
        [0.5, 1.9287498933537385e-22]
    """
    others = _below_top(logits).exp_().sum(-1)
    return (others / (1.0 + others)).float()


@torch.no_grad()
def margin(logits: Tensor) -> Tensor:
    """Return p₁ − p₂, the two largest probabilities apart: the smaller, the less certain.

    Args:
        logits: `(B, C)`; p₂ is 0 if there is one class.

    Returns:
        float32, `(B,)`, in [0, 1]: p₁ (1 − exp(z₂ − z₁)), which near-ties do not cancel.

    Raises:
        ValueError: the logits are not `(B, C)` and floating point.

    Example:
        >>> margin(torch.tensor([[0.0, 0.0], [50.0, 0.0]])).tolist()
        [0.0, 1.0]
    """
    below = _below_top(logits)
    second = below.amax(-1)
    return ((0.0 - torch.expm1(second)) / (1.0 + below.exp_().sum(-1))).float()


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """Return −Σ_c p_c log p_c in nats: the larger, the less certain.

    Args:
        logits: `(B, C)`.

    Returns:
        float32, `(B,)`, in [0, log C]. With d_c = z_c − z₁ and R = Σ exp(d_c) over all classes but
        the largest, it is log(1 + R) − Σ d_c exp(d_c) / (1 + R): a sum of terms that are not
        negative, so of full relative accuracy however sure the model is.

    Raises:
        ValueError: the logits are not `(B, C)` and floating point.

    Example:
        >>> entropy(torch.tensor([[0.0, 0.0]])).tolist()
        [0.6931471824645996]
    """
    below = _below_top(logits)
    share = below.exp()
    others = share.sum(-1)
    # A class of probability 0 has a logit of −inf here, and 0·inf is NaN.
    surprise = share.mul_(below.clamp_(min=torch.finfo(below.dtype).min)).sum(-1)
    return (torch.log1p(others) - surprise / (1.0 + others)).float()


@torch.no_grad()
def correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest logit is the target's, else 0; of equal ones the first counts.

    Args:
        logits: `(B, C)`.
        targets: class ids, `(B,)`; or class probabilities, `(B, C)`, whose largest is the target.
            An id that is no class is never right.

    Returns:
        float32, `(B,)`.

    Raises:
        ValueError: the shapes do not fit, or the logits are not floating point.

    Example:
        >>> correct(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 0])).tolist()
        [1.0, 0.0]
    """
    _check(logits)
    soft = targets.is_floating_point()
    if targets.shape != (logits.shape if soft else logits.shape[:1]):
        raise ValueError(
            f"targets must have shape {tuple(logits.shape[:1])}, or the logits' shape if they are "
            f"class probabilities; got {tuple(targets.shape)}. Give one class a sample."
        )
    top, predicted = logits.max(-1)
    hits = (predicted == (targets.argmax(-1) if soft else targets)).float()
    return hits.where(top.isfinite(), torch.nan)


def el2n(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the error vector's norm ‖softmax(z) − y‖₂: `logit_grad_norm` of plain cross entropy.

    Args:
        logits: `(B, C)`.
        targets: class ids, `(B,)`, or class probabilities, `(B, C)`.

    Returns:
        float32, `(B,)`, in [0, √2]; an ignored target (−100) scores 0.

    Raises:
        ValueError: the shapes do not fit, or the logits are not floating point.

    Example:
        >>> el2n(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).tolist()
        [0.7071067690849304]

    References:
        Paul et al., Deep Learning on a Data Diet, NeurIPS 2021.
    """
    _check(logits)
    return logit_grad_norm(logits, targets)


def named(
    needs: Iterable[str], logits: Tensor, targets: Tensor, losses: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the scores of these names, for a loop that serves any method.

    Args:
        needs: names of scores of this module, "logit_grad_norm" and "loss": a method's `needs`.
        logits: `(B, C)`.
        targets: class ids, `(B,)`, or class probabilities, `(B, C)`.
        losses: the loop's own losses, `(B,)`, taken as "loss"; None means their cross entropy.

    Returns:
        Name -> `(B,)`, detached.

    Raises:
        MissingScoreError: a name is not known here.
        ValueError: the shapes do not fit, or the logits are not floating point.

    Cost: of the scores named; the cross entropy only if "loss" is among them and not given.

    Example:
        >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
        >>> {name: score.item() for name, score in named(("correct", "confidence"), z, y).items()}
        {'correct': 1.0, 'confidence': 0.5}
    """
    found: dict[str, Tensor] = {}
    for name in needs:
        if name == "loss":
            own = _cross_entropy(logits, targets) if losses is None else losses
            found[name] = own.detach()
        elif name in _SCORES:
            found[name] = _SCORES[name](logits, targets)
        else:
            raise MissingScoreError(
                f"The score {name!r}",
                f"one of loss, {', '.join(_SCORES)}",
                f"Compute it in the loop: pruner.reduce(losses, scores={{{name!r}: ...}})",
            )
    return found


_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit_grad_norm": logit_grad_norm,
    "el2n": el2n,
    "correct": correct,
    "confidence": lambda logits, _: confidence(logits),
    "least_confidence": lambda logits, _: least_confidence(logits),
    "margin": lambda logits, _: margin(logits),
    "entropy": lambda logits, _: entropy(logits),
}


@torch.no_grad()
def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    _check(logits)
    return cross_entropy(logits.to(at_least_float32(logits)), targets, reduction="none").float()


def _below_top(logits: Tensor) -> Tensor:
    """Return z_c − max z, with −inf in the place of one largest: a new tensor, `(B, C)`."""
    _check(logits)
    z = logits.to(at_least_float32(logits))
    top, place = z.max(-1, keepdim=True)
    gap = torch.full_like(top, -torch.inf).masked_fill_(~top.isfinite(), torch.nan)
    return (z - top).scatter_(-1, place, gap)


def _check(logits: Tensor) -> None:
    if logits.ndim != 2 or not logits.shape[1] or not logits.is_floating_point():
        raise ValueError(
            f"logits must have shape (B, C), classes last, and be floating point; got "
            f"{tuple(logits.shape)} and {logits.dtype}. Pass the raw scores of a classifier; for "
            f"sequences take a mean of your own over the tokens."
        )
