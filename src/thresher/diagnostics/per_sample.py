"""Weighted sums of per-sample gradients, many weightings in one pass, nothing stored per sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from thresher._evaluation import evaluating
from thresher.errors import DatasetChangedError, ScalarLossError, SettingError

Losses = Callable[[Callable[..., Any], Any], Tensor]
"""A loss function: (what to call as the model, a batch) -> one loss a sample, shape (B,)."""


def gradient_sums(
    model: nn.Module,
    losses: Losses,
    batches: Iterable[Any],
    weights: Tensor,
    *,
    chunk_size: int = 256,
) -> Tensor:
    """Return Σ_i w_ki ∇ℓ_i for each row k of weights, over the parameters that train.

    The gradients of a chunk of samples are made by `torch.func.vmap` of `grad`, multiplied by the
    chunk's columns of the weights, and dropped. The model computes in evaluation mode (a sample's
    gradient must not depend on its neighbours, as batch normalisation in training mode makes it)
    and is left as it was, `.grad` and buffers included.

    Args:
        model: the network. Every layer has to work under `torch.func.vmap`.
        losses: such as `lambda model, batch: F.cross_entropy(model(batch[0]), batch[1],
            reduction="none")`; its `model` is called in the network's place.
        batches: all samples in the order of their ids: a DataLoader that does not shuffle, say.
            A batch is a tensor, or a tuple, list or dict of tensors, samples along dimension 0.
        weights: shape (k, n).
        chunk_size: samples whose gradients exist at once.

    Returns:
        float64, shape (k, p), on the CPU; parameters flattened in the order of
        `model.named_parameters()`.

    Raises:
        DatasetChangedError: the batches do not hold n samples.
        ScalarLossError: the loss is not one a sample.

    Cost: a forward and a backward pass over the data; memory for (chunk_size + 2 k) p numbers.

    Example:
        >>> x, weights = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.5]])
        >>> outputs = lambda model, batch: model(batch).flatten()
        >>> gradient_sums(nn.Linear(1, 1, bias=False), outputs, [x], weights).tolist()
        [[3.0], [1.0]]
    """
    trained = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}
    fixed = {name: each for name, each in model.named_parameters() if not each.requires_grad}
    fixed |= dict(model.named_buffers())

    def loss_of(parameters: dict[str, Tensor], sample: Any) -> Tensor:
        def call(*args: Any, **kwargs: Any) -> Any:
            return functional_call(model, (parameters, fixed), args, kwargs)

        loss = losses(call, sample)
        if loss.shape != (1,):
            raise ScalarLossError(
                f"Of a batch of one sample the losses have shape {tuple(loss.shape)}",
                "one loss a sample, shape (1,)",
                "Build the criterion with reduction='none'",
            )
        return loss[0]

    gradients = vmap(grad(loss_of), in_dims=(None, 0))
    sums = torch.zeros(
        weights.shape[0], sum(each.numel() for each in trained.values()), dtype=torch.float64
    )
    done = 0
    with evaluating(model), torch.no_grad():
        for chunk, size in _chunks(batches, chunk_size):
            columns = weights[:, done : done + size]
            done += size
            if columns.shape[1] == size:
                _add(sums, columns, gradients(trained, chunk))
    if done != weights.shape[1]:
        raise DatasetChangedError(
            f"The batches hold {done} samples",
            f"the {weights.shape[1]} that the plans are of",
            "Pass the whole data set once, in the order of its ids, without drop_last",
        )
    return sums


def _add(sums: Tensor, columns: Tensor, gradients: dict[str, Tensor]) -> None:
    start = 0
    for each in gradients.values():
        flat = each.flatten(1)
        part = columns.to(flat) @ flat
        sums[:, start : start + flat.shape[1]] += part.double().cpu()
        start += flat.shape[1]


def _chunks(batches: Iterable[Any], chunk_size: int) -> Iterator[tuple[Any, int]]:
    """Yield pieces of the batches, each sample as a batch of one: shapes (m, 1, ...)."""
    if chunk_size < 1:
        raise SettingError(f"chunk_size={chunk_size}", "1 sample or more")
    for batch in batches:
        sizes = {len(leaf) for leaf in _leaves(batch)}
        if len(sizes) != 1:
            raise SettingError(
                f"A batch whose tensors have {sorted(sizes)} samples",
                "tensors with the samples along dimension 0",
            )
        (size,) = sizes
        for start in range(0, size, chunk_size):
            stop = min(start + chunk_size, size)
            yield _mapped(batch, lambda t, a=start, b=stop: t[a:b].unsqueeze(1)), stop - start


def _leaves(batch: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _mapped(batch, found.append)
    return found


def _mapped(batch: Any, function: Callable[[Tensor], Any]) -> Any:
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {name: _mapped(each, function) for name, each in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(_mapped(each, function) for each in batch)
    raise SettingError(
        f"A batch with a {type(batch).__name__} in it", "tensors, or tuples, lists or dicts of them"
    )
