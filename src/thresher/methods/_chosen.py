"""A chosen subset as checked tensors, and as a text that tells one from another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from thresher.errors import SettingError

_SHOWN = 32  # more values than these are shown as their number and a digest


def as_subset(
    ids: Tensor | Sequence[int] | None, weights: Tensor | Sequence[float] | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return copies as int64 and float32 tensors of one length, or raise SettingError."""
    if ids is None:
        if weights is not None:
            raise SettingError("Subset(weights=...) without ids", "the samples they belong to")
        return None, None
    chosen = torch.as_tensor(ids, device="cpu").detach().clone()
    whole = not chosen.is_floating_point() and chosen.dtype != torch.bool
    if chosen.ndim != 1 or not len(chosen) or not whole:
        raise SettingError(
            f"Subset of ids {chosen.dtype}, shape {tuple(chosen.shape)}", "integers, shape (k,)"
        )
    chosen = chosen.long()
    if int(chosen.min()) < 0 or len(chosen.unique()) < len(chosen):
        raise SettingError("Subset with a negative or repeated id", "unique ids from 0 on")
    if weights is None:
        return chosen, None
    given = torch.as_tensor(weights, dtype=torch.float32, device="cpu").detach().clone()
    if given.shape != chosen.shape or not bool(((given > 0) & given.isfinite()).all()):
        raise SettingError(
            f"Subset of {len(chosen)} ids with weights {tuple(given.shape)}",
            "a positive, finite weight for each",
            "Leave out samples of weight 0",
        )
    return chosen, given


def shown(value: object) -> str:
    """Return a repr; of a tensor its values, or if they are many, what identifies them."""
    if not isinstance(value, Tensor):
        return repr(value)
    if len(value) <= _SHOWN:
        return repr(value.tolist())
    digest = hashlib.blake2b(value.numpy().tobytes(), digest_size=8).hexdigest()
    return f"<{len(value)} values, {digest}>"
