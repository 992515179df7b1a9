"""Norms of the per-sample gradients of all parameters, through torch.func, in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils import _pytree as pytree

from thresher.errors import SettingError
from thresher.scores import per_sample

Forward = Callable[[nn.Module, Any], tuple[Tensor, Tensor | None]]
"""From a model and a batch to logits (B, c) or (B, T, c) and targets."""

# A chunk's gradients take 64 MB, unless one sample's take more.
_CHUNK_ELEMENTS = 2**24


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each sample's cross entropy, for sequences its mean over the tokens: float32, (B,)."""
    logits = logits.float()
    if logits.ndim == 2:
        return F.cross_entropy(logits, targets, reduction="none")
    values = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return per_sample(values.view(targets.shape), targets != -100)


@final
class _Loss(nn.Module):
    """A model and what makes a loss of it, as one module whose parameters can be swapped."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, batch: Any) -> Tensor:
        logits, targets = self._forward(self.model, batch)
        assert targets is not None
        return losses(logits, targets).sum()


def gradient_norms(model: nn.Module, forward: Forward, batch: Any) -> Tensor:
    """Return ‖∇_θ ℓ_i‖ over all trainable parameters: float32, shape (B,).

    The first dimension of every tensor in the batch counts the samples.

    Raises:
        SettingError: the batch holds no tensors.

    Cost: a forward and a backward pass; B·|θ| numbers, in chunks of 2²⁴.
    """
    module = _Loss(model, forward)
    parameters = {
        name: value.detach() for name, value in module.named_parameters() if value.requires_grad
    }
    leaves, form = pytree.tree_flatten(batch)
    samples = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not samples:
        raise SettingError(
            f"A batch of {type(batch).__name__} without a tensor in sight",
            "tensors in tuples, lists or dicts, whose first dimension counts the samples",
            "Let the loader's collate function return such a batch to take per-sample gradients",
        )

    def loss(parameters: dict[str, Tensor], *sample: Tensor) -> Tensor:
        one = iter(sample)
        own = [next(one)[None] if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        # Copies, as a layer may write to its buffers, even in eval mode.
        state = parameters | {name: buffer.clone() for name, buffer in module.named_buffers()}
        return functional_call(module, state, (pytree.tree_unflatten(own, form),))

    def norm(parameters: dict[str, Tensor], *sample: Tensor) -> Tensor:
        gradients = grad(loss)(parameters, *sample)
        return torch.stack([g.float().square().sum() for g in gradients.values()]).sum().sqrt()

    size = sum(value.numel() for value in parameters.values())
    chunk = max(1, _CHUNK_ELEMENTS // max(size, 1))
    in_dims = (None, *(0 for _ in samples))
    norms = vmap(norm, in_dims=in_dims, randomness="different", chunk_size=chunk)
    return norms(parameters, *samples).detach()
