"""Where each rank of a job stands, in memory it shares with the test, and who kills it there."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from pathlib import Path
from typing import NamedTuple

PHASES = ("start", "step", "exchange", "save", "end")
WORLD_SIZE = 4
_SEAT = struct.Struct(f"3I{len(PHASES)}I")
_LONGEST = 120.0


class Seen(NamedTuple):
    """What a seat says: a process, its number among those that sat there, and where it is."""

    pid: int
    life: int
    phase: str
    counts: tuple[int, ...]

    def has_entered(self, phase: str, times: int) -> bool:
        return self.counts[PHASES.index(phase)] >= times


class Kill(NamedTuple):
    """A moment to kill at: a rank, a phase, how often it enters it before, a delay in seconds."""

    rank: int
    phase: str
    times: int
    delay: float


def _opened(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


class Seat:
    """Where one rank of a life of the job says where it is; a new life counts anew."""

    def __init__(self, path: Path, rank: int, life: int) -> None:
        self._memory, self._offset, self._life = _opened(path), rank * _SEAT.size, life
        self._counts = [0] * len(PHASES)

    def __call__(self, phase: str) -> None:
        """Enter a phase."""
        number = PHASES.index(phase)
        self._counts[number] += 1
        told = (os.getpid(), self._life, number, *self._counts)
        _SEAT.pack_into(self._memory, self._offset, *told)


class Killer(threading.Thread):
    """Kills one rank in each life of a job, and notes where it, and the others, were then.

    Args:
        path: of the seats, made here.
        kills: one for each life but the last.
    """

    def __init__(self, path: Path, kills: list[Kill]) -> None:
        super().__init__(daemon=True)
        path.write_bytes(bytes(_SEAT.size * WORLD_SIZE))
        self._memory = _opened(path)
        self._kills = kills
        self.victims: list[str] = []
        self.others: list[str] = []

    def seen(self, rank: int) -> Seen:
        """Return what a seat says now."""
        pid, life, phase, *counts = _SEAT.unpack_from(self._memory, rank * _SEAT.size)
        return Seen(pid, life, PHASES[phase], tuple(counts))

    def run(self) -> None:
        """Follow the lives of the job until it ends, or every kill is done."""
        life = 0
        for kill in self._kills:
            deadline, seen = time.monotonic() + _LONGEST, self.seen(kill.rank)
            while seen.life <= life or not seen.has_entered(kill.phase, kill.times):
                if time.monotonic() > deadline or seen.phase == "end":
                    return
                time.sleep(0.0002)
                seen = self.seen(kill.rank)
            time.sleep(kill.delay)
            os.kill(seen.pid, signal.SIGKILL)
            life, where = seen.life, [self.seen(rank).phase for rank in range(WORLD_SIZE)]
            self.victims.append(where.pop(kill.rank))
            self.others += where
