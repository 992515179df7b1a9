"""Row 6: what importing Thresher costs beyond `import torch`, what a script names and all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from parts.common import Line

_FRAMEWORKS = {
    "accelerate",
    "datasets",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "pandas",
    "PIL",
    "pytorch_lightning",
    "ray",
    "rich",
    "scipy",
    "sklearn",
    "torchvision",
    "transformers",
}

_SCRIPT = """
import json, sys, time
import torch
before, start = set(sys.modules), time.perf_counter()
from thresher import InfoBatch, Omission, OrderDP, Pruner, RePB
of_a_script = time.perf_counter() - start
import thresher
for name in thresher.__all__:
    getattr(thresher, name)  # names are imported when they are first asked for
seconds = time.perf_counter() - start
roots = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([of_a_script, seconds, sorted(roots)]))
"""


def measure(repetitions: int) -> list[Line]:
    """Return the lines of row 6, each repetition in a process of its own."""
    with tempfile.TemporaryDirectory() as compiled:
        # A checkout need not have bytecode, as what pip installs has: the first run compiles.
        found = [_measured(compiled) for _ in range(1 + repetitions)][1:]
    unasked = sorted(set(found[0][2]) & _FRAMEWORKS)

    def line(case: str, times: list[float], bound: float | None) -> Line:
        return Line("6 import", case, min(times), "s", bound, more={"most": max(times)})

    return [
        line("Pruner and four methods, beyond torch", [each[0] for each in found], 0.15),
        # With so many modules CPython collects garbage once, over all of torch's objects: 0.05 s.
        line("all names, beyond torch", [each[1] for each in found], None),
        Line(
            "6 import",
            "frameworks imported unasked",
            len(unasked),
            "",
            0,
            more={"which": " ".join(unasked)},
        ),
    ]


def _measured(compiled: str) -> list[Any]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    script = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(script, check=True, capture_output=True, text=True, env=environment)
    found: list[Any] = json.loads(done.stdout)
    return found
