"""A training script that may be killed at any moment and started again.

What a user writes: model with dropout, augmentation seeded by (seed, epoch, id), a paced schedule,
and a checkpoint every few steps. Beside it a log of every plan and every step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset

import thresher
from thresher import Method, Pruner
from thresher.scores import named, scoring

METHODS: dict[str, Method] = {
    "RePB": thresher.RePB(prune_ratio=0.4, window=2),
    "InfoBatch": thresher.InfoBatch(prune_ratio=0.2),
    "OrderDP": thresher.OrderDP(prune_ratio=0.4),
    "Omission": thresher.Omission(prune_ratio=0.4),
    "KAKURENBO": thresher.KAKURENBO(prune_ratio=0.3, tau=0.4),
    "SelectiveBackprop": thresher.online.SelectiveBackprop(prune_ratio=0.4),
}

NUM_SAMPLES = 120
BATCH_SIZE = 8
EPOCHS = 16
STEPS_PER_SAVE = 3

Mark = Callable[[str], None]


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise and flips that depend on (seed, epoch, id), and so survive a restart."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(11)
        self.x = torch.randn(NUM_SAMPLES, 6, generator=generator)
        self.y = (self.x[:, :3].sum(1) > 0).long() + (self.x[:, 3] > 1).long()
        self.epoch = 0

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed((7 * 1000 + self.epoch) * NUM_SAMPLES + index)
        x = self.x[index] + 0.2 * torch.randn(6, generator=random)
        return (x.flip(0) if torch.rand((), generator=random) < 0.2 else x), self.y[index]


class Training:
    """The script's objects; everything of them that has state is saved."""

    def __init__(self, method: str, num_workers: int) -> None:
        torch.manual_seed(5)
        self.data = Augmented()
        self.model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        plain = DataLoader(self.data, BATCH_SIZE, shuffle=True, num_workers=num_workers)
        schedule = OneCycleLR(self.optimizer, 0.02, total_steps=EPOCHS * len(plain))
        self.pruner = Pruner(METHODS[method], epochs=EPOCHS, seed=1)
        self.loader: Any = self.pruner.wrap(plain, score_fn=scoring(self.model, self.score))
        self.scheduler = self.pruner.pace(schedule)
        self.step = 0

    def score(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return self.scores(model(batch[0]), batch[1])

    def scores(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        losses = F.cross_entropy(logits, y, reduction="none")
        return dict(named(self.pruner.method.needs, logits, y, losses))

    def train(self, x: Tensor, y: Tensor) -> float:
        logits = self.model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        needs = self.pruner.method.needs
        scores = None if set(needs) <= {"loss"} else self.scores(logits, y)
        loss = self.pruner.reduce(losses, scores=scores)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.step += 1
        return loss.item()

    def others(self) -> dict[str, Any]:
        """Everything but the pruner."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
            "step": self.step,
        }

    def restore(self, others: dict[str, Any]) -> None:
        self.model.load_state_dict(others["model"])
        self.optimizer.load_state_dict(others["optimizer"])
        self.scheduler.load_state_dict(others["scheduler"])
        torch.set_rng_state(others["random"])
        self.step = others["step"]


class OneFile:
    """All in one file that is written beside the last one and renamed over it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoint.pt"

    def save(self, training: Training) -> None:
        draft = self.path.with_suffix(".draft")
        torch.save({**training.others(), "pruner": training.pruner.state_dict()}, draft)
        draft.replace(self.path)

    def load(self, training: Training) -> None:
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            training.pruner.load_state_dict(state.pop("pruner"))
            training.restore(state)


class Folders:
    """A folder a checkpoint, with `pruner.save` in it, whose name is whole when its content is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoints"

    def save(self, training: Training) -> None:
        draft, done = self.folder / "draft", self.folder / f"step-{training.step:06}"
        draft.mkdir(parents=True, exist_ok=True)
        training.pruner.save(draft / "pruner.pt")
        torch.save(training.others(), draft / "others.pt")
        if not done.exists():
            draft.rename(done)

    def load(self, training: Training) -> None:
        for newest in sorted(self.folder.glob("step-*"))[-1:]:
            training.pruner.load(newest / "pruner.pt")
            training.restore(torch.load(newest / "others.pt", weights_only=True))


class Log:
    """Steps that outlive the process, and plans that outlive the machine; a file a life."""

    def __init__(self, folder: Path) -> None:
        self.number = len(list(folder.glob("log-*")))
        self.file = (folder / f"log-{self.number:03}").open("x")

    def write(self, **entry: Any) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        if "ids" in entry:
            os.fsync(self.file.fileno())


def main(
    mark: Mark,
    folder: str,
    method: str,
    layout: str = "OneFile",
    num_workers: int = 0,
    forgets_randomness: bool = False,
) -> None:
    """Train to the end from wherever an earlier life of the script stopped."""
    mark("start")
    torch.set_num_threads(1)
    training = Training(method, num_workers)
    checkpoints = {"OneFile": OneFile, "Folders": Folders}[layout](Path(folder))
    checkpoints.load(training)
    if forgets_randomness:
        torch.manual_seed(6)
    log, pruner = Log(Path(folder)), training.pruner
    for epoch in range(pruner.epoch, EPOCHS):
        training.data.epoch = epoch
        is_logged = pruner.method.family == "online"  # its batches are all that can be logged
        for x, y in training.loader:
            ids = training.loader.batch_ids.tolist()
            mark("step")
            loss = training.train(x, y)
            mark("log")
            if not is_logged:
                plan, is_logged = pruner.plan(epoch), True
                log.write(epoch=epoch, ids=plan.ids.tolist(), weights=plan.weights.tolist())
            log.write(step=training.step, epoch=epoch, batch=ids, loss=loss.hex())
            if training.step % STEPS_PER_SAVE == 0:
                mark("save")
                checkpoints.save(training)
            mark("fetch")
    mark("end")
    torch.save({**training.others(), "pruner": pruner.state_dict()}, Path(folder) / "final.pt")
