"""Is the time really saved? A small ResNet on Fashion-MNIST, all data against half of it pruned.

    python benchmarks/wallclock.py

Full training is a plain loop over a plain DataLoader, without Thresher. It and the pruned runs take
turns, some batches each, in one process; evaluation is left out. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from parts.common import Line, environment, show, write
from torch import Tensor
from torch.utils.data import DataLoader

import thresher
from thresher.bench.images import Images, whole_batch
from thresher.bench.run import load
from thresher.bench.tasks import Task, task

_RESULTS = Path(__file__).parent / "results"
_WARM_UP = 2  # epochs: kernels are built, and methods that need scores train on everything
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
    """One training run, and what each epoch took: (samples, wall seconds, CPU seconds)."""

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
        self._steps = self._train()

    def train(self, steps: int) -> None:
        """Train some batches; what an epoch's beginning and end cost is in its time."""
        for _ in range(steps):
            next(self._steps)

    def clock(self) -> tuple[float, float]:
        """Return the wall and CPU seconds so far."""
        return time.perf_counter(), time.process_time()

    def _train(self) -> Iterator[None]:
        step = self._plain_step if self.pruner is None else self._pruned_step
        for epoch in itertools.count():
            samples, wall, cpu = 0, 0.0, 0.0
            last = self.clock()
            self.data.start_epoch(epoch)
            batches = iter(self.loader)
            while True:
                batch = next(batches, None)
                if batch is not None:
                    step(*batch).backward()
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    samples += len(batch[1])
                now = self.clock()
                wall, cpu = wall + now[0] - last[0], cpu + now[1] - last[1]
                if batch is None:
                    break
                yield
                last = self.clock()
            self.epochs.append((samples, wall, cpu))

    def _plain_step(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.model(x), y)

    def _pruned_step(self, x: Tensor, y: Tensor) -> Tensor:
        assert self.pruner is not None
        logits = self.model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        needs_norm = "logit_grad_norm" in self.pruner.method.needs
        scores = thresher.scores.logit_grad_norm(logits, y) if needs_norm else None
        return self.pruner.reduce(losses, scores=scores)

    def totals(self) -> tuple[int, float, float]:
        """Return samples, wall and CPU seconds of the whole epochs after the warm-up."""
        samples, wall, cpu = zip(*self.epochs[_WARM_UP:], strict=True)
        return sum(samples), sum(wall), sum(cpu)


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
    runs = {"full, plain loop": Run(chosen, images, None)}
    for name in given.methods:
        # So many epochs that warm-up and annealing hardly raise the rate of the others.
        pruner = thresher.Pruner(METHODS[name](given.prune_ratio), epochs=1000)
        runs[name] = Run(chosen, images, pruner)
    full = runs["full, plain loop"]
    while len(full.epochs) < _WARM_UP + given.epochs:
        for run in runs.values():
            run.train(_TURN)
    del runs["full, plain loop"]
    lines = [_line(name, run, full) for name, run in runs.items()]
    show(f"5. Time saved on {chosen.title}: time ratio over sample ratio", lines)
    settings = {key: str(value) for key, value in vars(given).items() if key not in ("out", "data")}
    write(given.out, lines, before, settings)


def _line(name: str, run: Run, full: Run) -> Line:
    (full_samples, *full_times), (samples, *times) = full.totals(), run.totals()
    # Per trained sample, so that runs of different lengths can be compared.
    wall, cpu = (
        (whole / full_samples) / (part / samples)
        for whole, part in zip(full_times, times, strict=True)
    )
    epochs = [len(each.epochs) - _WARM_UP for each in (full, run)]
    ratio = (full_samples / epochs[0]) / (samples / epochs[1])
    return Line(
        "5 time saved",
        name,
        cpu,
        "",
        0.97,
        at_least=True,
        more={
            "by wall-clock": wall,
            "samples full/pruned": ratio,
            "time full/pruned": ratio * cpu,
            "s/epoch": times[1] / epochs[1],
            "full s/epoch": full_times[1] / epochs[0],
            "epochs": epochs[1],
        },
    )


if __name__ == "__main__":
    main()
