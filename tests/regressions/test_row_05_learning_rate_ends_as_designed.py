"""Published examples rebuild OneCycleLR each epoch from the length of the epoch before.

The rate jumps, and when full epochs follow a pruned one the last epoch raises that it was "tried to
step" once too often.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

from contracts.drive import losses
from thresher import InfoBatch, Pruner

SIZE, BATCH, EPOCHS = 160, 8, 5


def cycle(steps: int) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    return optimizer, OneCycleLR(optimizer, max_lr=1.0, total_steps=steps)


def published_schedule(lengths: list[int]) -> None:
    """The fault: a new cycle each epoch, as long as if all epochs were like the last one."""
    before = lengths[0]
    for epoch, length in enumerate(lengths):
        optimizer, scheduler = cycle(EPOCHS * before)
        scheduler.last_epoch = epoch * before
        for _ in range(length):
            optimizer.step()
            scheduler.step()
        before = length


def test_the_fault_shows_with_this_torch() -> None:
    with pytest.raises(ValueError, match="Tried to step"):
        published_schedule([20, 13, 12, 13, 20])


def test_learning_rate_ends_as_designed() -> None:
    steps = EPOCHS * SIZE // BATCH
    plain_optimizer, plain = cycle(steps + 1)
    designed = []
    for _ in range(steps):
        plain_optimizer.step()
        plain.step()
        designed.append(plain.get_last_lr()[0])

    table = losses(SIZE, EPOCHS)
    pruner = Pruner(InfoBatch(r=0.8), epochs=EPOCHS)
    loader = pruner.wrap(DataLoader(TensorDataset(torch.arange(SIZE)), BATCH, shuffle=True))
    optimizer, inner = cycle(steps + 1)
    scheduler = pruner.pace(inner)
    lengths, rates = list[int](), list[float]()
    for epoch in range(EPOCHS):
        lengths.append(len(loader))
        for (ids,) in loader:
            pruner.reduce(table[epoch][ids])
            optimizer.step()
            scheduler.step()
            rates.append(scheduler.get_last_lr()[0])
        assert rates[-1] == designed[(epoch + 1) * SIZE // BATCH - 1]
    assert lengths[0] == lengths[-1] == SIZE // BATCH > lengths[2], "full epochs follow pruned ones"
    # Nowhere does the rate jump by more than the designed steps that one pruned step stands for.
    largest = max(abs(a - b) for a, b in pairwise(designed))
    most = -(-SIZE // BATCH // min(lengths)) + 1
    jumps = [abs(a - b) for a, b in pairwise(rates)]
    assert max(jumps) <= most * largest + 1e-12
