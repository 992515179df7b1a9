"""The examples train, and what Thresher adds to a plain script is what the README says."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    result = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def body(name: str) -> list[str]:
    """The script's lines after its docstring."""
    return (EXAMPLES / name).read_text().split('"""', 2)[2].splitlines()


def accuracy_in(output: str) -> float:
    found = re.search(r"([\d.]+)% right", output)
    assert found
    return float(found[1])


def saved_in(output: str) -> float:
    found = re.search(r"saved ([\d.]+)%", output)
    assert found
    return float(found[1])


def test_the_pruned_example_differs_from_the_plain_one_in_three_lines_of_the_loop() -> None:
    diff = [
        line
        for line in difflib.ndiff(body("plain.py"), body("pruned.py"))
        if line[0] in "+-" and line[2:].strip()
    ]
    settings = "thresher.RePB(prune_ratio=0.5), epochs=args.epochs, seed=args.seed"
    assert diff == [
        # What Thresher is told,
        "+ import thresher",
        f"+ pruner = thresher.Pruner({settings})",
        # the three lines of the loop,
        "+ loader = pruner.wrap(loader)",
        "+ scheduler = pruner.pace(scheduler)",
        "-         loss = losses.mean()",
        "+         loss = pruner.reduce(losses)",
        # and what it tells.
        "+ print(pruner.report())",
    ]


def test_the_plain_and_the_pruned_example_both_train() -> None:
    assert accuracy_in(run("plain.py", "--epochs", "8")) > 93
    output = run("pruned.py", "--epochs", "8")
    assert accuracy_in(output) > 93
    assert saved_in(output) == pytest.approx(50, abs=2)


def test_the_example_without_a_dataloader_trains() -> None:
    output = run("no_dataloader.py", "--epochs", "10")
    assert accuracy_in(output) > 90
    assert saved_in(output) == pytest.approx(50, abs=0.2)
