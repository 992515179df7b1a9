"""The example trains, and differs from the script without Thresher in at most ten lines."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[3] / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def body(name: str) -> list[str]:
    """The script's lines after its docstring."""
    return (EXAMPLES / name).read_text().split('"""', 2)[2].splitlines()


def run(command: list[Any]) -> tuple[float, str]:
    """The accuracy an example prints, and all that it prints."""
    done = subprocess.run(
        [*command, "--epochs", "6"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"([\d.]+)% right", done.stdout)
    return float(accuracy), done.stdout


def test_thresher_takes_at_most_ten_lines() -> None:
    changes = difflib.ndiff(body("accelerate_plain.py"), body("accelerate_images.py"))
    lines = [line for line in changes if line[0] in "+-" and line[2:].strip()]
    assert any("thresher" in line for line in lines)
    # A line that is exchanged counts once.
    assert len([line for line in lines if line[0] == "+"]) <= 10
    assert len([line for line in lines if line[0] == "-"]) == 1


def test_both_train_and_half_of_the_visits_are_saved() -> None:
    accuracy, _ = run([sys.executable, EXAMPLES / "accelerate_plain.py"])
    assert accuracy > 93
    accuracy, output = run([sys.executable, EXAMPLES / "accelerate_images.py"])
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)


def test_two_processes_save_as_much() -> None:
    accuracy, output = run([*TORCHRUN, EXAMPLES / "accelerate_images.py"])
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)
    rows = [line.split() for line in output.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == 6
    assert all(row[1] == row[2] for row in rows), "trained as planned"
