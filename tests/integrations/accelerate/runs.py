"""The task of `by_hand` in an Accelerate loop, in one process or as a rank of several."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DataLoaderConfiguration
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Epochs, Trained
from thresher import Pruner
from thresher.integrations.accelerate import pace, wrap


def accelerator_of(accumulation: int = 1, **modes: Any) -> Accelerator:
    """A new one, in a process that may have had another; on ranks as `torchrun` starts them."""
    AcceleratorState._reset_state(reset_partial_state=False)
    GradientState._reset_state()
    PartialState._reset_state()
    if dist.is_initialized():
        rank, size = str(dist.get_rank()), str(dist.get_world_size())
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29401")
    # Of a build without CUDA.
    warnings.filterwarnings("ignore", ".*torch.cuda")
    return Accelerator(
        cpu=True,
        gradient_accumulation_steps=accumulation,
        dataloader_config=DataLoaderConfiguration(**modes),
    )


def fit(
    accumulation: int = 1,
    *,
    folder: str | None = None,
    saves: list[tuple[int, int]] = [],  # noqa: B006 - never changed
    resumed: str | None = None,
    pruner: Pruner | None = None,
    batch_size: int = BATCH,
    schedule_steps: int | None = None,
    **modes: Any,
) -> Trained:
    """Train to the end in the loop of Accelerate's guide; save after (epoch, batches)."""
    accelerator = accelerator_of(accumulation, **modes)
    size = accelerator.num_processes
    pruner = pruner or by_hand.pruner_of(accumulation)
    model, loader = by_hand.network(), DataLoader(by_hand.data(), batch_size, shuffle=True)
    each = batch_size // size if accelerator.split_batches else batch_size
    # The prepared scheduler is stepped once for each process, as the user's script knows.
    calls = 1 if accelerator.split_batches else size
    steps = by_hand.steps_of(each * size, accumulation) * calls
    optimizer, designed = by_hand.optimizer_of(model, steps)
    loader = wrap(accelerator, pruner, loader)
    scheduler: LRScheduler = pace(accelerator, pruner, designed)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    batches, rates, leftover = Epochs(), list[float](), 0.0
    if resumed is not None:
        accelerator.load_state(resumed)
    for epoch in range(pruner.epoch, EPOCHS):
        loader.set_epoch(epoch)  # type: ignore[attr-defined]
        for ids, x, y in loader:
            batches.setdefault(epoch, []).append(ids.tolist())
            with accelerator.accumulate(model):
                loss = pruner.reduce(by_hand.losses_of(model, x, y))
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            if (epoch, len(batches[epoch])) in saves and folder is not None:
                accelerator.save_state(f"{folder}/{epoch}-{len(batches[epoch])}")
        rates.append(optimizer.param_groups[0]["lr"])
        leftover = max(leftover, by_hand.largest_gradient(model))
    return by_hand.trained(batches, pruner, rates, accelerator.unwrap_model(model), leftover)


def on_rank(rank: int, runs: list[dict[str, Any]]) -> list[Trained]:
    """`fit` as a rank of several, a run for each set of arguments."""
    return [fit(**arguments) for arguments in runs]
