"""Accelerate: a loader and a scheduler that `accelerator.prepare` takes as they are."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar, cast, final

from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import BatchSampler, DataLoader

from thresher.errors import SettingError
from thresher.loader import PlannedLoader
from thresher.pacing import PacedScheduler
from thresher.parallel.dispatched import DispatchedLoader
from thresher.parallel.ranks import Ranks
from thresher.pruner import Pruner
from thresher.scores.scoring import BatchScores
from thresher.takeover import refuse_stream

_Loader = TypeVar("_Loader", bound=DataLoader[Any])
if find_spec("accelerate") is None:
    raise ImportError(
        "thresher.integrations.accelerate needs accelerate 1.3 or later; "
        'pip install "thresher[accelerate]"'
    )
_StateMixin: Any = import_module("accelerate.data_loader").DataLoaderStateMixin
_send_to_device: Any = import_module("accelerate.utils").send_to_device


def wrap(
    accelerator: Any,
    pruner: Pruner,
    loader: _Loader,
    *,
    score_fn: Callable[[Any], BatchScores] | None = None,
) -> _Loader:
    """Return what `pruner.wrap` does, as a loader that Accelerate knows and leaves whole.

    It puts batches on the accelerator's device, says when an epoch ends, so that
    `accelerator.accumulate` leaves no gradient behind, and has `accelerator.save_state` save the
    pruner, in the middle of an epoch gathered from all ranks. Every rank trains its part of each
    global batch. With `split_batches` the loader's batch size is that of all ranks. `even_batches`
    or not, ranks take equally many steps, and copies that only fill the last batch do not count.
    With `dispatch_batches` rank 0 reads for all ranks, and sends each its batch.

    Args:
        accelerator: as many accumulation steps as the pruner.
        pruner: chooses.
        loader: the one you built; give the result to `accelerator.prepare`, or do not.
        score_fn: as in `Pruner.wrap`.

    Raises:
        SettingError: the accelerator was told something that planned epochs do not allow.
        ThresherError: as `Pruner.wrap` does.

    Example:
        >>> loader = wrap(accelerator, pruner, loader)  # doctest: +SKIP
    """
    _require_plannable(accelerator, pruner, loader, scores_batches=score_fn is not None)
    if accelerator.split_batches and accelerator.num_processes > 1:
        loader = _split(loader, accelerator.num_processes)
    refuse_stream(loader, "Accelerate")
    wrapped = pruner.wrap(loader, score_fn=score_fn)
    if accelerator.dispatch_batches and accelerator.num_processes > 1:
        drive = wrapped.__dict__["_thresher"]
        drive.inner = DispatchedLoader(drive.inner)
    kind = type(wrapped)
    bases = (AcceleratedLoader,) if kind is PlannedLoader else (AcceleratedLoader, kind)
    made = object.__new__(types.new_class(kind.__name__, bases))
    made.__dict__.update(wrapped.__dict__)
    made.__dict__.update(
        gradient_state=accelerator.gradient_state,
        _accelerator=accelerator,
        # Accelerate's own mark of a loader that it does not take apart again.
        _is_accelerate_prepared=True,
    )
    accelerator.register_for_checkpointing(_Gathered(pruner))
    return cast("_Loader", made)


def pace(accelerator: Any, pruner: Pruner, scheduler: LRScheduler) -> PacedScheduler:
    """Return what `pruner.pace` does, at the pace at which Accelerate calls it.

    Build `scheduler` as for an unpruned run, whose prepared scheduler is stepped once for each
    process (with `split_batches`, once), and give the result to `accelerator.prepare`.

    Args:
        accelerator: prepares the scheduler.
        pruner: knows how many steps an epoch has.
        scheduler: of the optimizer, not prepared.

    Raises:
        SettingError: it is prepared already.

    Example:
        >>> scheduler = pace(accelerator, pruner, scheduler)  # doctest: +SKIP
    """
    if not isinstance(scheduler, LRScheduler):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(
            f"pace got a {type(scheduler).__name__}",
            "the scheduler you built, before accelerator.prepare",
            "Call pace first, and give accelerator.prepare its result",
        )
    paced = pruner.pace(scheduler)
    if accelerator.step_scheduler_with_optimizer and not accelerator.split_batches:
        paced.calls_per_step = accelerator.num_processes
    return paced


class AcceleratedLoader(_StateMixin, PlannedLoader):
    """A wrapped loader whose passes Accelerate follows; made by `wrap`."""

    _accelerator: Any

    def __iter__(self) -> Iterator[Any]:
        # Here, and not when the first batch is asked for, as with any loader.
        return self._followed(cast("Any", super().__iter__()))

    def _followed(self, batches: Any) -> Iterator[Any]:
        accelerator, left = self._accelerator, len(batches)
        device = accelerator.device if accelerator.device_placement else None
        self.begin()
        plan, grid = batches.progress.plan, self._thresher.course.grid
        # Of the last global batch, the samples that are no copies; in shards each rank has its own,
        # and a budget of steps may end the pass before that batch.
        is_whole = self._thresher.course.stop(batches.progress) == batches.progress.stop(grid)
        is_known = is_whole and not getattr(plan, "sizes", ())
        self.remainder = grid.tail(len(plan)) if is_known else -1
        try:
            for batch in batches:
                left -= 1
                self.end_of_dataloader = left == 0
                if device is not None:
                    batch = _send_to_device(batch, device, non_blocking=accelerator.non_blocking)
                yield batch
        finally:
            self.end()

    def set_epoch(self, epoch: int) -> None:
        """Change nothing: only training moves the clock."""


@final
class _Gathered:
    """A pruner as Accelerate saves it: on every rank, at any time."""

    def __init__(self, pruner: Pruner) -> None:
        self._pruner = pruner

    def state_dict(self) -> dict[str, Any]:
        """Return the pruner's state, gathered from all ranks."""
        return self._pruner.state_dict(gather=True)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the pruner."""
        self._pruner.load_state_dict(state)


def _split(loader: _Loader, parts: int) -> _Loader:
    """Return a copy of a loader whose batches are one of so many parts of the user's."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or batches.batch_size % parts:
        raise SettingError(
            f"Accelerator(split_batches=True) on {parts} ranks, with batches of "
            f"{getattr(batches, 'batch_size', 'no size')}",
            "a multiple of the number of ranks",
            "Set DataLoader(batch_size=...), or split_batches=False",
        )
    made = object.__new__(type(loader))
    made.__dict__.update(loader.__dict__)
    size = batches.batch_size // parts
    made.__dict__["batch_sampler"] = BatchSampler(batches.sampler, size, batches.drop_last)
    return made


