"""Ids ride beside the batch: the data set and collate wrappers that put them there.

Both run in the loader's workers, so both pickle; the pair (ids, batch) they make survives pinning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset

from thresher.id_batches import IdBatch
from thresher.progress import Feed
from thresher.samples import Samples


@final
class TaggedDataset(Dataset[Any]):
    """The user's data set, whose items come with their ids.

    Attributes are read from and written to the user's data set, because a `worker_init_fn` reaches
    it through `get_worker_info().dataset`.
    """

    # A name that no data set has: its own attributes, such as `_dataset`, must stay in reach.
    _thresher_dataset: Any

    def __init__(self, dataset: Any) -> None:
        object.__setattr__(self, "_thresher_dataset", dataset)

    def __getitems__(self, asked: IdBatch) -> tuple[IdBatch, Any]:
        dataset, given = self._thresher_dataset, asked.ids.tolist()
        # The same test as torch's own fetcher makes.
        many = getattr(dataset, "__getitems__", None)
        if many is None:
            samples = [dataset[id_] for id_ in given]
        else:
            before = given.copy()
            samples = many(given)
            if given != before:  # the data set may have reordered its list
                asked = asked._replace(ids=np.asarray(given, dtype=np.int64), place=None)
        if asked.wants_samples:
            samples = Samples(samples, len(given))
        return asked, samples

    def __getitem__(self, asked: IdBatch | int) -> tuple[IdBatch, Any]:
        # Reached only with batch_size=None, where the index may be a whole batch of ids.
        if isinstance(asked, IdBatch):
            return asked, self._thresher_dataset[asked.ids.tolist()]
        return IdBatch(np.asarray([asked], dtype=np.int64)), self._thresher_dataset[asked]

    def __len__(self) -> int:
        return len(self._thresher_dataset)

    def __getattr__(self, name: str) -> Any:
        # While unpickling there is no data set yet; asking for it again would recurse. And how a
        # data set is to be copied says nothing of how this one is: a tensor has __deepcopy__.
        if name == "_thresher_dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._thresher_dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._thresher_dataset, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._thresher_dataset, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return TaggedDataset, (self._thresher_dataset,)


@final
class TaggedCollate:
    """The user's collate function, beside which the ids pass untouched."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, tagged: tuple[IdBatch, Any]) -> tuple[IdBatch, Any]:
        """Return the ids, numpy for lack of a shared-memory handle each, and the collated batch.

        Of candidates, the samples are returned too, as a part of them will be collated anew.
        """
        ids, samples = tagged
        if ids.wants_samples:
            batch = samples.collated(self._collate) if ids.is_scored else None
            return ids, (samples, batch)
        return ids, self._collate(samples)


@final
class RequestedBatches:
    """What the inner loader draws its indices from: the requests of the feed that is set.

    `iter` binds at once, not at the first batch, so a pass keeps its feed whatever is set later.

    Args:
        is_bulk: whether the loader wants lists of ids; one without batching wants single ones.
    """

    def __init__(self, is_bulk: bool) -> None:
        self._is_bulk = is_bulk
        self._feed: Feed | None = None

    def set(self, feed: Feed) -> None:
        """Let the next `iter` yield what `feed` requests."""
        self._feed = feed

    def __iter__(self) -> Iterator[Any]:
        if self._feed is None:
            return iter(())
        requests = self._feed.requests()
        return requests if self._is_bulk else (asked.ids.item(0) for asked in requests)

    def __len__(self) -> int:
        return 0 if self._feed is None else len(self._feed)


def is_bulk(loader: DataLoader[Any]) -> bool:
    """Return whether a loader asks its data set for lists of ids; else for one at a time."""
    return loader.batch_sampler is not None or isinstance(loader.sampler, BatchSampler)


def tagged(loader: DataLoader[Any], requests: Iterable[Any], **changes: Any) -> DataLoader[Any]:
    """Return a copy of a loader that fetches what is requested, with the ids beside each batch."""
    requested = {"sampler" if loader.batch_sampler is None else "batch_sampler": requests}
    dataset, collate = TaggedDataset(loader.dataset), TaggedCollate(loader.collate_fn)
    return copied(loader, dataset=dataset, collate_fn=collate, **requested, **changes)


def copied(loader: DataLoader[Any], **changes: Any) -> DataLoader[Any]:
    """Return a shallow copy of a loader with these attributes changed."""
    inner: DataLoader[Any] = object.__new__(DataLoader)
    # DataLoader refuses to have some set after its constructor, which must not run again.
    inner.__dict__.update(loader.__dict__)
    inner.__dict__.update(_iterator=None, **changes)
    return inner


def iter_quietly(loader: DataLoader[Any]) -> Iterator[Any]:
    """Iterate a loader for the rest of an epoch, leaving its random generator as it was.

    An iterator draws its workers' seed when it is made. The pass that was interrupted has drawn
    its own, so another draw would shift all that is random after it, such as dropout.
    """
    generator = loader.generator or torch.default_generator
    state = generator.get_state()
    try:
        return iter(loader)
    finally:
        generator.set_state(state)
