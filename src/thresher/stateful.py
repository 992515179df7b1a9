"""torchdata's StatefulDataLoader under plans: where it stands in the data is the pruner's state.

Its own state counts batches that were fetched, from samplers that plans replace. Nothing is
imported: who brings such a loader has torchdata.
"""

from __future__ import annotations

import types
from typing import Any, Protocol

from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler

from thresher.errors import CheckpointError

_SAMPLERS: dict[str, type] = {
    "BatchSampler": BatchSampler,
    "RandomSampler": RandomSampler,
    "StatefulDistributedSampler": DistributedSampler,
}


class Stateful(Protocol):
    """What has a state to save."""

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        ...


def kind_of(sampler: Any) -> type:
    """Return a sampler's class; of torchdata's, the one of torch that draws as it does."""
    kind = type(sampler)
    if kind.__module__ == "torchdata.stateful_dataloader.sampler":
        return _SAMPLERS.get(kind.__name__, kind)
    return kind


def refuse_loaded(loader: DataLoader[Any]) -> None:
    """Refuse a loader that is to go on where an unpruned run stopped.

    Raises:
        CheckpointError: a state was loaded into it.
    """
    if _stateful_base(type(loader)) and getattr(loader, "next_iter_state", None) is not None:
        raise CheckpointError(
            f"A state was loaded into the {type(loader).__name__} before it was wrapped",
            "a loader at its beginning",
            "Call loader = pruner.wrap(loader) first, and then loader.load_state_dict(state) with "
            "a state of the wrapped loader, or pruner.load_state_dict(state)",
        )


def planned_base(kind: type[DataLoader[Any]], planned: type[Any]) -> type[Any]:
    """Return what a planned loader of class `kind` inherits from beside it: `planned`, or of it.

    It comes after the user's subclass and before torchdata's, whose passes and states it replaces.
    """
    base = _stateful_base(kind)
    if base is None:
        return planned

    def state_dict(loader: Any) -> dict[str, Any]:
        """Return the state of the pruner, which is where the loader stands."""
        refuse_state_of(loader.dataset)
        return loader._thresher.run.state_dict()

    def load_state_dict(loader: Any, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, this loader's or the pruner's."""
        loader._thresher.run.load_state_dict(state)

    own = {
        "__doc__": "A StatefulDataLoader whose state is the pruner's.",
        "__iter__": planned.__iter__,
        "__len__": planned.__len__,
        "state_dict": state_dict,
        "load_state_dict": load_state_dict,
    }
    return types.new_class(
        "PlannedStatefulLoader", (base, planned), {}, lambda body: body.update(own)
    )


def refuse_state_of(dataset: Any) -> None:
    """Refuse to save where a loader stands without the state that its data set keeps in workers.

    Raises:
        CheckpointError: the data set has one.
    """
    if all(callable(getattr(dataset, name, None)) for name in ("state_dict", "load_state_dict")):
        raise CheckpointError(
            f"{type(dataset).__name__} has a state of its own, which is not in a wrapped loader's",
            "items that depend on their id, or on a seed, the epoch and their id",
            "Save it yourself, and pruner.state_dict() in place of loader.state_dict()",
        )


def _stateful_base(kind: type[Any]) -> type[Any] | None:
    for base in kind.__mro__:
        if base.__name__ == "StatefulDataLoader" and base.__module__.startswith("torchdata."):
            return base
    return None
