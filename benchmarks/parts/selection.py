"""Row 1: selection once and every trained step's bookkeeping, data and model taken away.

One epoch of a wrapped loader over a data set that returns nothing, each batch reduced, against the
same number of batches of a plain loader whose indices cost nothing, each batch's losses averaged.
The difference is all that Thresher adds: planning, closing, ids, tags, scores and weights.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import thresher
from parts.common import BATCH, METHODS, QUICK, Line, scores_of
from parts.yardstick import PublishedSampler, PublishedStyle, Unpruned

MODES = ("loader", "loader, ids=", "no loader, ids=")
# The budget is for 10^6 samples. An epoch of fewer is mostly what every epoch costs whatever its
# size, about a millisecond, which is shown without a verdict.
_JUDGED_FROM = 10**6
# From here on a method has a process to itself, as one trains: the columns of the others would
# leave it neither caches nor large pages.
_APART_FROM = 10**7

Times = tuple[float, float, int]
"""CPU seconds of an epoch with and without Thresher, and its samples."""
Seen = dict[tuple[str, str], list[Times]]
"""Of each method and mode the epochs."""

_WARM_UP = 2  # epochs: the first trains on everything and the second is the first pruned one


class Nothing(Dataset[None]):
    """Samples that cost nothing to get."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> None:
        return None

    def __getitems__(self, indices: list[int]) -> None:
        """Return nothing for a whole batch."""


def same(batch: Any) -> Any:
    """Collate nothing."""
    return batch


class Repeated:
    """Batches of indices that cost nothing to make."""

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches
        self.indices = list(range(BATCH))

    def __iter__(self) -> Iterator[list[int]]:
        return repeat(self.indices, self.num_batches)

    def __len__(self) -> int:
        return self.num_batches


class Losses:
    """A distinct tensor of losses for each batch, as a model would give them."""

    def __init__(self, num_samples: int) -> None:
        generator = torch.Generator().manual_seed(0)
        values = torch.empty(num_samples).exponential_(generator=generator)
        self._whole = [part.requires_grad_() for part in values.split(BATCH)]

    def batches(self, planned: int) -> list[Tensor]:
        """Return those of an epoch of `planned` samples; the last batch may be smaller."""
        whole, rest = divmod(planned, BATCH)
        last = [self._whole[whole].detach()[:rest].requires_grad_()] if rest else []
        return self._whole[:whole] + last


def plain_seconds(losses: list[Tensor], num_samples: int, has_loader: bool) -> float:
    """Return the CPU seconds of the epoch without Thresher."""
    loader: Iterable[Any] = repeat(None, len(losses))
    if has_loader:
        sampler: Any = Repeated(len(losses))
        loader = DataLoader(Nothing(num_samples), batch_sampler=sampler, collate_fn=same)
    start = time.process_time()
    for _, loss in zip(loader, losses, strict=False):
        loss.mean()
    return time.process_time() - start


class Subject:
    """One method's run, an epoch at a time in any of the modes."""

    def __init__(self, label: str, prune_ratio: float, num_samples: int) -> None:
        make, self.bound = METHODS[label]
        self.num_samples = num_samples
        self.pruner = thresher.Pruner(make(prune_ratio), epochs=1000, seed=0)
        plain: DataLoader[Any] = DataLoader(
            Nothing(num_samples), BATCH, shuffle=True, collate_fn=same
        )
        self.loader: Any = self.pruner.wrap(plain)

    def epoch(self, mode: str, losses: Losses) -> tuple[float, float, int]:
        """Train one epoch; return the CPU seconds with and without Thresher, and its samples."""
        if mode == "no loader, ids=":
            return self._epoch_of_ids(losses)
        start = time.process_time()
        batches = iter(self.loader)
        made = time.process_time() - start
        planned = len(batches.progress.plan)
        each = losses.batches(planned)
        scored = [scores_of(self.pruner, loss) for loss in each]
        reduce, loader = self.pruner.reduce, self.loader
        start = time.process_time()
        if mode == "loader":
            for _, loss, scores in zip(batches, each, scored, strict=False):
                reduce(loss, scores=scores)
        else:
            for _, loss, scores in zip(batches, each, scored, strict=False):
                reduce(loss, scores=scores, ids=loader.batch_ids)
        made += time.process_time() - start
        return made, plain_seconds(each, self.num_samples, has_loader=True), planned

    def _epoch_of_ids(self, losses: Losses) -> tuple[float, float, int]:
        pruner = self.pruner
        start = time.process_time()
        plan = pruner.plan(pruner.epoch)
        made = time.process_time() - start
        each = losses.batches(len(plan))
        scored = [scores_of(pruner, loss) for loss in each]
        ids = plan.ids.split(BATCH)
        start = time.process_time()
        for batch, loss, scores in zip(ids, each, scored, strict=True):
            pruner.reduce(loss, scores=scores, ids=batch)
        made += time.process_time() - start
        return made, plain_seconds(each, self.num_samples, has_loader=False), len(plan)


