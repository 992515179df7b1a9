"""What a Trainer may not be told if its epochs are planned."""

from __future__ import annotations

import warnings
from typing import Any, cast

from torch.utils.data import DataLoader

from thresher.errors import SamplerError, SettingError, ThresherWarning
from thresher.loader import PlannedLoader
from thresher.parallel.ranks import Ranks
from thresher.pruner import Pruner


def require_trainable(trainer: Any, module: Any, pruner: Pruner) -> None:
    """Refuse settings under which a Trainer would not train what is planned.

    Raises:
        SettingError: there are such.
    """
    _require_whole_epochs(trainer)
    _require_same_steps(trainer, module, pruner)
    _require_data_ranks(trainer)


def require_paceable(trainer: Any) -> None:
    """Refuse schedulers that are stepped otherwise than once an optimizer step, or an epoch.

    Raises:
        SettingError: there is one.
    """
    for config in trainer.lr_scheduler_configs:
        if config.interval == "step" and config.frequency != 1:
            raise SettingError(
                f"A scheduler is stepped every {config.frequency} batches",
                "frequency 1 with interval='step', so that it can be paced",
                "Let configure_optimizers return no frequency, and build the scheduler for all "
                "optimizer steps: trainer.estimated_stepping_batches",
            )


def _require_whole_epochs(trainer: Any) -> None:
    if trainer.overfit_batches > 0:
        raise SettingError(
            f"Trainer(overfit_batches={trainer.overfit_batches}) replaces the loader's sampler",
            "overfit_batches=0.0",
            "To overfit on a few samples, train on a torch.utils.data.Subset",
        )
    limit = trainer.limit_train_batches
    if not trainer.fast_dev_run and (isinstance(limit, int) or limit < 1):
        raise SettingError(
            f"Trainer(limit_train_batches={limit}) cuts planned epochs short",
            "limit_train_batches=1.0",
            "To train on a part of the data set, use a torch.utils.data.Subset",
        )
    if trainer.reload_dataloaders_every_n_epochs:
        raise SettingError(
            "Trainer(reload_dataloaders_every_n_epochs="
            f"{trainer.reload_dataloaders_every_n_epochs}) changes the data set",
            "one data set for the whole run, as samples are known by their position in it",
            "Set reload_dataloaders_every_n_epochs=0",
        )
    interval = trainer.val_check_interval
    if isinstance(interval, int) and interval > 1 and trainer.check_val_every_n_epoch is not None:
        raise SettingError(
            f"Trainer(val_check_interval={interval}) is a number of batches, and pruned epochs may "
            "have fewer",
            "a share of the epoch, such as 0.5",
            "To count batches across epochs, set check_val_every_n_epoch=None as well",
        )


def _require_same_steps(trainer: Any, module: Any, pruner: Pruner) -> None:
    settings = pruner.settings
    names = [type(callback).__name__ for callback in trainer.callbacks]
    finders = {"LearningRateFinder", "BatchSizeFinder"} & set(names)
    if finders:
        raise SettingError(
            f"{finders.pop()} trains on the loader before the run begins",
            "a Trainer of its own, without DataPruning",
            "Search first, and build the run with what was found",
        )
    if "GradientAccumulationScheduler" in names:
        raise SettingError(
            "A GradientAccumulationScheduler changes how many batches make an optimizer step",
            "one number for the whole run",
            "Set Trainer(accumulate_grad_batches=...) and Pruner(accumulation_steps=...)",
        )
    batches = trainer.accumulate_grad_batches
    if module.automatic_optimization and batches != settings.accumulation_steps:
        raise SettingError(
            f"Trainer(accumulate_grad_batches={batches}) with "
            f"Pruner(accumulation_steps={settings.accumulation_steps})",
            "the same number",
            f"Set Pruner(accumulation_steps={batches})",
        )
    if trainer.fast_dev_run:
        return
    ours, theirs = ("epochs", settings.epochs), ("max_epochs", trainer.max_epochs)
    if settings.steps is not None:
        ours, theirs = ("steps", settings.steps), ("max_steps", trainer.max_steps)
    if ours[1] is not None and ours[1] != theirs[1]:
        warnings.warn(
            f"Trainer({theirs[0]}={theirs[1]}) with Pruner({ours[0]}={ours[1]}); expected: the "
            "same number, or the saving and what the method does last will not be as asked.",
            ThresherWarning,
            stacklevel=2,
        )


def _require_data_ranks(trainer: Any) -> None:
    """Refuse strategies in which some ranks train on the same samples."""
    shares: dict[str, int] | None = trainer.distributed_sampler_kwargs
    ranks = Ranks.found()
    if shares is None or (shares["rank"], shares["num_replicas"]) == (ranks.rank, ranks.world_size):
        return
    raise SettingError(
        f"{type(trainer.strategy).__name__} has {shares['num_replicas']} data-parallel ranks among "
        f"{ranks.world_size}",
        "a strategy in which every rank trains on samples of its own, such as DDP or FSDP",
        "Train without tensor or model parallelism, or without DataPruning",
    )


def require_one_loader(loader: Any) -> DataLoader[Any]:
    """Return the Trainer's train loader.

    Raises:
        SamplerError: it is none, or there are several.
    """
    if not isinstance(loader, DataLoader):
        raise SamplerError(
            f"The Trainer's train loader is a {type(loader).__name__}",
            "one torch.utils.data.DataLoader",
            "Of several loaders none can be planned; concatenate the data sets into one",
        )
    return cast("DataLoader[Any]", loader)


def require_same_length(estimated: float, loader: DataLoader[Any]) -> None:
    """Refuse a loader of which Lightning trains more batches an epoch than there are to plan.

    Args:
        estimated: batches of an unpruned epoch, as Lightning counts them.
        loader: the wrapped one.

    Raises:
        SettingError: the numbers differ.
    """
    course = cast("PlannedLoader", loader)._thresher.course
    batches = course.num_batches(course.clock.budget.num_samples)
    if estimated != batches:
        raise SettingError(
            f"Lightning repeats samples to make {estimated} batches on each of "
            f"{Ranks.found().world_size} ranks, and with drop_last=True there are {batches}",
            "the same number, for which schedulers are built",
            "Set DataLoader(drop_last=False)",
        )
