"""Row 7: time and peak memory of one selection by every static method that is exported.

Each runs in a process of its own. Peak memory is the most that the process held while it selected
(Linux's VmHWM, reset before), less what it held before the data were made: so the data count, which
alone are 4·n·(c + d) bytes. The last rows are what `collect` takes for the scores that need more
than a forward pass.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from parts.common import Line
from parts.scale import memory, reset_peak
from thresher import static
from thresher.static import Collected, StaticMethod, collect

CLASSES = 10
MOST_GIGABYTES = 2.0

COLLECTIONS: dict[str, tuple[str, ...] | None] = {
    "collect": None,
    "collect grand": ("grand",),
    "collect deepfool": ("deepfool",),
}


def found() -> dict[str, type[StaticMethod]]:
    """Return every concrete static method by its name."""
    exported = {name: getattr(static, name) for name in static.__all__}
    return {
        name: kind
        for name, kind in exported.items()
        if inspect.isclass(kind) and issubclass(kind, StaticMethod) and not inspect.isabstract(kind)
    }


def made_up(num_samples: int, num_features: int, needs: tuple[str, ...]) -> Collected:
    """Return what a classifier of noisy classes would say; scores it does not imply are random."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (num_samples,), generator=generator)
    # One model for any number of samples, so that held-out ones are of the same kind.
    centres = torch.randn(CLASSES, num_features, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(num_samples, num_features, generator=generator)
    features = noise.add_(centres[labels], alpha=0.3).relu_()
    logits = features @ centres.T * (8 / num_features**0.5)
    data = Collected(
        labels=labels,
        num_classes=CLASSES,
        features=features,
        probabilities=logits.softmax(1),
    )
    unknown = [name for name in needs if name != "validation" and not data.has(name)]
    scores = {name: torch.rand(num_samples, generator=generator) for name in unknown}
    return replace(data, scores=scores)


def child(name: str, num_samples: int, num_features: int, prune_ratio: float) -> dict[str, float]:
    """Select, or collect, in this process; return what it cost."""
    torch.set_num_threads(1)
    warm_up()
    before = memory("VmRSS")
    run = _collection(name, num_samples, num_features) if name in COLLECTIONS else None
    if run is None:
        method = found()[name]()
        data = made_up(num_samples, num_features, method.wants())
        data = replace(data, validation=made_up(num_samples // 10, num_features, ()))

        def run() -> Any:
            return method.select(data, prune_ratio=prune_ratio)

    held = memory("VmRSS")
    reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": (memory("VmHWM") - before) / 1e9,
        "data": (held - before) / 1e9,
    }


def _collection(name: str, num_samples: int, num_features: int) -> Callable[[], Any]:
    data = made_up(num_samples, num_features, ())
    assert data.features is not None
    assert data.labels is not None
    model = torch.nn.Sequential(
        torch.nn.Linear(num_features, 256), torch.nn.ReLU(), torch.nn.Linear(256, CLASSES)
    )
    loader = DataLoader(TensorDataset(data.features, data.labels), batch_size=256)
    return lambda: collect(model, loader, needs=COLLECTIONS[name])


def warm_up() -> None:
    """Load what torch loads at its first use, so that it is in no method's account."""
    for kind in found().values():
        method = kind()
        data = replace(made_up(200, 8, method.wants()), validation=made_up(50, 8, ()))
        method.select(data, prune_ratio=0.5)


def measure(num_samples: int, num_features: int, prune_ratio: float, only: list[str]) -> list[Line]:
    """Return a line a method."""
    lines: list[Line] = []
    for name in only:
        script = str(Path(sys.argv[0]).resolve())
        sizes = (str(num_samples), str(num_features), str(prune_ratio))
        done = subprocess.run(
            [sys.executable, script, "--child", name, *sizes], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stderr}")
        cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        more = {
            "wall s": cost["wall"],
            "CPU s": cost["cpu"],
            "data GB": cost["data"],
            "cost": "collecting" if name in COLLECTIONS else found()[name].cost,
        }
        lines.append(Line("7 static", name, cost["peak"], "GB", MOST_GIGABYTES, more=more))
        print(f"{name}: {cost['wall']:.1f} s, {cost['peak']:.2f} GB", file=sys.stderr)
    return lines
