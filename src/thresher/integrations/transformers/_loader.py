"""What the Trainer iterates: a planned loader whose batches carry the ids of their samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from thresher.errors import BatchMismatchError
from thresher.loader import PlannedLoader

KEY = "_thresher"
"""Under which a batch has its tag."""

LENGTHS = "_thresher_lengths"
"""Under which a batch of joined samples has the number of tokens of each, int64 (m,)."""


@final
@dataclass(frozen=True, slots=True)
class Tag:
    """Which samples a batch is of: no tensor, so that nobody moves it to the device and back.

    Args:
        ids: int64, shape (m,).
        divisor: what `reduce` divides the batch's weighted sum by.
    """

    ids: np.ndarray
    divisor: float


class Lengths(NamedTuple):
    """How long an epoch is, in batches of this rank.

    Args:
        whole: of the whole epoch.
        left: of the pass to come, which may be the rest of an interrupted epoch.
    """

    whole: int
    left: int


@final
class TaggedLoader:
    """Passes over the plans of a run; each batch has its tag under `KEY`.

    It takes the place of the loader that accelerate prepared. Each rank already gets its own part
    of every global batch, and the Trainer itself moves batches to the device, so there is nothing
    left to prepare; and nobody is one batch ahead when a checkpoint is made.

    Args:
        planned: what `Pruner.wrap` returned.
    """

    def __init__(self, planned: PlannedLoader) -> None:
        self._planned = planned

    @property
    def dataset(self) -> Any:
        """The user's data set."""
        return self._planned.dataset

    def __len__(self) -> int:
        return len(self._planned)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._planned:
            ids = self._planned.batch_ids
            holder = self._planned._thresher.hand.latest()
            assert holder is not None
            assert holder.place is not None
            real, divisor = holder.progress.counted(holder.place)
            yield _tagged(batch, Tag(ids, divisor), real)

    def lengths(self) -> Lengths:
        """Return the lengths of the coming pass; every rank has to ask."""
        drive = self._planned._thresher
        progress, stop = drive.course.next_pass()
        size = drive.course.grid.batch_size
        whole = progress.num_batches(drive.course.grid, stop)
        return Lengths(whole, len(progress.feed(size, stop, drive.judge)))

    def unpruned_length(self) -> int:
        """Return the batches of an epoch on all samples."""
        return self._planned._thresher.course.num_batches(len(self.dataset))


def _tagged(batch: Any, tag: Tag, real: np.ndarray | None) -> Any:
    if not isinstance(batch, Mapping):
        raise BatchMismatchError(
            f"The data collator made a {type(batch).__name__}",
            "a dict, whose entries are the model's arguments",
            "Return {'input_ids': ..., 'labels': ...} from the collator, as the Trainer expects",
        )
    changed: dict[str, Any] = {KEY: tag}
    labels = batch.get("labels")
    if real is not None and isinstance(labels, Tensor):
        # A copy that pads a rank's last batch has no items: the Trainer counts what is not -100.
        changed["labels"] = torch.where(_spread(real, labels, batch.get(LENGTHS)), labels, -100)
    # As the Trainer itself makes a batch anew, whatever mapping it is.
    return cast("Any", type(batch))({**batch, **changed})


def _spread(real: np.ndarray, labels: Tensor, lengths: np.ndarray | None) -> Tensor:
    """Return which labels are of real samples, in a shape that broadcasts with them."""
    if lengths is None or len(labels) == len(real):
        return torch.from_numpy(real).reshape(-1, *[1] * (labels.dim() - 1))
    kept = np.ones(labels.shape, dtype=np.bool_)
    kept[0, : lengths.sum()] = np.repeat(real, lengths)
    return torch.from_numpy(kept)


def plain_loader(prepared: Any) -> DataLoader[Any]:
    """Return a loader as it was before accelerate prepared it, its sampler not sharded yet.

    Args:
        prepared: what the Trainer made, or a subclass of it; accelerate rebuilds a loader with all
            of its arguments but the samplers.
    """
    base: DataLoader[Any] = getattr(prepared, "base_dataloader", prepared)
    if base.batch_sampler is None:
        return base
    batches = cast("Any", base.batch_sampler)
    if type(batches).__module__.startswith("accelerate."):
        batches = batches.batch_sampler
    sampler = getattr(batches, "sampler", None)
    if type(batches) is BatchSampler and type(sampler).__module__.startswith("accelerate."):
        # Its own way to shuffle alike on all ranks; that it shuffles is all that a plan takes over.
        sampler = RandomSampler(cast("Any", base.dataset))
        batches = BatchSampler(sampler, batches.batch_size, batches.drop_last)
    plain = copy.copy(base)
    # DataLoader refuses to have them set after its constructor.
    plain.__dict__.update(batch_sampler=batches, _iterator=None)
    return plain
