"""Passing over a user's data in order, and what a model's head is given and gives."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from thresher.errors import AlreadyWrappedError, IterableDatasetError, SamplerError, SettingError

_BATCH = 256


@contextmanager
def inputs_of(model: nn.Module, head: str | None) -> Generator[list[Tensor], None, None]:
    """Yield a list that holds, after a forward pass, the input and output of the head.

    Args:
        model: the model.
        head: the name of a module of it; None takes the linear layer that is called last, if any.

    Raises:
        SettingError: the model has no module of that name.
    """
    modules = dict(model.named_modules())
    if head is not None and head not in modules:
        names = ", ".join(list(modules)[-3:])
        raise SettingError(f"head={head!r}", f"the name of a module of the model, such as {names}")
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen[:] = [inputs[0].detach(), output]

    linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
    heads = linear if head is None else [modules[head]]
    hooks = [module.register_forward_hook(note) for module in heads]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def in_order(loader: Any) -> DataLoader[Any]:
    """Return a copy of a DataLoader that passes over all samples once, ids ascending.

    Data set, collate function, workers and all other settings stay; the last batch is not dropped,
    and the copy draws from no generator of the user's.

    Raises:
        AlreadyWrappedError, IterableDatasetError, SamplerError: it has no samples by id.
    """
    if not isinstance(loader, DataLoader):
        raise SamplerError(
            f"collect got a {type(loader).__name__}",
            "a torch.utils.data.DataLoader or a subclass of it",
            "Build thresher.static.Collected(...) by hand from tensors in order of the samples",
        )
    if hasattr(loader, "_thresher"):
        raise AlreadyWrappedError(
            "The loader is wrapped", "the loader you built", "Collect from the unwrapped loader"
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise IterableDatasetError(
            f"{type(loader.dataset).__name__} has no sample ids",
            "a map-style data set, with __getitem__ and __len__",
            "A subset is a list of positions in the data set; use a map-style one",
        )
    batches: Any = loader.batch_sampler
    is_bulk = batches is None and isinstance(loader.sampler, BatchSampler)
    source = loader.sampler if is_bulk else batches
    size = getattr(source, "batch_size", None) or _BATCH
    order: Any = SequentialSampler(cast("Any", loader.dataset))
    sampled = BatchSampler(order, size, drop_last=False)
    copy = object.__new__(type(loader))
    # DataLoader refuses to have these set after its constructor, which must not run again.
    copy.__dict__.update(loader.__dict__)
    copy.__dict__.update(_iterator=None, generator=None, persistent_workers=False)
    if batches is None:
        copy.__dict__["sampler"] = sampled if is_bulk else order
    else:
        copy.__dict__.update(sampler=order, batch_sampler=sampled)
    return copy
