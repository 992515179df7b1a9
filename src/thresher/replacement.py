"""A new subset for a static method, from the next planned epoch on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.ledger import Ledger
from thresher.methods._chosen import as_subset, by_sample
from thresher.methods._method import Method

_COLUMNS = {"member": torch.bool, "weight": torch.float32}


def is_replaceable(method: Method) -> bool:
    """Return whether a method reads its subset from the ledger."""
    columns = {column.name: column.dtype for column in method.columns()}
    return columns.items() >= _COLUMNS.items() and "replaced" in method.scalars


def require_replaceable(method: Method) -> None:
    """Refuse a method that does not read its subset from the ledger."""
    if not is_replaceable(method):
        raise SettingError(
            f"replace_subset with {type(method).__name__}, which chooses by itself",
            "a method that trains on a given subset",
            "Build Pruner(thresher.Subset(ids, weights), ...)",
        )


@final
@dataclass(frozen=True, eq=False)
class Replacement:
    """A subset and its weights by sample id.

    Args:
        member: bool, shape (n,).
        weight: float32, shape (n,), 1 outside the subset.
    """

    member: Tensor
    weight: Tensor

    @classmethod
    def of(
        cls, ids: Tensor | Sequence[int], weights: Tensor | Sequence[float] | None, num_samples: int
    ) -> Replacement:
        """Check a subset and lay it out by sample id.

        Raises:
            SettingError: an id is no sample or comes twice, or a weight is not positive and finite.
        """
        return cls(*by_sample(*as_subset(ids, weights), num_samples))

    def put_into(self, ledger: Ledger) -> None:
        """Let the ledger hold this subset, and count the replacement."""
        shard = ledger.population.shard
        ledger["member"].copy_(self.member[shard.index :: shard.count])
        ledger["weight"].copy_(self.weight[shard.index :: shard.count])
        ledger.scalars["replaced"] += 1


def state_of(
    replacement: Replacement | None, method: Method, num_samples: int
) -> dict[str, object]:
    """Return a waiting replacement in fixed shapes; nothing for a method that has no subset."""
    if not is_replaceable(method):
        return {}
    waiting = replacement or Replacement(
        torch.zeros(num_samples, dtype=torch.bool, device="cpu"),
        torch.ones(num_samples, dtype=torch.float32, device="cpu"),
    )
    return {
        "is_waiting": replacement is not None,
        "member": waiting.member.clone(),
        "weight": waiting.weight.clone(),
    }


def replacement_from(state: Mapping[str, object]) -> Replacement | None:
    """Return what `state_of` stored."""
    if not state.get("is_waiting"):
        return None
    member, weight = state["member"], state["weight"]
    assert isinstance(member, Tensor)
    assert isinstance(weight, Tensor)
    return Replacement(member.clone(), weight.clone())
