"""OrderDP's ImageNet code lists its sampler when an epoch begins; that it ends prunes the next one.

So epoch e + 1 is chosen before epoch e is trained: by losses one epoch old, and in the first two
epochs by none. The code has the InfoBatch that it compares with in the same wrapper.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from contracts.drive import losses, named
from thresher import InfoBatch, Method, OrderDP, Pruner

SIZE, EPOCHS = 40, 6

# All samples are candidates, so that losses alone decide who is trained.
TOP = OrderDP(rho_s=1.0, rho_q=0.5)


def hardest(stored: Tensor) -> set[int]:
    return set(stored.nan_to_num(torch.inf).topk(SIZE // 2).indices.tolist())


def published(table: Tensor) -> list[set[int]]:
    """The fault: the next choice is made when the sampler is listed, which is before training."""
    stored, chosen = torch.full((SIZE,), torch.inf), list[set[int]]()
    coming = hardest(stored)
    for row in table:
        chosen.append(coming)
        coming = hardest(stored)
        trained = sorted(chosen[-1])
        stored[trained] = row[trained]
    return chosen


def test_the_fault_shows() -> None:
    table = losses(SIZE, EPOCHS)
    chosen = published(table)
    # The first two do not depend on a single loss, so the second trains the same half again.
    assert chosen[:2] == published(-table)[:2]
    assert chosen[0] == chosen[1]


class Ids(Dataset[Tensor]):
    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(index)


def trained(method: Method, *, lists: bool, **settings: Any) -> list[list[int]]:
    """The samples of each epoch; `lists` reads the whole sampler before one is trained."""
    table, pruner = losses(SIZE, EPOCHS), Pruner(method, epochs=EPOCHS, seed=1)
    loader = pruner.wrap(DataLoader(Ids(), 8, shuffle=True, **settings))
    epochs = list[list[int]]()
    for row in table:
        epochs.append([])
        if lists:
            list(loader.sampler)
            list(loader.batch_sampler)  # type: ignore[arg-type]
        for ids in loader:
            epochs[-1] += ids.tolist()
            pruner.reduce(row[ids], scores=named(method, row[ids]))
    return epochs


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_is_chosen_by_the_losses_of_the_last_one(num_workers: int) -> None:
    """Also where workers exhaust the sampler long before the last batch is trained."""
    table, stored = losses(SIZE, EPOCHS), torch.full((SIZE,), torch.nan)
    settings: dict[str, Any] = {"num_workers": num_workers}
    settings |= {"prefetch_factor": 9} if num_workers else {}
    for row, ids in zip(table, trained(TOP, lists=True, **settings), strict=True):
        unseen = int(stored.isnan().sum())
        assert len(ids) == len(set(ids)) == SIZE // 2
        if unseen < SIZE:  # who is unseen comes first: the other half, in epoch 1
            assert set(ids) == hardest(stored)
        stored[ids] = row[ids]


@pytest.mark.parametrize("method", [OrderDP(), InfoBatch()], ids=lambda m: type(m).__name__)
def test_listing_the_sampler_moves_nothing(method: Method) -> None:
    assert trained(method, lists=True) == trained(method, lists=False)
