"""Row 5 of the budgets: is the time saved when the samples are? Training loops, no evaluation.

    python benchmarks/wallclock.py                 # Fashion-MNIST, 50 % pruned; a few minutes
    python benchmarks/wallclock.py --epochs 4      # quicker and noisier

One run trains the task's small ResNet in full through a *plain* DataLoader, without any Thresher in
the loop, and once with each method at the same prune ratio, on one thread. All take turns, an epoch
each, in an order that rotates, so that a busy machine disturbs all alike. A method passes if

    (time full / time pruned) >= 0.97 x (samples full / samples pruned)

with everything in its time: planning, closing, scoring, weighting. Processor time decides, because
it does not count what other processes take; wall-clock time is shown beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import thresher
from thresher.bench.images import Images, TrainingSet, whole_batch
from thresher.bench.tasks import Task, task

sys.path.insert(0, str(Path(__file__).parent))
from parts.common import Line, environment, show, write

BOUND = 0.97
METHODS: dict[str, Callable[[float], thresher.Method]] = {
    "RandomPruning": lambda ratio: thresher.RandomPruning(prune_ratio=ratio),
    "InfoBatch": lambda ratio: thresher.InfoBatch(prune_ratio=ratio),
    "RePB": lambda ratio: thresher.RePB(prune_ratio=ratio),
    "OrderDP": lambda ratio: thresher.OrderDP(prune_ratio=ratio),
    "Omission": lambda ratio: thresher.Omission(prune_ratio=ratio),
}


@dataclass
class Spent:
    """What a subject has cost so far."""

    wall: float = 0.0
    processor: float = 0.0
    samples: int = 0


class Subject:
    """A model in training, in full and plainly (no method) or pruned."""

    def __init__(
        self, task: Task, images: Images, epochs: int, method: thresher.Method | None
    ) -> None:
        self.spent = Spent()
        self.data: TrainingSet = task.training_set(images, 0)
        self.loader: Any = DataLoader(
            self.data, task.budget.batch_size, shuffle=True, collate_fn=whole_batch
        )
        torch.manual_seed(0)
        self.model = task.model.build()
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=task.budget.learning_rate, momentum=0.9, nesterov=True
        )
        self.scheduler: Any = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, task.budget.learning_rate, total_steps=epochs * len(self.loader)
        )
        self.pruner = None
        if method is not None:
            self.pruner = thresher.Pruner(method, epochs=epochs)
            self.loader = self.pruner.wrap(self.loader)
            self.scheduler = self.pruner.pace(self.scheduler)
            self.scored = "logit_grad_norm" in method.needs

    def train(self, epoch: int, *, is_counted: bool = True) -> None:
        """Train one epoch, and count what it cost."""
        self.data.start_epoch(epoch)
        self.model.train()
        step = self._plain if self.pruner is None else self._pruned
        wall, processor, samples = time.perf_counter(), time.process_time(), 0
        for images, labels in self.loader:
            step(images, labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()
            samples += len(labels)
        if is_counted:
            self.spent.wall += time.perf_counter() - wall
            self.spent.processor += time.process_time() - processor
            self.spent.samples += samples

    def _plain(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.model(images), labels)

    def _pruned(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.pruner is not None
        logits = self.model(images)
        losses = F.cross_entropy(logits, labels, reduction="none")
        scores = thresher.scores.logit_grad_norm(logits, labels) if self.scored else None
        return self.pruner.reduce(losses, scores=scores)


def measure(epochs: int, ratio: float) -> list[Line]:
    """Return a line for each method."""
    chosen = task("fashion-mnist")
    images = chosen.load(None)
    # Kernels are chosen and memory is mapped in the first steps, by whoever comes first.
    Subject(chosen, images, epochs, None).train(0, is_counted=False)
    full = Subject(chosen, images, epochs, None)
    pruned = {name: Subject(chosen, images, epochs, make(ratio)) for name, make in METHODS.items()}
    turns = [full, *pruned.values()]
    for epoch in range(epochs):
        for subject in turns[epoch % len(turns) :] + turns[: epoch % len(turns)]:
            subject.train(epoch)
        print(
            f"epoch {epoch + 1} of {epochs}: full took {full.spent.wall:.1f} s so far", flush=True
        )
    lines: list[Line] = []
    for name, subject in pruned.items():
        spent, fewer = subject.spent, full.spent.samples / subject.spent.samples
        faster = full.spent.processor / spent.processor
        lines.append(
            Line(
                "5 time saved",
                name,
                faster / fewer,
                "",
                BOUND,
                at_least=True,
                more={
                    "saved": 1 - 1 / fewer,
                    "samples full / pruned": fewer,
                    "time full / pruned": faster,
                    "by wall clock": full.spent.wall / spent.wall,
                    "seconds": spent.processor,
                    "full": full.spent.processor,
                },
            )
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="of each run (10)")
    parser.add_argument("--prune-ratio", type=float, default=0.5, help="asked of each method (0.5)")
    default = Path(__file__).parent / "results" / "wallclock.json"
    parser.add_argument("--out", type=Path, default=default, help="where the JSON goes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = environment()
    lines = measure(args.epochs, args.prune_ratio)
    show("5 time saved: (time full / pruned) / (samples full / pruned)", lines)
    write(args.out, lines, before, {"epochs": args.epochs, "prune_ratio": args.prune_ratio})


if __name__ == "__main__":
    main()
