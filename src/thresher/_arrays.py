"""Checked numpy views of per-sample tensors: the gate of `draws` and `weights`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def vector(tensor: Tensor, name: str, size: int | None = None) -> Array:
    """Return a CPU view of a one-dimensional tensor (a copy of a half-precision one, or off a GPU).

    Raises:
        ValueError: the shape is not `(size,)`.
    """
    if tensor.ndim != 1 or (size is not None and tensor.shape[0] != size):
        expected = "(num_samples,)" if size is None else f"({size},)"
        raise ValueError(
            f"{name} must have shape {expected}; got {tuple(tensor.shape)}. "
            f"Pass one value for each sample."
        )
    # numpy has no bfloat16, and is slow with float16.
    half = tensor.is_floating_point() and tensor.itemsize < 4
    return (tensor.float() if half else tensor).detach().cpu().numpy()


def mask(tensor: Tensor, name: str, size: int | None = None) -> Array:
    """Return `vector` of a bool tensor, or raise ValueError."""
    if tensor.dtype != torch.bool:
        raise ValueError(f"{name} must be a bool mask; got {tensor.dtype}. Call .bool() on it.")
    return vector(tensor, name, size)


def ordering_keys(tensor: Tensor, size: int, among: Array | None = None) -> Array:
    """Return `vector` of numbers of which those `among` can be ordered (no NaN), or raise."""
    keys = vector(tensor, "keys", size)
    if size and np.isnan(keys.min()) and (among is None or np.isnan(keys[among]).any()):
        raise ValueError("keys must be numbers; got NaN. Draw them with Draws.uniform.")
    return keys


def unit_interval(tensor: Tensor, name: str) -> Array:
    """Return `vector` in float64 of numbers in [0, 1], or raise ValueError."""
    values = vector(tensor, name).astype(np.float64, copy=False)
    # Comparisons with NaN are false, so NaN is refused too.
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError(
            f"{name} must be in [0, 1]; got values from {values.min()} to {values.max()}. "
            f"draws.inclusion_probabilities turns importances into probabilities."
        )
    return values


def check_count(name: str, count: int, num_candidates: int) -> None:
    """Raise ValueError unless `count` of the candidates can be kept."""
    if not 0 <= count <= num_candidates:
        raise ValueError(
            f"{name} must be from 0 to {num_candidates}, the number of candidates; got {count}. "
            f"Lower it, or allow more candidates."
        )
