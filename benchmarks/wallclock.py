"""Is the time really saved? A small ResNet on Fashion-MNIST, all data against half of it pruned.

    python benchmarks/wallclock.py

Full training is a plain loop over a plain DataLoader, without Thresher. It and the pruned runs take
turns epoch by epoch in one process; evaluation is left out. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from parts.common import Line, environment, show, write
from torch.utils.data import DataLoader

import thresher
from thresher.bench.images import Images, whole_batch
from thresher.bench.run import load
from thresher.bench.tasks import Task, task

_RESULTS = Path(__file__).parent / "results"
_WARM_UP = 2  # epochs: kernels are built, and methods that need scores train on everything

METHODS: dict[str, Callable[[float], thresher.methods.Method]] = {
    "Random": lambda p: thresher.RandomPruning(prune_ratio=p),
    "InfoBatch": lambda p: thresher.InfoBatch(prune_ratio=p),
    "RePB": lambda p: thresher.RePB(prune_ratio=p),
    "OrderDP": lambda p: thresher.OrderDP(prune_ratio=p),
    "Omission": lambda p: thresher.Omission(prune_ratio=p),
}


@dataclass
class Run:
    """One training run, and what its epochs took: (samples, wall seconds, CPU seconds)."""

    task: Task
    images: Images
    pruner: thresher.Pruner | None
    epochs: list[tuple[int, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        budget = self.task.budget
        self.model = self.task.model.build().to(memory_format=torch.channels_last)
        self.data = self.task.training_set(self.images, seed=0)
        self.loader: Any = DataLoader(
            self.data, budget.batch_size, shuffle=True, collate_fn=whole_batch
        )
        if self.pruner is not None:
            self.loader = self.pruner.wrap(self.loader)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=budget.learning_rate,
            momentum=budget.momentum,
            weight_decay=budget.weight_decay,
            nesterov=True,
        )

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch; planning and closing are in its time."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.data.start_epoch(epoch)
        trained = self._plain_epoch() if self.pruner is None else self._pruned_epoch(self.pruner)
        done = (trained, time.perf_counter() - wall, time.process_time() - cpu)
        if epoch >= _WARM_UP:
            self.epochs.append(done)

    def _plain_epoch(self) -> int:
        trained = 0
        for x, y in self.loader:
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            trained += len(y)
        return trained

    def _pruned_epoch(self, pruner: thresher.Pruner) -> int:
        trained = 0
        needs_norm = "logit_grad_norm" in pruner.method.needs
        for x, y in self.loader:
            logits = self.model(x)
            losses = F.cross_entropy(logits, y, reduction="none")
            scores = thresher.scores.logit_grad_norm(logits, y) if needs_norm else None
            loss = pruner.reduce(losses, scores=scores)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            trained += len(y)
        return trained


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--data", help="its folder, if it is not in the usual place")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--prune-ratio", type=float, default=0.5)
    parser.add_argument("--repetitions", type=int, default=6, help="measured epochs of each run")
    parser.add_argument("--out", type=Path, default=_RESULTS / "wallclock.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = environment()
    chosen = task(given.task)
    images = load(chosen, given.data)
    runs = {"full, plain loop": Run(chosen, images, None)}
    for name in given.methods:
        # So many epochs that warm-up and annealing hardly raise the rate of the others.
        pruner = thresher.Pruner(METHODS[name](given.prune_ratio), epochs=1000)
        runs[name] = Run(chosen, images, pruner)
    for epoch in range(_WARM_UP + given.repetitions):
        order = list(runs.values())
        for run in order if epoch % 2 else order[::-1]:
            run.train_epoch(epoch)
    full = runs.pop("full, plain loop")
    lines = [_line(name, run, full) for name, run in runs.items()]
    show(f"5. Time saved on {chosen.title}: time ratio over sample ratio", lines)
    settings = {key: str(value) for key, value in vars(given).items() if key not in ("out", "data")}
    write(given.out, lines, before, settings)


def _line(name: str, run: Run, full: Run) -> Line:
    samples = [[epoch[0] for epoch in each.epochs] for each in (full, run)]
    # Per trained sample, so that epochs of different lengths can be compared.
    wall, cpu = (
        [[epoch[kind] / epoch[0] for epoch in each.epochs] for each in (full, run)]
        for kind in (1, 2)
    )
    sample_ratio = statistics.mean(samples[0]) / statistics.mean(samples[1])
    kept = min(cpu[0]) / min(cpu[1])
    return Line(
        "5 time saved",
        name,
        kept,
        "",
        0.97,
        at_least=True,
        more={
            "median of pairs": statistics.median(a / b for a, b in zip(*cpu, strict=True)),
            "wall, least": min(wall[0]) / min(wall[1]),
            "wall, median of pairs": statistics.median(a / b for a, b in zip(*wall, strict=True)),
            "samples full/pruned": sample_ratio,
            "CPU time full/pruned": sample_ratio * kept,
            "full s/epoch": min(wall[0]) * samples[0][0],
        },
    )


if __name__ == "__main__":
    main()