def _require_plannable(
    accelerator: Any, pruner: Pruner, loader: Any, *, scores_batches: bool
) -> None:
    if getattr(loader, "_is_accelerate_prepared", False):
        raise SettingError(
            "wrap got a loader that accelerator.prepare returned",
            "the loader you built",
            "Call wrap first, and give accelerator.prepare its result",
        )
    if accelerator.dispatch_batches and scores_batches:
        raise SettingError(
            "Accelerator(dispatch_batches=True) with score_fn=..., for whose passes each rank asks "
            "for samples of its own",
            "dispatch_batches=None or False, so that each rank reads them",
            "Set DataLoaderConfiguration(dispatch_batches=None)",
        )
    plugin = accelerator.gradient_state
    if plugin.num_steps != pruner.settings.accumulation_steps:
        raise SettingError(
            f"Accelerator(gradient_accumulation_steps={plugin.num_steps}) with "
            f"Pruner(accumulation_steps={pruner.settings.accumulation_steps})",
            "the same number",
            f"Set Pruner(accumulation_steps={plugin.num_steps})",
        )
    if not plugin.sync_with_dataloader and plugin.num_steps > 1:
        raise SettingError(
            "GradientAccumulationPlugin(sync_with_dataloader=False) carries gradients over from "
            "one epoch to the next",
            "sync_with_dataloader=True, as the next epoch weights its losses anew",
            "Leave it at its default",
        )
    _require_data_ranks(accelerator)


def _require_data_ranks(accelerator: Any) -> None:
    ranks = Ranks.found()
    if (accelerator.process_index, accelerator.num_processes) != (ranks.rank, ranks.world_size):
        raise SettingError(
            f"Accelerate has process {accelerator.process_index} of {accelerator.num_processes}",
            f"{ranks}, as torch.distributed has it",
            "Train with DDP or FSDP, under torchrun or accelerate launch",
        )
    mesh = getattr(accelerator, "parallelism_config", None)  # since 1.10
    if mesh is not None and (mesh.tp_enabled or mesh.cp_enabled):
        raise SettingError(
            "Accelerator(parallelism_config=...) has ranks that train on the same samples",
            "data parallelism alone",
            "Leave out tp_size and cp_size",
        )
