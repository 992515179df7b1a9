"""The committed benchmark runs, finds the methods by itself, and its page is of its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.found import CLASSES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "results" / "gradient-fidelity"


@pytest.mark.slow
def test_benchmark_measures_every_method_that_prunes(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "gradient_fidelity.py"
    arguments = ["--tasks", "digits", "--seeds", "1", "--draws", "4", "--out", tmp_path]
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
    (task,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["tasks"]
    measured = {row["method"] for row in task["selections"]}
    # A fixed subset prunes what it is given, and as it comes that is nothing.
    assert measured == {kind.__name__ for kind in CLASSES} - {"Full", "Subset"}
    assert "## digits" in (tmp_path / "table.md").read_text("utf-8")


def test_committed_page_is_of_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from parts.fidelity_table import markdown

    results = json.loads((FOLDER / "results.json").read_text("utf-8"))
    assert (FOLDER / "table.md").read_text("utf-8") == markdown(results)
    assert results["seeds"] >= 3


def test_committed_results_have_the_shape_that_the_papers_claim() -> None:
    """Unbiased methods show no bias; OrderDP has one for the mean and hardly one for its L_q."""
    results = json.loads((FOLDER / "results.json").read_text("utf-8"))
    for task in results["tasks"]:
        mean: dict[str, float] = {}
        for name in {row["method"] for row in task["gradients"]}:
            own = [row["bias_squared"][0] for row in task["gradients"] if row["method"] == name]
            mean[name] = sum(own) / len(own)
        for name in ("RandomPruning", "InfoBatch", "Omission"):
            assert abs(mean[name]) < 0.01, name
        assert mean["OrderDP"] > 10 * abs(mean["OrderDP, for its surrogate"])
        overlap = {
            (row["method"], row["prune_ratio"]): row["jaccard"] for row in task["selections"]
        }
        for ratio in (0.3, 0.5, 0.7):
            assert overlap["OrderDP", ratio] > overlap["RandomPruning", ratio]
