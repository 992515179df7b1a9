"""Is the time really saved? A small ResNet on Fashion-MNIST, all data against half of it pruned.

    python benchmarks/wallclock.py

Full training is a plain loop over a plain DataLoader, without Thresher. It and the pruned runs take
turns, some batches each, in one process; evaluation is left out. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from parts.common import Line, environment, show, write
from torch import Tensor
from torch.utils.data import DataLoader

import thresher
from thresher.bench.images import whole_batch
from thresher.bench.run import load
from thresher.bench.tasks import Data, Task, task

_RESULTS = Path(__file__).parent / "results"
_WARM_UP = 2  # epochs: kernels are built, and methods that need scores train on everything
_FULL = "full, plain loop"
_TURN = 8  # batches a run trains before it is the next one's turn

METHODS: dict[str, Callable[[float], thresher.methods.Method]] = {
    "Random": lambda p: thresher.RandomPruning(prune_ratio=p),
    "InfoBatch": lambda p: thresher.InfoBatch(prune_ratio=p),
    "RePB": lambda p: thresher.RePB(prune_ratio=p),
    "OrderDP": lambda p: thresher.OrderDP(prune_ratio=p),
    "Omission": lambda p: thresher.Omission(prune_ratio=p),
}


@dataclass
class Run:
    """One training run, a few batches at a time."""

    task: Task
    images: Data
    pruner: thresher.Pruner | None
    epochs: int = 0

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
        self._steps = self._train()

    def train(self, steps: int) -> tuple[int, float, float]:
        """Train some batches; return their samples, wall and CPU seconds.

        What the end of an epoch and the beginning of the next cost is in the time.
        """
        samples, wall, cpu = 0, time.perf_counter(), time.process_time()
        for _ in range(steps):
            samples += next(self._steps)
        return samples, time.perf_counter() - wall, time.process_time() - cpu

    def _train(self) -> Iterator[int]:
        step = self._plain_step if self.pruner is None else self._pruned_step
        for epoch in itertools.count():
            self.data.start_epoch(epoch)
            for x, y in self.loader:
                step(x, y).backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                yield len(y)
            self.epochs += 1

    def _plain_step(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.model(x), y)

    def _pruned_step(self, x: Tensor, y: Tensor) -> Tensor:
        assert self.pruner is not None
        logits = self.model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        needs_norm = "logit_grad_norm" in self.pruner.method.needs
        scores = thresher.scores.logit_grad_norm(logits, y) if needs_norm else None
        return self.pruner.reduce(losses, scores=scores)


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--data", help="its folder, if it is not in the usual place")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--prune-ratio", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=4, help="measured epochs of full training")
    parser.add_argument("--out", type=Path, default=_RESULTS / "wallclock.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = environment()
    chosen = task(given.task)
    images = load(chosen, given.data)
    runs = {_FULL: Run(chosen, images, None)}
    for name in given.methods:
        # So many epochs that warm-up and annealing hardly raise the rate of the others.
        pruner = thresher.Pruner(METHODS[name](given.prune_ratio), epochs=1000)
        runs[name] = Run(chosen, images, pruner)
    while min(run.epochs for run in runs.values()) < _WARM_UP:
        for run in runs.values():
            run.train(_TURN)
    turns: dict[str, list[tuple[int, float, float]]] = {name: [] for name in runs}
    end = runs[_FULL].epochs + given.epochs
    while runs[_FULL].epochs < end:
        for name, run in runs.items():
            turns[name].append(run.train(_TURN))
    full = turns.pop(_FULL)
    size = len(images.train_labels)
    lines = [_line(name, turns[name], full, runs[name], size) for name in turns]
    show(f"5. Time saved on {chosen.title}: time ratio over sample ratio", lines)
    settings = {key: str(value) for key, value in vars(given).items() if key not in ("out", "data")}
    write(given.out, lines, before, settings)


def _line(
    name: str,
    turns: list[tuple[int, float, float]],
    full: list[tuple[int, float, float]],
    run: Run,
    size: int,
) -> Line:
    assert run.pruner is not None
    rows = [row for row in run.pruner.report().rows[_WARM_UP:] if row.planned == row.trained]
    ratio = size / statistics.mean(row.trained for row in rows)
    # Per trained sample: the turns of all runs have about as many.
    per_sample = [
        [sum(turn[kind] for turn in each) / sum(turn[0] for turn in each) for each in (full, turns)]
        for kind in (1, 2)
    ]
    wall, cpu = (whole / part for whole, part in per_sample)
    pairs = [(a[2] / a[0]) / (b[2] / b[0]) for a, b in zip(full, turns, strict=True)]
    return Line(
        "5 time saved",
        name,
        cpu,
        "",
        0.97,
        at_least=True,
        more={
            "median of turns": statistics.median(pairs),
            "by wall-clock": wall,
            "samples full/pruned": ratio,
            "time full/pruned": ratio * cpu,
            "planning and closing s/epoch": statistics.mean(
                row.planning_seconds + row.closing_seconds for row in rows
            ),
            "full s/epoch": per_sample[1][0] * size,
        },
    )


if __name__ == "__main__":
    main()
