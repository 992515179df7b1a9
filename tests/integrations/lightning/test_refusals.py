"""What a Trainer may not be told if its epochs are planned is refused when a fit begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.data import _update_dataloader
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateFinder
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS
from integrations.lightning.runs import Classifier, fit, on_rank, saved
from parallel.processes import Raised, on_ranks, preload
from streams.streams import Numbers, Scores
from thresher import Pruner, RandomPruning
from thresher.errors import (
    AlreadyWrappedError,
    CheckpointError,
    IterableDatasetError,
    LoaderReplacedError,
    SamplerError,
    SettingError,
    ThresherWarning,
)
from thresher.online import OrderedTopQ

preload("lightning")

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "overfitting": ({"overfit_batches": 2}, r"overfit_batches=2\).*Subset"),
    "a limit": ({"limit_train_batches": 3}, r"limit_train_batches=3\).*Subset"),
    "a share": ({"limit_train_batches": 0.5}, r"limit_train_batches=0.5\).*Subset"),
    "reloading": ({"reload_dataloaders_every_n_epochs": 1}, "one data set for the whole run"),
    "a number of batches": ({"val_check_interval": 3}, "may have fewer.*such as 0.5"),
    "accumulation": ({"accumulate_grad_batches": 2}, r"Set Pruner\(accumulation_steps=2\)"),
    "a search": ({"callbacks": [LearningRateFinder()]}, "LearningRateFinder.*without DataPruning"),
    "a schedule of it": (
        {"callbacks": [GradientAccumulationScheduler({0: 1, 2: 2})]},
        "one number for the whole run",
    ),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_a_setting_that_planned_epochs_do_not_allow_is_refused_by_name(setting: str) -> None:
    options, message = REFUSED[setting]
    with pytest.raises(SettingError, match=message):
        fit(**options)


def test_a_stream_is_refused() -> None:
    class Unscheduled(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    pruner = Pruner(OrderedTopQ(), epochs=EPOCHS)
    stream = DataLoader(Numbers(range(9)), BATCH)
    given: dict[str, Any] = {"loader": stream, "pruning": {"score_fn": Scores()}}
    with pytest.raises(IterableDatasetError, match=r"no sample ids.*in Lightning.*your own"):
        fit(pruner=pruner, module=Unscheduled(), **given)


def test_a_number_of_epochs_that_is_not_the_pruners_is_warned_of() -> None:
    with pytest.warns(ThresherWarning, match=r"max_epochs=2\) with Pruner\(epochs=5\)"):
        fit(max_epochs=2)


def test_a_trial_of_one_batch_is_allowed() -> None:
    run = fit(fast_dev_run=True)
    assert [len(batches) for batches in run.batches.values()] == [1]


class Rarely(Classifier):
    def configure_optimizers(self) -> Any:
        configured = super().configure_optimizers()
        configured["lr_scheduler"]["frequency"] = 2
        return configured


def test_a_scheduler_that_is_stepped_now_and_then_is_refused() -> None:
    with pytest.raises(SettingError, match=r"every 2 batches.*estimated_stepping_batches"):
        fit(module=Rarely())


def test_a_number_of_steps_that_only_repeated_samples_make_is_refused() -> None:
    # On two ranks 53 are 27 each, which are three batches of 9; but they are two of 18 and 17.
    for batch_size, refused in ((BATCH, False), (9, True)):
        loader = DataLoader(by_hand.data(), batch_size, shuffle=True, drop_last=True)
        for each in on_ranks(on_rank, 2, 1, {"loader": loader}):
            assert isinstance(each, Raised) == refused
            assert not refused or "3 batches on each of 2 ranks" in each.message


def test_several_loaders_are_refused() -> None:
    loaders = {name: DataLoader(by_hand.data(), BATCH) for name in "ab"}
    with pytest.raises(SamplerError, match=r"a dict.*concatenate"):
        fit(loader=loaders)


def test_a_loader_that_is_wrapped_already_is_refused() -> None:
    pruner = by_hand.pruner_of()
    loader = pruner.wrap(DataLoader(by_hand.data(), BATCH))
    with pytest.raises(AlreadyWrappedError, match="the loader you built"):
        fit(pruner=pruner, loader=loader)


def test_a_checkpoint_without_the_pruner_is_refused(tmp_path: Path) -> None:
    saves = {"every_n_epochs": 1, "save_weights_only": False}
    fit(folder=str(tmp_path), saves=saves, callbacks=[Forgetful()])
    with pytest.raises(CheckpointError, match="begins in epoch 1, the pruner in epoch 0"):
        fit(resumed=saved(tmp_path)[0])


class Stops(L.Callback):
    """Stops a fit by an exception."""

    trainer: Any = None

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        self.trainer = trainer
        raise InterruptedError


def test_a_fit_that_was_stopped_leaves_the_trainer_as_it_was() -> None:
    stops = Stops()
    with pytest.raises(InterruptedError):
        fit(callbacks=[stops])
    assert stops.trainer.reload_dataloaders_every_n_epochs == 0


class Forgetful(L.Callback):
    """Makes checkpoints as a run without a pruner does."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        del checkpoint["callbacks"]["DataPruning"]


def test_lightning_leaves_the_wrapped_loader_alone_or_is_told_the_switch() -> None:
    loader = Pruner(RandomPruning(prune_ratio=0.5), epochs=EPOCHS).wrap(
        DataLoader(by_hand.data(), BATCH)
    )
    assert isinstance(loader.sampler, DistributedSampler), "which Lightning never replaces"
    with pytest.raises(LoaderReplacedError, match=r"Lightning rebuilt.*DataPruning"):
        _update_dataloader(loader, SequentialSampler(by_hand.data()))
