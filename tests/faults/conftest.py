"""The zygote: one for each test process, as importing torch takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TESTS = Path(__file__).parent.parent


class Death(NamedTuple):
    """How a child ended: its exit code, negative for a signal, and the phase it was in."""

    code: int
    phase: str


class Zygote:
    """Runs functions of test modules in children that are forked from a warm process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faults.zygote"],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        function: str,
        output: Path,
        kill: tuple[str, int, float] | None = None,
        **arguments: Any,
    ) -> Death:
        """Run `module:function` with a mark and `arguments`; kill it at a moment.

        Args:
            function: where it is.
            output: the file that takes what it prints.
            kill: a phase, how often it is entered before, and a delay in seconds.
        """
        module, name = function.split(":")
        request = {"module": module, "function": name, "arguments": arguments}
        request |= {"output": str(output), "kill": kill}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Death(**json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    assert zygote.process.stdin is not None
    zygote.process.stdin.close()
    assert zygote.process.wait(30) == 0
    if zygote.process.stdout is not None:
        zygote.process.stdout.close()
