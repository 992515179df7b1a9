"""The example trains, and differs from the script without Thresher in at most ten lines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from integrations.example_scripts import EXAMPLES, changes, images

LIMIT = 900.0
"""Seconds for a job: Ray starts a dozen processes, which on a busy machine takes minutes."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray keeps results if it is not told."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_thresher_takes_at_most_ten_lines() -> None:
    lines = changes("ray_plain.py", "ray_train.py")
    assert any("thresher" in line for line in lines)
    # A line that is exchanged counts once.
    assert len([line for line in lines if line[0] == "+"]) <= 10
    assert len([line for line in lines if line[0] == "-"]) == 4


def test_both_train_and_half_of_the_visits_are_saved() -> None:
    accuracy, _ = images([sys.executable, EXAMPLES / "ray_plain.py"], LIMIT)
    assert accuracy > 93
    accuracy, output = images([sys.executable, EXAMPLES / "ray_train.py"], LIMIT)
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)


def test_two_workers_save_as_much() -> None:
    command = [sys.executable, EXAMPLES / "ray_train.py", "--workers", "2"]
    accuracy, output = images(command, LIMIT)
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)
    rows = [line.split() for line in output.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == 6
    assert all(row[1] == row[2] for row in rows), "trained as planned"
