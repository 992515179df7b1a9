"""Batches that were reduced out of order leave holes, which a resumed run fills."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from made_up_scores import N, scored
from small_runs import copied, data, differences
from thresher import InfoBatch, Pruner, RePB


def test_batches_reduced_out_of_order_leave_holes_that_a_resumed_run_fills() -> None:
    method = RePB(rho=0.8, window=2)

    def passes(pruner: Pruner, loader: Any, trail: list[Any], states: list[Any]) -> None:
        for epoch in range(pruner.epoch, 4):
            batches = [loader.batch_ids for _ in loader]
            # The second before the first: between the two, the first is a hole.
            if len(batches) > 1 and pruner.position == 0:
                batches[:2] = batches[1::-1]
            for ids in batches:
                pruner.reduce(scored(epoch, torch.from_numpy(ids), ()), ids=ids)
                trail.append((epoch, ids.tolist()))
                states.append(copied(pruner.state_dict()))

    def made() -> tuple[Pruner, Any]:
        pruner = Pruner(method, epochs=4)
        return pruner, pruner.wrap(DataLoader(data(N), 3, shuffle=True))

    whole, loader = made()
    trail: list[Any] = []
    states: list[Any] = []
    passes(whole, loader, trail, states)
    for cursor, state in enumerate(states, start=1):
        resumed, loader = made()
        resumed.load_state_dict(state)
        rest: list[Any] = []
        passes(resumed, loader, rest, [])
        assert rest == trail[cursor:]
        assert not differences(resumed.state_dict(), whole.state_dict())


class SlowFirst(Dataset[Tensor]):
    """The batch that holds `slow` comes late."""

    def __init__(self) -> None:
        self.slow = -1

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Tensor:
        if index == self.slow:
            time.sleep(0.4)
        return torch.tensor(index)


def test_a_hole_left_by_workers_out_of_order_is_filled_after_a_load() -> None:
    def made() -> tuple[Pruner, Any, SlowFirst]:
        pruner, dataset = Pruner(InfoBatch(), epochs=4), SlowFirst()
        plain = DataLoader(dataset, 4, shuffle=True, num_workers=2, in_order=False)
        return pruner, pruner.wrap(plain), dataset

    pruner, loader, dataset = made()
    plan = pruner.plan(0)
    dataset.slow = int(plan.ids[1])
    batches = iter(loader)
    trained = []
    for _ in range(2):
        ids = next(batches)
        trained.append(tuple(ids.tolist()))
        pruner.reduce(ids.float())
    del batches
    state = copied(pruner.state_dict())
    first = plan.ids[:4].tolist()
    assert (state["clock"]["progress"]["step"][first] == -1).all()

    resumed, loader, _ = made()
    resumed.load_state_dict(state)
    left = set()
    for ids in loader:
        left.add(tuple(ids.tolist()))
        resumed.reduce(ids.float())
    whole = {tuple(ids.tolist()) for ids in plan.ids.split(4)}
    assert tuple(first) in left
    assert left == whole - set(trained)
    assert len(left) == 2
    assert resumed.epoch == 1
    scores = resumed.state_dict()["clock"]["progress"]["scores"]["loss"]
    assert torch.equal(scores, torch.arange(16.0))
    assert resumed.report().trained == 16
