"""The benchmarks of scale and of narrow scores: their model, and what was committed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def results(name: str) -> dict[str, Any]:
    """What a benchmark wrote."""
    return json.loads((BENCHMARKS / "results" / name).read_text("utf-8"))


def test_the_model_finds_the_work_that_a_law_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from parts.network import Work, line

    rows = [10.0**k for k in (4, 5, 6, 7)]
    law = Work(0.01, 2e-8, 3e-9)
    found = Work.fitted(rows, [law.seconds(count) for count in rows])
    assert found.seconds(3e8) == pytest.approx(law.seconds(3e8), rel=1e-6)
    # What would have to be negative is left out.
    falling = Work.fitted(rows, [count * 1e-7 / math.log10(count) for count in rows])
    assert min(falling.f, falling.a, falling.b) >= 0
    # A step costs numbers of 8 bytes; a round of a radix select more or less is no step.
    assert line([10, 20, 90], [100 + 240, 100 + 480, 100 + 2160]) == (100, 24)
    assert line([10, 10_000], [1000, 60_000]) == (60_000, 0)
    assert line([7], [50]) == (50, 0)


def test_messages_take_latency_and_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from parts.network import Network

    assert Network(1.0, math.inf).all_reduce(100, 1024) == 20
    assert Network(1.0, math.inf).all_gather(100, 1024) == 1023
    assert Network(0.0, 10.0).all_reduce(100, 4) == pytest.approx(15)
    assert Network(0.0, 10.0).all_gather(100, 4) == pytest.approx(30)


def test_what_ranks_sent_is_what_the_design_says() -> None:
    """Whole ledgers: 4 bytes a score, and two agreements. Shards: nothing that grows with n."""
    found = results("scale-ranks.json")
    for one in found["replicated"]:
        part = math.ceil(one["planned"] * one["num_samples"] / 4)
        assert abs(one["bytes_sent"] - 4 * part - 512) <= 4 * 128
    for name in {one["method"] for one in found["sharded"]}:
        small, *_, large = [one for one in found["sharded"] if one["method"] == name]
        assert large["num_samples"] == 10**8
        assert large["reductions"] <= 50
        more_steps = large["steps"] - small["steps"]
        assert large["bytes_sent"] - small["bytes_sent"] <= 32 * more_steps
        assert large["bytes_sent"] <= 300_000 + 32 * large["steps"]


def test_narrow_scores_change_what_the_page_says() -> None:
    changes = results("score-dtype.json")["changes"]
    walks = ("Omission systematic", "Persistent importance")
    for one in changes:
        two_bytes = one["dtype"] != "uint8"
        if one["method"] not in walks:
            assert one["same_history"] < (0.003 if two_bytes else 0.015), one
        if "Omission" in one["method"] or one["method"] in walks:
            assert one["weight_error"] < (0.001 if two_bytes else 0.021), one
        last_losses = ("InfoBatch", "OrderDP", "KAKURENBO", "SeTa")
        if one["method"] in last_losses and not two_bytes:
            assert one["largest_score_error"] < 0.074, one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("score_dtype.py", "--samples 2000 --epochs 4 --size 0 --methods InfoBatch OrderDP"),
        ("scale.py", "--sizes 1e4 3e4 1e5 --largest-replicated 1e4 --methods InfoBatch"),
    ],
)
def test_a_benchmark_runs(script: str, arguments: str, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, BENCHMARKS / script, *arguments.split(), "--out", out]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "InfoBatch" in done.stdout
    assert "InfoBatch" in out.read_text("utf-8")
