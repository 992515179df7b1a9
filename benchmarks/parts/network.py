"""What an epoch's planning would take on many ranks: a model of measurements, with assumptions.

Work. The CPU seconds of so many rows are fitted as f + rows (a + b log10(rows)), none of them
negative, by least squares on relative errors: orders are sorts, larger arrays leave the caches.

Messages. W ranks, latency α a message, bandwidth β of each rank's link, both directions at once:
    all-reduce of B bytes      2 ⌈log2 W⌉ α + 2 B (W - 1) / (W β)     halving and doubling
    all-gather of B from each  (W - 1) (α + B / β)                   ring
Sharded, an epoch makes as many calls as were counted, and sends c + d · steps bytes, fitted;
replicated, two agreements of 256 bytes and one gather of 4 bytes for each score of a rank's part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from parts.common import BATCH

_AGREEMENTS, _AGREEMENT = 2, 256


@final
@dataclass(frozen=True)
class Network:
    """What is assumed of the links between ranks.

    Args:
        latency: α, seconds a message.
        bandwidth: β, bytes a second of each rank's link.
    """

    latency: float
    bandwidth: float

    def all_reduce(self, size: float, ranks: int) -> float:
        """Return the seconds of an all-reduce of `size` bytes."""
        rounds = 2 * math.ceil(math.log2(ranks))
        return rounds * self.latency + 2 * size * (ranks - 1) / ranks / self.bandwidth

    def all_gather(self, size: float, ranks: int) -> float:
        """Return the seconds of an all-gather of `size` bytes from each rank."""
        return (ranks - 1) * (self.latency + size / self.bandwidth)


@final
@dataclass(frozen=True)
class Work:
    """CPU seconds of closing an epoch and planning the next: f + rows (a + b log10(rows))."""

    f: float
    a: float
    b: float

    @classmethod
    def fitted(cls, rows: list[float], seconds: list[float]) -> Work:
        """Return the fit to measurements of so many rows each."""
        count = np.asarray(rows, dtype=np.float64)
        table = np.stack([np.ones_like(count), count, count * np.log10(count)], 1)
        table /= np.asarray(seconds)[:, None]
        found, used = np.zeros(3), [0, 1, 2]
        while used:
            found[:] = 0
            found[used] = np.linalg.lstsq(table[:, used], np.ones_like(count), rcond=None)[0]
            if found.min() >= 0:
                break
            used.remove(int(found.argmin()))
        return cls(*found.tolist())

    def seconds(self, rows: float) -> float:
        """Return the seconds of so many rows."""
        return self.f + rows * (self.a + self.b * math.log10(rows))


@final
@dataclass(frozen=True)
class Model:
    """One method's epoch on any number of ranks.

    Args:
        work: of a rank's rows.
        peak: bytes of a row, at the peak of planning.
        kept: the share of the samples that is trained.
        base: bytes that a shard sends an epoch, apart from what it tells of steps.
        a_step: bytes of each step.
        reductions: calls that add up, an epoch.
        gathers: calls that collect a few numbers of every rank.
        scores: names that the method needs.
    """

    work: Work
    peak: float
    kept: float
    base: float
    a_step: float
    reductions: float
    gathers: float
    scores: int

    def bytes_sharded(self, num_samples: float, ranks: int) -> float:
        """Return what a rank hands over in an epoch."""
        return self.base + self.a_step * self.kept * num_samples / (ranks * BATCH)

    def bytes_replicated(self, num_samples: float, ranks: int) -> float:
        """Return what a rank hands over in an epoch; each of the others gets it."""
        part = 4 * self.scores * math.ceil(self.kept * num_samples / ranks)
        return part + _AGREEMENTS * _AGREEMENT

    def sharded(self, num_samples: float, ranks: int, network: Network) -> dict[str, float]:
        """Return an epoch of ledgers in shards."""
        rows, sent = num_samples / ranks, self.bytes_sharded(num_samples, ranks)
        gathered, reduced = 8 * self.gathers, max(0.0, sent - 8 * self.gathers)
        seconds = self.gathers * network.all_gather(8, ranks)
        if self.reductions:
            each = reduced / self.reductions
            seconds += self.reductions * network.all_reduce(each, ranks)
        return {
            "rows_of_a_rank": rows,
            "gigabytes_of_a_rank": self.peak * rows / 1e9,
            "cpu_seconds": self.work.seconds(rows),
            "bytes_sent": sent,
            "bytes_received": 2 * reduced + gathered * (ranks - 1),
            "network_seconds": seconds,
        }

    def replicated(self, num_samples: float, ranks: int, network: Network) -> dict[str, float]:
        """Return an epoch of whole ledgers."""
        sent = self.bytes_replicated(num_samples, ranks)
        seconds = _AGREEMENTS * network.all_gather(_AGREEMENT, ranks)
        seconds += network.all_gather(sent - _AGREEMENTS * _AGREEMENT, ranks)
        return {
            "rows_of_a_rank": num_samples,
            "gigabytes_of_a_rank": self.peak * num_samples / 1e9,
            "cpu_seconds": self.work.seconds(num_samples),
            "bytes_sent": sent,
            "bytes_received": sent * (ranks - 1),
            "network_seconds": seconds,
        }


def line(steps: list[float], sent: list[float]) -> tuple[float, float]:
    """Return the ends c, d of bytes <= c + d steps; d is whole numbers of 8 bytes, as they are.

    The rest of what is sent varies by a round or two of a radix select, whatever the size.
    """
    d = 0.0
    if len(set(steps)) > 1:
        d = 8 * max(0, math.floor(float(np.polyfit(steps, sent, 1)[0]) / 8 + 0.05))
    return max(y - d * x for x, y in zip(steps, sent, strict=True)), float(d)
