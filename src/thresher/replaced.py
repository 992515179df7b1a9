"""Who rebuilds a wrapped loader, shards it, or reads ahead of the loop: and how to stop that."""

from __future__ import annotations

import sys
from typing import NamedTuple, Never

from thresher.errors import LoaderReplacedError


class Framework(NamedTuple):
    """A framework that prepares loaders.

    Args:
        name: as its users call it.
        cure: what leaves a wrapped loader whole.
    """

    name: str
    cure: str


_LIGHTNING = Framework(
    "Lightning",
    "Give the Trainer the loader you built and thresher.integrations.lightning.DataPruning(pruner) "
    "among its callbacks; with Fabric, "
    "fabric.setup_dataloaders(loader, use_distributed_sampler=False)",
)
_FRAMEWORKS = {
    "lightning": _LIGHTNING,
    "pytorch_lightning": _LIGHTNING,
    "lightning_fabric": _LIGHTNING,
    "accelerate": Framework(
        "Accelerate",
        "Wrap with thresher.integrations.accelerate.wrap(accelerator, pruner, loader) instead of "
        "pruner.wrap(loader); accelerator.prepare leaves that loader alone. Of a resumed epoch it "
        "yields what is left, so skip_first_batches is not needed",
    ),
    "ray": Framework(
        "Ray Train",
        "Iterate what pruner.wrap(loader) returned, in which each worker has its part already, and "
        "move batches with batch.to(ray.train.torch.get_device()); "
        "prepare_data_loader(loader, move_to_device=False) leaves it alone",
    ),
}


def caller() -> Framework | None:
    """Return the framework that called from outside of torch and Thresher, if it is a known one."""
    frame = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in ("torch", "thresher"):
            return _FRAMEWORKS.get(package)
        frame = frame.f_back
    return None


def refuse_rebuilt() -> Never:
    """Refuse to make a wrapped loader from the arguments of a plain one.

    Raises:
        LoaderReplacedError: always.
    """
    found = caller() or Framework("Something", "Pass the loader on as pruner.wrap returned it")
    _refuse(
        found,
        "rebuilt the wrapped loader from the arguments of a plain one, so its batches would not be "
        "the planned ones",
    )


def refuse_taken() -> None:
    """Refuse to give a framework ids for a loader of its own.

    Raises:
        LoaderReplacedError: a framework asks.
    """
    found = caller()
    if found is not None:
        _refuse(
            found,
            "put the sampler of the wrapped loader into a loader of its own, which shards it once "
            "more and loses which sample is which",
        )


def refuse_reading_ahead() -> None:
    """Refuse a pass to a framework that fetches ahead of the loop, which then sees no ids.

    Raises:
        LoaderReplacedError: Ray Train asks.
    """
    found = caller()
    if found is not None and found is _FRAMEWORKS["ray"]:
        _refuse(
            found,
            "put the wrapped loader into a loader of its own, which is a batch ahead of the loop, "
            "so that nobody knows which batch is being trained",
        )


def refuse_prepared(loader: object) -> None:
    """Refuse a loader that a framework put around the user's, and that passes over that one.

    Raises:
        LoaderReplacedError: Ray Train made it.
    """
    if type(loader).__module__.startswith("ray."):
        found = _FRAMEWORKS["ray"]
        raise LoaderReplacedError(
            f"wrap got a loader that {found.name} put around yours",
            "the loader you built, before ray.train.torch.prepare_data_loader",
            found.cure,
        )


def _refuse(found: Framework, what: str) -> Never:
    expected = "the loader that pruner.wrap returned, as it is"
    raise LoaderReplacedError(f"{found.name} {what}", expected, found.cure)
