"""The precision that scores are computed in."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> torch.dtype:
    """Return the tensor's dtype, or float32 for half precision."""
    return torch.float32 if tensor.itemsize < 4 else tensor.dtype
