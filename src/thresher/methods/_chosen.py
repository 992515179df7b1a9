"""A chosen subset as checked tensors, by sample id, and as a text that tells it from others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from thresher.errors import SettingError

_SHOWN = 32  # more values than these are shown as their number and a digest


def as_subset(
    ids: Tensor | Sequence[int], weights: Tensor | Sequence[float] | None
) -> tuple[Tensor, Tensor | None]:
    """Return copies of a subset's ids and weights: int64 and float32, shape (k,).

    Raises:
        SettingError: ids are no samples' or repeated, or a weight is not positive and finite.
    """
    chosen = torch.as_tensor(ids, device="cpu").detach().clone()
    chosen = chosen if chosen.numel() else chosen.long()
    if chosen.ndim != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise SettingError(
            f"A subset of ids {chosen.dtype}, shape {tuple(chosen.shape)}",
            "whole numbers, shape (k,)",
            "Ids are the samples' positions in the data set",
        )
    chosen = chosen.long()
    different = len(chosen.unique())
    if not different or int(chosen.min()) < 0 or different < len(chosen):
        raise SettingError(
            f"A subset of {len(chosen)} ids that name {different} different samples"
            + (f", the smallest {int(chosen.min())}" if different else ""),
            "one or more ids from 0 on, none of them twice",
            "Merge what is chosen twice by adding up its weights",
        )
    if weights is None:
        return chosen, None
    given = torch.as_tensor(weights, dtype=torch.float32, device="cpu").detach().clone()
    if given.shape != chosen.shape or not bool(((given > 0) & given.isfinite()).all()):
        raise SettingError(
            f"A subset with weights of shape {tuple(given.shape)} for {len(chosen)} ids",
            "a positive and finite number for each id",
            "Leave samples out of the subset instead of giving them weight 0",
        )
    return chosen, given


def by_sample(ids: Tensor, weights: Tensor | None, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return what `as_subset` returned by sample id: bool and float32, shape (n,).

    The weight is 1 outside the subset.

    Raises:
        SettingError: an id is beyond the data set.
    """
    if int(ids.max()) >= num_samples:
        raise SettingError(
            f"A subset with ids up to {int(ids.max())}",
            f"ids of the {num_samples} samples, from 0 to {num_samples - 1}",
            "Choose the subset from the data set that is trained",
        )
    member = torch.zeros(num_samples, dtype=torch.bool, device="cpu")
    weight = torch.ones(num_samples, dtype=torch.float32, device="cpu")
    member[ids] = True
    if weights is not None:
        weight[ids] = weights
    return member, weight


def shown(value: object) -> str:
    """Return a repr; of a tensor its values, or if they are many, what identifies them."""
    if not isinstance(value, Tensor):
        return repr(value)
    if len(value) <= _SHOWN:
        return repr(value.tolist())
    digest = hashlib.blake2b(value.numpy().tobytes(), digest_size=8).hexdigest()
    return f"<{len(value)} values, {digest}>"
