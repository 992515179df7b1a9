"""The task of `by_hand` as Lightning trains it, in one process or as a rank of several."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Epochs, Trained
from thresher import Method, Pruner
from thresher.integrations.lightning import DataPruning, reduce


class Classifier(L.LightningModule):
    """Notes which samples it is trained on, and how each epoch ends."""

    def __init__(self, *, leaves_epoch: int | None = None) -> None:
        super().__init__()
        self.net = by_hand.network()
        self.batches, self.rates, self.leftover = Epochs(), list[float](), 0.0
        self.lengths = list[int]()
        self._leaves_epoch, self._begins = leaves_epoch, False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        ids, x, y = batch
        self.batches.setdefault(self.current_epoch, []).append(ids.tolist())
        return reduce(self, by_hand.losses_of(self.net, x, y))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        _, x, y = batch
        losses = by_hand.losses_of(self.net, x, y)
        assert reduce(self, losses) == losses.mean(), "nothing is pruned in validation"

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer, schedule = by_hand.optimizer_of(self, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_backward(self, loss: Tensor) -> None:
        # Lightning clears gradients before the backward pass of the first batch of a step.
        if self._begins:
            self._begins = False
            self.leftover = max(self.leftover, by_hand.largest_gradient(self.net))

    def on_train_epoch_start(self) -> None:
        self._begins = True
        self.lengths.append(int(self.trainer.num_training_batches))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == self._leaves_epoch and batch_idx == 2 else None

    def on_train_epoch_end(self) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])


def quietly() -> None:
    """Silence what Lightning says of so small a run; other warnings are errors."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers",
        ".*number of training batches .* is smaller than the logging interval",
        ".*treespec, LeafSpec",
        ".*`isinstance\\(treespec, LeafSpec\\)`",
        ".*Checkpoint directory .* exists and is not empty",
        ".*Be aware that when using `ckpt_path`",
        ".*You requested to overfit",
        ".*You defined a `validation_step` but have no `val_dataloader`",
    ):
        warnings.filterwarnings("ignore", message)


def as_torchrun_does() -> int:
    """Tell Lightning which rank this is; return of how many."""
    if not dist.is_initialized():
        return 1
    rank, size = str(dist.get_rank()), str(dist.get_world_size())
    os.environ.update(RANK=rank, LOCAL_RANK=rank, GROUP_RANK="0", TORCHELASTIC_RUN_ID="test")
    os.environ.update(WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29400")
    return int(size)


def fit(
    accumulation: int = 1,
    *,
    folder: str | None = None,
    saves: dict[str, Any] | None = None,
    resumed: str | None = None,
    method: Method | None = None,
    shard: bool = False,
    pruner: Pruner | None = None,
    module: Classifier | None = None,
    pruning: dict[str, Any] | None = None,
    callbacks: list[Any] | None = None,
    loader: Any = None,
    validates: bool = False,
    **trainer: Any,
) -> Trained:
    """Train to the end, from the beginning or from a checkpoint."""
    quietly()
    size = as_torchrun_does()
    module = module or Classifier()
    pruner = pruner or by_hand.pruner_of(accumulation, method, shard=shard)
    callbacks = [DataPruning(pruner, **(pruning or {})), *(callbacks or [])]
    if saves is not None:
        name = "{epoch}-{step}"
        callbacks.append(ModelCheckpoint(dirpath=folder, filename=name, save_top_k=-1, **saves))
    settings: dict[str, Any] = {
        "max_epochs": EPOCHS,
        "accumulate_grad_batches": accumulation,
        "accelerator": "cpu",
        "devices": size,
        "strategy": "ddp" if size > 1 else "auto",
        "logger": False,
        "enable_checkpointing": saves is not None,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    fitter = L.Trainer(callbacks=callbacks, **{**settings, **trainer})
    train = DataLoader(by_hand.data(), BATCH, shuffle=True) if loader is None else loader
    held_out = DataLoader(by_hand.data(), 10) if validates else None
    fitter.fit(module, train, held_out, ckpt_path=resumed)
    return by_hand.trained(module.batches, pruner, module.rates, module.net, module.leftover)


def on_rank(rank: int, accumulation: int, options: dict[str, Any]) -> Trained:
    """`fit` as a rank of several."""
    return fit(accumulation, **options)


def saved(folder: str | Path) -> list[str]:
    """The checkpoints of a run, in the order they were saved."""
    return [str(path) for path in sorted(Path(folder).glob("*.ckpt"), key=_step)]


def _step(path: Path) -> tuple[int, int]:
    parts = dict(part.split("=") for part in path.stem.split("-") if "=" in part)
    return int(parts["step"]), int(parts["epoch"])