class Yardstick:
    """InfoBatch as its published code does it, an epoch at a time."""

    def __init__(self, num_samples: int) -> None:
        self.plain = Unpruned(num_samples)
        self.data = PublishedStyle(self.plain)

    def epoch(self, losses: Losses) -> tuple[float, float, int]:
        """Train one epoch; return the CPU seconds with and without it, and its samples."""
        chosen = PublishedSampler(self.data)
        loader: DataLoader[Any] = DataLoader(self.data, BATCH, sampler=chosen)
        start = time.process_time()
        batches = iter(loader)
        first = next(batches)  # the selection happens here
        made = time.process_time() - start
        each = losses.batches(chosen.kept)
        start = time.process_time()
        self.data.update(first[0], each[0])
        for (ids, _), loss in zip(batches, each[1:], strict=True):
            self.data.update(ids, loss)
        made += time.process_time() - start
        sampler: Any = Repeated(len(each))
        bare: DataLoader[Any] = DataLoader(self.plain, batch_sampler=sampler)
        start = time.process_time()
        for _, loss in zip(bare, each, strict=True):
            loss.mean()
        return made, time.process_time() - start, chosen.kept


def measure(
    sizes: list[int], prune_ratio: float, repetitions: Callable[[int], int], only: list[str]
) -> list[Line]:
    """Return the lines of row 1: of methods in turns, or of each by itself where there is more."""
    lines: list[Line] = []
    for size in sizes:
        times = repetitions(size)
        if size < _APART_FROM:
            published, seen = _in_turns(size, prune_ratio, times, only, has_yardstick=True)
        else:
            published, seen = _alone(_in_turns, size, prune_ratio, times, [], has_yardstick=True)
            for label in only:
                seen |= _alone(_in_turns, size, prune_ratio, times, [label])[1]
        lines += _lines(size, published, seen)
    return lines


def _alone(job: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a job does in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(job, *arguments, **options).result()


def _in_turns(
    size: int, prune_ratio: float, repetitions: int, only: list[str], *, has_yardstick: bool = False
) -> tuple[list[Times], Seen]:
    """Return what the yardstick took, and methods and modes; they take turns."""
    torch.set_num_threads(1)
    losses = Losses(size)
    subjects = {label: Subject(label, prune_ratio, size) for label in only}
    yardstick = Yardstick(size) if has_yardstick else None
    published, seen = list[Times](), Seen()
    gc.collect()
    gc.freeze()
    for turn in range(-1, repetitions):
        if yardstick is not None:
            published.append(yardstick.epoch(losses))
        for label, subject in subjects.items():
            if turn < 0:
                for _ in range(_WARM_UP):
                    subject.epoch("loader", losses)
            for mode in MODES:
                seen.setdefault((label, mode), []).append(subject.epoch(mode, losses))
    gc.unfreeze()
    # The first turn was a warm-up, too.
    return published[1:], {key: times[1:] for key, times in seen.items()}


def _least(times: list[Times], million: float) -> float:
    return (min(t[0] for t in times) - min(t[1] for t in times)) / million


def _median(times: list[Times], million: float) -> float:
    return statistics.median(t[0] - t[1] for t in times) / million


def _lines(size: int, yardstick: list[Times], seen: Seen) -> list[Line]:
    million = size / 1e6
    published = _least(yardstick, million)
    lines = [
        Line(
            "1 selection and steps",
            f"{size:.0e} InfoBatch as published (yardstick)",
            published,
            "s/10⁶",
            more={"median": _median(yardstick, million)},
        )
    ]
    for (label, mode), times in seen.items():
        value, bound = _least(times, million), METHODS[label][1]
        share = 6 if bound == QUICK else 4
        lines.append(
            Line(
                "1 selection and steps",
                f"{size:.0e} {label} ({mode})",
                value,
                "s/10⁶",
                min(bound, published / share) if size >= _JUDGED_FROM else None,
                more={
                    "median": _median(times, million),
                    "ms/epoch": value * million * 1e3,
                    "published/this": published / value,
                    "trained": statistics.mean(t[2] for t in times) / size,
                },
            )
        )
    return lines
