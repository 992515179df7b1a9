"""Example scripts: what stands in them, and what they print when they run."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def changes(before: str, after: str) -> list[str]:
    """The lines, but empty ones, that one example has and the other has not, after docstrings."""
    lines = difflib.ndiff(_body(before), _body(after))
    return [line for line in lines if line[0] in "+-" and line[2:].strip()]


def _body(name: str) -> list[str]:
    return (EXAMPLES / name).read_text().split('"""', 2)[2].splitlines()


def images(command: list[Any], limit: float = 180) -> tuple[float, str]:
    """The accuracy that an example on images prints in `limit` seconds, and all that it prints."""
    done = subprocess.run(
        [*command, "--epochs", "6"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"([\d.]+)% right", done.stdout)
    return float(accuracy), done.stdout
