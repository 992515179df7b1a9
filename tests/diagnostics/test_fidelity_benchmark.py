"""The committed benchmark runs, finds the methods by itself, and its page is of its results."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    assert measured == {kind.__name__ for kind in CLASSES if kind.follows_prune_ratio}
    assert "## digits" in (tmp_path / "table.md").read_text("utf-8")


def test_committed_page_is_of_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from parts.fidelity_table import markdown

    results = json.loads((FOLDER / "results.json").read_text("utf-8"))
    assert (FOLDER / "table.md").read_text("utf-8") == markdown(results)
    assert results["seeds"] >= 3


def mean_bias(rows: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """The squared bias of a method over seeds and phases, and its standard error."""
    own = [row["bias_squared"] for row in rows if row["method"] == name]
    error = math.sqrt(sum(error**2 for _, error in own)) / len(own)
    return sum(value for value, _ in own) / len(own), error


def test_committed_results_have_the_shape_that_the_papers_claim() -> None:
    """Unbiased methods show no bias; OrderDP has one for the mean and hardly one for its L_q."""
    results = json.loads((FOLDER / "results.json").read_text("utf-8"))
    for task in results["tasks"]:
        measured = {row["method"] for row in task["gradients"]}
        claiming = [kind.__name__ for kind in CLASSES if kind.claims_unbiased]
        assert {"RandomPruning", "InfoBatch", "Omission"} <= measured & set(claiming)
        for name in measured & set(claiming):
            value, error = mean_bias(task["gradients"], name)
            assert abs(value) < 4 * error, name
        surrogate, error = mean_bias(task["gradients"], "OrderDP, for its surrogate")
        assert mean_bias(task["gradients"], "OrderDP")[0] > 10 * max(surrogate, error)
        overlap = {
            (row["method"], row["prune_ratio"]): row["jaccard"] for row in task["selections"]
        }
        for ratio in (0.3, 0.5, 0.7):
            assert overlap["OrderDP", ratio] > overlap["RandomPruning", ratio]
