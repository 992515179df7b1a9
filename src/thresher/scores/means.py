"""The loss of a sample that has many elements: tokens, pixels, boxes."""

import torch
from torch import Tensor

from thresher.scores._precision import at_least_float32


def per_sample(loss: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean loss of each sample over its own (unmasked) elements; differentiable.

    Args:
        loss: unreduced loss, shape `(num_samples, ...)`, one dimension or more.
        mask: nonzero where an element counts. The loss's shape or its leading dimensions (`(B, T)`
            for a loss of `(B, T, D)`); a dimension of size 1 is repeated.

    Returns:
        Shape `(num_samples,)`, the loss's dtype. A sample with nothing unmasked gives 0. Masked
        elements get gradient 0 whatever they hold, NaN and infinity included.

    Raises:
        ValueError: the loss is a scalar, or the mask's shape does not fit it.

    Example:
        >>> loss = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
        >>> per_sample(loss, torch.tensor([[1, 1], [1, 0]])).tolist()
        [2.0, 5.0]
    """
    if loss.ndim == 0:
        raise ValueError(
            "per_sample needs an unreduced loss, shape (num_samples, ...); got a scalar. "
            'Build the criterion with reduction="none".'
        )
    keep = None if mask is None else _expanded(mask, loss)
    if keep is not None:
        # where, not a product: 0·inf is NaN.
        loss = torch.where(keep, loss, 0.0)
    if loss.ndim == 1:
        return loss
    own = tuple(range(1, loss.ndim))
    # A sum in half precision overflows where its mean would not.
    total = loss.sum(own, dtype=at_least_float32(loss))
    if keep is None:
        return (total / max(loss.shape[1:].numel(), 1)).to(loss.dtype)
    return (total / keep.sum(own).clamp_(min=1)).to(loss.dtype)


def _expanded(mask: Tensor, loss: Tensor) -> Tensor:
    """Return the mask as bool in the loss's shape, its dimensions matched from the first on."""
    fits = all(m in (1, n) for m, n in zip(mask.shape, loss.shape, strict=False))
    if not (fits and 0 < mask.ndim <= loss.ndim):
        raise ValueError(
            f"mask must have the loss's shape {tuple(loss.shape)} or its leading dimensions; got "
            f"{tuple(mask.shape)}. Add dimensions of size 1 where it repeats."
        )
    missing = (1,) * (loss.ndim - mask.ndim)
    return (mask != 0).reshape(tuple(mask.shape) + missing).expand(loss.shape)
