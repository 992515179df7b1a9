"""Row 6: what `import thresher`, with all its names, costs beyond `import torch`."""

from __future__ import annotations

import json
import subprocess
import sys

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
import thresher
for name in thresher.__all__:
    getattr(thresher, name)  # names are imported when they are first asked for
seconds = time.perf_counter() - start
roots = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([seconds, sorted(roots)]))
"""


def measure(repetitions: int) -> list[Line]:
    """Return the lines of row 6, each repetition in a process of its own."""
    found = []
    for _ in range(repetitions):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True
        )
        found.append(json.loads(done.stdout))
    unasked = sorted(set(found[0][1]) & _FRAMEWORKS)
    return [
        Line(
            "6 import",
            "import thresher and all its names, beyond torch",
            min(seconds for seconds, _ in found),
            "s",
            0.15,
            more={"most": max(seconds for seconds, _ in found)},
        ),
        Line(
            "6 import",
            "frameworks imported unasked",
            len(unasked),
            "",
            0,
            more={"which": " ".join(unasked)},
        ),
    ]
