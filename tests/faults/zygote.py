"""A process that has imported torch already and forks a child for each life of a script.

Starting Python and importing torch takes seconds, a fork milliseconds: so a run can die 20 times in
a test. Requests and answers are lines of JSON, on stdin and stdout.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import signal
import struct
import sys
import time
import traceback
import warnings
from typing import Any

import torch

PHASES = ("start", "step", "log", "save", "fetch", "end")
_COUNTS = struct.Struct(f"{len(PHASES)}I")
_LONGEST = 300.0


class Marks:
    """Where a child stands, in memory it shares with its parent: readable after it was killed."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4 + _COUNTS.size)

    def __call__(self, phase: str) -> None:
        """Enter a phase; the child calls it."""
        number = PHASES.index(phase)
        counts = list(self.counts())
        counts[number] += 1
        _COUNTS.pack_into(self._memory, 4, *counts)
        self._memory[0] = number

    def counts(self) -> tuple[int, ...]:
        """How often each phase was entered."""
        return _COUNTS.unpack_from(self._memory, 4)

    def phase(self) -> str:
        """The phase entered last."""
        return PHASES[self._memory[0]]

    def has_entered(self, phase: str, times: int) -> bool:
        return self.counts()[PHASES.index(phase)] >= times


def in_child(request: dict[str, Any], marks: Marks) -> None:
    """Run what was asked for and leave, whatever happens."""
    code = 1
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "This DataLoader will create")  # on a single core
        function = getattr(importlib.import_module(request["module"]), request["function"])
        function(marks, **request["arguments"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watched(child: int, marks: Marks, kill: list[Any] | None) -> int:
    """Wait for a child, or kill it `delay` seconds after it enters a phase for the n-th time."""
    deadline = time.monotonic() + _LONGEST
    phase, times, delay = kill or ("end", 2, 0.0)
    while not marks.has_entered(phase, times):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            break
        time.sleep(0.0002)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)  # a zombie, if it ended meanwhile: still ours
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up() -> None:
    """Import what torch imports at the first optimizer: a second that no child has to spend."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.sum().backward()
    torch.optim.AdamW([parameter]).step()


def serve() -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    warm_up()
    for line in sys.stdin:
        request, marks = json.loads(line), Marks()
        importlib.import_module(request["module"])
        child = os.fork()
        if not child:
            in_child(request, marks)
        code = watched(child, marks, request.get("kill"))
        sys.stdout.write(json.dumps({"code": code, "phase": marks.phase()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
