"""The example trains, and differs from the script without Thresher in at most ten lines."""

from __future__ import annotations

import re
import sys

from integrations.example_scripts import EXAMPLES, changes, images


def test_thresher_takes_at_most_ten_lines() -> None:
    lines = changes("lightning_plain.py", "lightning_images.py")
    assert any("thresher" in line for line in lines)
    # A line that is exchanged counts once.
    assert len([line for line in lines if line[0] == "+"]) <= 10
    assert len([line for line in lines if line[0] == "-"]) == 1


def test_both_train_and_half_of_the_visits_are_saved() -> None:
    accuracy, _ = images([sys.executable, EXAMPLES / "lightning_plain.py"])
    assert accuracy > 93
    accuracy, output = images([sys.executable, EXAMPLES / "lightning_images.py"])
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)


def test_two_processes_save_as_much() -> None:
    accuracy, output = images([sys.executable, EXAMPLES / "lightning_images.py", "--devices", "2"])
    assert accuracy > 93
    assert re.search(r"saved (49|50)\.\d%", output)
    rows = [line.split() for line in output.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == 6
    assert all(row[1] == row[2] for row in rows), "trained as planned"
