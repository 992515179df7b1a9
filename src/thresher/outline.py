"""What is known of an epoch whose samples are chosen while it is trained."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, final

from thresher.errors import IterableDatasetError, SettingError
from thresher.methods._method import Method
from thresher.plan import Plan


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """An epoch of an online method: how long it is, and not yet of what.

    Args:
        epoch: the epoch's number, from 0.
        num_batches: T, batches that it trains; None: as many as one pass over a stream gives.
        batch_size: b, samples of a batch.
        num_candidates: B, the samples a method looks at together; 0 if all are trained, unseen.
        num_samples: n, the size of the data set; 0: a stream, which has none.
        size: sample visits of the epoch; of a pass over a stream, those so far.
        learning_rate_factor: what the method multiplies the learning rate by in this epoch.
        scale: what a step exponent multiplies the method's own weights by.
        max_weight: the largest of these that is left as it is.
        facts: numbers worth reporting about this epoch.
    """

    epoch: int
    num_batches: int | None
    batch_size: int
    num_candidates: int
    num_samples: int
    size: int
    learning_rate_factor: float = 1.0
    scale: float = 1.0
    max_weight: float = math.inf
    facts: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    @property
    def num_planned(self) -> int:
        """Sample visits of the epoch."""
        return self.size

    def checksum(self) -> int:
        """Return an integer that differs between epochs of another length."""
        size = 0 if self.num_batches is None else self.size
        numbers = (self.epoch, self.num_batches, self.batch_size, self.num_candidates, size)
        return zlib.crc32(repr((*numbers, self.scale, self.max_weight)).encode())


def known(plan: Plan | Outline, method: Method) -> Plan:
    """Return a plan, or say that there is none.

    Raises:
        SettingError: the epoch's samples are chosen while it is trained.
    """
    if isinstance(plan, Plan):
        return plan
    raise SettingError(
        f"The samples of an epoch were asked of {type(method).__name__} before it is trained",
        "a loop over the wrapped loader",
        "An online method chooses each batch when it is fetched; loader.batch_ids names its "
        "samples then",
    )


def refuse_ids(method: Method) -> NoReturn:
    """Say that nobody knows what will be chosen.

    Raises:
        SettingError: always.
    """
    raise SettingError(
        f"The sampler of an epoch of {type(method).__name__} was iterated",
        "a loop over the wrapped loader itself",
        "An online method chooses each batch when it is fetched",
    )


def refuse_length() -> NoReturn:
    """Say that nobody knows how long a pass over a stream is.

    Raises:
        IterableDatasetError: always; a TypeError, as torch raises for such a loader.
    """
    raise IterableDatasetError(
        "The length of an epoch was asked for that is one pass over a stream",
        "a number of batches an epoch",
        "Write pruner.wrap(loader, ..., steps_per_epoch=...), or do without a length; a scheduler "
        "can be paced per='epoch'",
    )
