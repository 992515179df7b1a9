"""Fabric leaves a wrapped loader alone: a loop by its guide trains the planned samples."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Epochs, Trained, designed, require_same
from parallel.processes import preload, succeed

preload("lightning")


def fit(
    accumulation: int = 1,
    *,
    path: str = "",
    stops: tuple[int, int] | None = None,
    resumes: bool = False,
    **setup: Any,
) -> Trained:
    """Train with Fabric; save, or resume, after (epoch, batches)."""
    size = dist.get_world_size() if dist.is_initialized() else 1
    if size > 1:
        rank = str(dist.get_rank())
        os.environ.update(RANK=rank, LOCAL_RANK=rank, GROUP_RANK="0", TORCHELASTIC_RUN_ID="test")
        os.environ.update(WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29402")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec")
    warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\)")
    fabric = L.Fabric(accelerator="cpu", devices=size, strategy="ddp" if size > 1 else "auto")
    fabric.launch()
    pruner, net = by_hand.pruner_of(accumulation), by_hand.network()
    steps = by_hand.steps_of(BATCH * size, accumulation)
    optimizer, schedule = by_hand.optimizer_of(net, steps)
    scheduler = pruner.pace(schedule)
    loader = pruner.wrap(DataLoader(by_hand.data(), BATCH, shuffle=True))
    model, optimizer = fabric.setup(net, optimizer)
    loader = fabric.setup_dataloaders(loader, **setup)
    batches, rates, leftover = Epochs(), list[float](), 0.0
    if resumes:
        state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        rest = fabric.load(path, state)
        pruner.load_state_dict(rest["pruner"])
    for epoch in range(pruner.epoch, EPOCHS):
        length, done = len(loader), -(-pruner.position // BATCH)
        for number, (ids, x, y) in enumerate(loader, done + 1):
            batches.setdefault(epoch, []).append(ids.tolist())
            is_step = number % accumulation == 0 or number == length
            with fabric.no_backward_sync(model, enabled=not is_step):
                loss = pruner.reduce(by_hand.losses_of(model, x, y))
                fabric.backward(loss / accumulation)
            if is_step:
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
            if (epoch, number) == stops:
                whole = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
                fabric.save(path, {**whole, "pruner": pruner.state_dict(gather=True)})
        rates.append(optimizer.param_groups[0]["lr"])
        leftover = max(leftover, by_hand.largest_gradient(net))
    return by_hand.trained(batches, pruner, rates, net, leftover)


def on_rank(rank: int, runs: list[dict[str, Any]]) -> list[Trained]:
    return [fit(**arguments) for arguments in runs]


def fits(size: int, *runs: dict[str, Any]) -> list[list[Trained]]:
    """The ranks of each run."""
    if size == 1:
        return [[fit(**arguments)] for arguments in runs]
    return [list(ranks) for ranks in zip(*succeed(on_rank, size, list(runs)), strict=True)]


@pytest.mark.parametrize("size", [1, 2])
def test_it_trains_what_a_hand_written_loop_does(size: int) -> None:
    cases = [(accumulation, setup) for accumulation in (1, 3) for setup in (True, False)]
    runs = fits(
        size,
        *[{"accumulation": many, "use_distributed_sampler": setup} for many, setup in cases],
    )
    for (accumulation, _), ranks in zip(cases, runs, strict=True):
        whole = by_hand.by_hand(BATCH * size, accumulation)
        rates = designed(BATCH * size, accumulation)
        require_same(ranks, whole, rates=rates, exact=size == 1)


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_saved_within_an_epoch_continues_with_the_very_next_batch(
    size: int, tmp_path: Path
) -> None:
    path = str(tmp_path / "state.ckpt")
    whole, late = fits(size, {"path": path, "stops": (2, 2)}, {"path": path, "resumes": True})
    for ours, theirs in zip(late, whole, strict=True):
        assert ours.batches[2] == theirs.batches[2][2:]
        assert [ours.batches[epoch] for epoch in (3, 4)] == [theirs.batches[e] for e in (3, 4)]
        assert ours.rates == theirs.rates[2:]
        assert torch.equal(ours.weights, theirs.weights)
