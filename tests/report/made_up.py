"""Runs that nobody trained, as `thresher compare` would have written them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from thresher.bench import kept

EPOCHS, SAMPLES = 4, 100

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "| cell | <b>bold</b> | `code` [link](javascript:alert(1)) |",
    '=HYPERLINK("http://example.org")',
    "line one\nline two\u2028three\x00\x1b[31m",
)
"""Texts that would be markup, code or a formula wherever they are not escaped."""


def a_run(
    method: str, ratio: float | None, seed: int, metric: float, **other: Any
) -> dict[str, Any]:
    """A finished run: `other` are knobs, and parts of the record by name."""
    share = 1.0 if ratio is None else 1 - ratio
    knobs: dict[str, Any] = {
        "task": "digits",
        "data": "0" * 8,
        "model": "Net()",
        "method": method,
        "setting": "",
        "prune_ratio": ratio,
        "step_exponent": None,
        "epochs": EPOCHS,
        "batch_size": 32,
        "seed": seed,
    }
    knobs |= {name: other.pop(name) for name in list(other) if name in (*knobs, "knob")}
    num = round(EPOCHS * share) if method.startswith("fewer-epochs") else EPOCHS
    trained = SAMPLES if method.startswith("fewer-epochs") else round(SAMPLES * share)
    rows = [
        {
            "epoch": epoch,
            "planned": trained,
            "trained": trained,
            "effective_samples": 0.9 * trained,
            "metric": metric - (num - 1 - epoch),
            "seconds": 0.01 * trained,
        }
        for epoch in range(num)
    ]
    return {
        "key": f"{method} {ratio} {knobs['step_exponent']} {seed} {knobs['task']}",
        "config": knobs,
        "metric": metric,
        "samples_trained": trained * num,
        "extra_forwards": 0,
        "prune_rate": 1 - trained * num / (SAMPLES * EPOCHS),
        "seconds": {
            "training": 0.01 * trained * num,
            "planning": 0.01,
            "closing": 0.01,
            "data": 0.1,
            "evaluation": 0.5,
        },
        "notes": [],
        "epochs": rows,
        "versions": {"python": "3.11", "torch": "2.13"},
        "commit": "abc",
        "machine": {"processor": "a processor"},
        **other,
    }


def a_comparison(seeds: int = 3, **other: Any) -> list[dict[str, Any]]:
    """Full, its controls and two methods: OrderDP near full, RePB far below."""
    rows = (
        ("full", None, 90.0),
        ("random", 0.5, 88.0),
        ("fewer-epochs", 0.5, 88.5),
        ("orderdp", 0.5, 89.9),
        ("repb", 0.5, 80.0),
    )
    return [
        a_run(method, ratio, seed, metric + 0.3 * seed + 0.01 * (len(method) * seed % 5), **other)
        for seed in range(seeds)
        for method, ratio, metric in rows
    ]


def written(records: list[dict[str, Any]], folder: Path) -> Path:
    """Return the folder, with the runs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    (folder / "runs.jsonl").write_text(lines, encoding="utf-8")
    return folder


def with_samples(records: list[dict[str, Any]], folder: Path, size: int = SAMPLES) -> None:
    """Keep samples of every row: the lower the id, the oftener trained and the more suspected."""
    for record in records:
        num = len(record["epochs"])
        visits = np.linspace(num, 0, size).round().astype(np.uint16)
        if record["config"]["method"] in ("full", "fewer-epochs"):
            visits = np.full(size, num, np.uint16)
        file = io.BytesIO()
        np.savez_compressed(
            file,
            visits=visits,
            excess=np.where(visits > 0, np.linspace(3, -1, size), np.nan).astype(np.float16),
            seed=np.int64(record["config"]["seed"]),
            epochs=np.int64(num),
        )
        text = base64.b64encode(file.getvalue()).decode("ascii")
        kept.stored({**record, "samples": text}, folder)
