"""A loader whose data one rank reads for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple, Never, final

import torch.distributed as dist
from torch.utils.data import DataLoader

from thresher.errors import RanksDisagreeError
from thresher.parallel.ranks import Ranks

_READER = 0


class _Failed(NamedTuple):
    """What the other ranks get in place of a batch that could not be read.

    Args:
        why: the error, as text: not every exception can be sent.
    """

    why: str


@final
class _Asked:
    """What the reader's loader draws its indices from; persistent workers keep hold of it.

    Attributes:
        now: the requests of the pass that begins. An iterator keeps those it began with.
    """

    def __init__(self) -> None:
        self.now: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.now)


@final
class DispatchedLoader(DataLoader[Any]):
    """A copy of a loader, on each rank, whose batches rank 0 reads and sends to whom they are for.

    Each rank gets what its own loader would have read. When a pass begins, rank 0 is told all
    requests of it, so they have to be known by then; from then on each batch is one
    `scatter_object_list`. Only rank 0 touches the data set, or starts workers. To begin a pass and
    to fetch a batch are things that all ranks do together.

    Raises:
        RanksDisagreeError: on every other rank, if rank 0 could not begin the pass or read a batch;
            on all, if they do not want equally many.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        # Not the constructor of DataLoader, which refuses some of what it has set itself.
        self.__dict__.update(loader.__dict__)
        self.__dict__["_iterator"] = None
        drawn_from = "sampler" if loader.batch_sampler is None else "batch_sampler"
        self._requests: Any = self.__dict__[drawn_from]
        self.__dict__[drawn_from] = self._asked = _Asked()

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ranks, own = Ranks.found(), list(self._requests)
        if ranks.rank != _READER:
            dist.gather_object(own, dst=_READER)
            _tell(None)
            return _dealt(iter(()), len(own), ranks)
        everyone: list[Any] = [None] * ranks.world_size
        dist.gather_object(own, everyone, dst=_READER)
        try:
            self._asked.now = _in_turn(everyone)
            batches = super().__iter__()
        except Exception as error:  # the others wait for a word, whatever it is
            _tell(error)
            raise
        _tell(None)
        return _dealt(batches, len(own), ranks)


def _in_turn(everyone: list[list[Any]]) -> list[Any]:
    """Return the ranks' requests, step by step."""
    sizes = [len(requests) for requests in everyone]
    if len(set(sizes)) > 1:
        raise RanksDisagreeError(
            f"Ranks want {', '.join(map(str, sizes))} batches of this pass",
            "equally many, as all ranks take equal steps",
            "Build data set, loader and pruner alike on every rank",
        )
    return list(chain(*zip(*everyone, strict=True)))


def _tell(failure: Exception | None) -> None:
    """Tell the others, or hear, whether the pass has begun; the reader raises by itself.

    Raises:
        RanksDisagreeError: it has not.
    """
    told = [None if failure is None else f"{type(failure).__name__}: {failure}"]
    dist.broadcast_object_list(told, src=_READER)
    if told[0] is not None and failure is None:
        _refuse(told[0])


def _dealt(batches: Iterator[Any], number: int, ranks: Ranks) -> Iterator[Any]:
    """Yield this rank's part of what the reader has."""
    for _ in range(number):
        sent: list[Any] | None = None
        failure: Exception | None = None
        if ranks.rank == _READER:
            try:
                sent = [next(batches) for _ in range(ranks.world_size)]
            except Exception as error:  # as above
                failure = error
                sent = [_Failed(f"{type(error).__name__}: {error}")] * ranks.world_size
        got: list[Any] = [None]
        dist.scatter_object_list(got, sent, src=_READER)
        if failure is not None:
            raise failure
        if isinstance(got[0], _Failed):
            _refuse(got[0].why)
        yield got[0]


def _refuse(why: str) -> Never:
    raise RanksDisagreeError(
        f"Rank {_READER}, which reads for all ranks, failed: {why}",
        "a batch",
        f"Look for the error of rank {_READER}: its data set or collate function failed",
    )
