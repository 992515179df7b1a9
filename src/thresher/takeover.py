"""Whether a loader can be driven by plans, and how it cuts them into batches."""

from __future__ import annotations

from typing import Any, cast

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from thresher.errors import (
    AlreadyWrappedError,
    IterableDatasetError,
    SamplerError,
    SettingError,
)
from thresher.grid import Grid
from thresher.loader import PlannedLoader
from thresher.parallel.ranks import Ranks
from thresher.replaced import refuse_prepared
from thresher.stateful import kind_of, refuse_loaded


def taken_over(loader: Any, remainder: str | None) -> tuple[Grid, bool]:
    """Return how a loader batches on this rank, and whether it shuffles.

    Args:
        loader: the user's.
        remainder: "pad" or "drop"; None does as a DistributedSampler was told, and else pads.

    Raises:
        SettingError: `remainder` is neither.
        AlreadyWrappedError, IterableDatasetError, SamplerError: it cannot be driven by plans.
        LoaderReplacedError: a framework put it around the user's.
        CheckpointError: it was told to go on where an unpruned run stopped.
    """
    if isinstance(loader, PlannedLoader):
        raise AlreadyWrappedError(
            "The loader is wrapped already", "the loader you built", "Call pruner.wrap once"
        )
    if not isinstance(loader, DataLoader):
        raise SamplerError(
            f"wrap got a {type(loader).__name__}",
            "a torch.utils.data.DataLoader or a subclass of it",
            "Without a DataLoader, drive the run with pruner.plan(epoch) and "
            "pruner.reduce(losses, ids=ids)",
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise IterableDatasetError(
            f"{type(loader.dataset).__name__} has no sample ids",
            "a map-style data set, with __getitem__ and __len__",
            "A historical method remembers each sample by its position; use a map-style data set",
        )
    refuse_prepared(loader)
    refuse_loaded(loader)
    batches = loader.batch_sampler
    if batches is None and isinstance(loader.sampler, BatchSampler):
        batches = loader.sampler
    if batches is None:
        batch_size, drop_last, sampler = 1, False, loader.sampler
    elif kind_of(batches) is BatchSampler:
        batches = cast("BatchSampler", batches)
        batch_size, drop_last, sampler = batches.batch_size, batches.drop_last, batches.sampler
    else:
        raise _unknown(batches, "batch sampler")
    ranks = Ranks.found()
    shuffles = _shuffles(cast("Sampler[int]", sampler), loader.dataset, ranks)
    if remainder not in (None, "pad", "drop"):
        raise SettingError(f"wrap(remainder={remainder!r})", "'pad', 'drop' or None")
    is_dropped = kind_of(sampler) is DistributedSampler and cast("Any", sampler).drop_last
    grid = Grid(
        batch_size=batch_size,
        drop_last=drop_last,
        rank=ranks.rank,
        world_size=ranks.world_size,
        drops_remainder=is_dropped if remainder is None else remainder == "drop",
    )
    return grid, shuffles


def _shuffles(sampler: Any, dataset: Any, ranks: Ranks) -> bool:
    kind = kind_of(sampler)
    if kind not in (SequentialSampler, RandomSampler, DistributedSampler):
        raise _unknown(sampler, "sampler")
    if kind is DistributedSampler:
        _require_same_ranks(sampler, ranks)
        return bool(sampler.shuffle)
    drawn = " with replacement" if getattr(sampler, "replacement", False) else ""
    if drawn or len(sampler) != len(dataset):
        raise SamplerError(
            f"{kind.__name__} draws {len(sampler)} of {len(dataset)} samples{drawn}",
            "each sample once an epoch: DataLoader(..., shuffle=True or False)",
            "How often a sample is trained is the pruner's to decide; to train on a part of the "
            "data set, wrap a loader of torch.utils.data.Subset",
        )
    return kind is RandomSampler


def _require_same_ranks(sampler: DistributedSampler[Any], ranks: Ranks) -> None:
    if (sampler.rank, sampler.num_replicas) != (ranks.rank, ranks.world_size):
        raise SamplerError(
            f"The DistributedSampler is for rank {sampler.rank} of {sampler.num_replicas}",
            f"{ranks}, as torch.distributed has it",
            "Call torch.distributed.init_process_group first, and leave both to the sampler; "
            "to train in one process, build the loader with shuffle=True",
        )


def _unknown(sampler: Any, kind: str) -> SamplerError:
    return SamplerError(
        f"The loader has a {kind} of its own, {type(sampler).__name__}",
        "RandomSampler, SequentialSampler or DistributedSampler, in a plain BatchSampler",
        "A plan fixes which samples are trained and in which order. Build the loader with "
        "shuffle=True or False; to keep your order, drive the run with pruner.plan(epoch) and "
        "pruner.reduce(losses, ids=ids)",
    )
