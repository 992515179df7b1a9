"""Who rebuilds a wrapped loader, or shards it once more, and which switch stops that."""

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
        "Ray Train", "Call ray.train.torch.prepare_data_loader(loader, add_dist_sampler=False)"
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
    raise LoaderReplacedError(
        f"{found.name} rebuilt the wrapped loader from the arguments of a plain one, so its "
        "batches would not be the planned ones",
        "the loader that pruner.wrap returned, as it is",
        found.cure,
    )


def refuse_taken() -> None:
    """Refuse to give a framework ids for a loader of its own.

    Raises:
        LoaderReplacedError: a framework asks.
    """
    found = caller()
    if found is not None:
        raise LoaderReplacedError(
            f"{found.name} put the sampler of the wrapped loader into a loader of its own, which "
            "shards it once more and loses which sample is which",
            "the loader that pruner.wrap returned, as it is",
            found.cure,
        )
