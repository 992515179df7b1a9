"""Published code brings losses and ids to the host in every step, and weights back.

A meta tensor has no data: whatever reads it, copies it to the host or branches on it raises. A step
that works on one has left no way to wait for a device.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from contracts.drive import epoch_of, losses
from contracts.found import METHODS, short
from thresher import Pruner
from thresher.methods import Method

# Some methods would like to look again at what they leave out; nothing here depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:.*wants samples it left out")

SIZE, BATCH = 60, 8


def published_update(losses: Tensor, weights: Tensor) -> Tensor:
    """The fault: scores go to the host, in every step."""
    losses.detach().cpu().numpy()
    return (losses * weights.to(losses.device)).mean()


def test_the_fault_shows_with_this_torch() -> None:
    with pytest.raises(NotImplementedError, match="meta"):
        published_update(torch.zeros(4, device="meta"), torch.ones(4))


def step(pruner: Pruner, size: int, ids: Tensor | None = None) -> None:
    losses = torch.zeros(size, device="meta", requires_grad=True) * 2
    scores = dict.fromkeys(("loss", *pruner.method.needs), losses)
    reduced = pruner.reduce(losses, scores=scores, ids=ids)
    assert reduced.device.type == "meta"
    assert reduced.shape == ()
    reduced.backward()


@pytest.mark.parametrize("trained", [0, 3])
@pytest.mark.parametrize("method", METHODS, ids=short)
def test_a_step_never_waits_for_the_device(method: Method, trained: int) -> None:
    """Not in the first epoch, nor where weights differ from 1."""
    pruner = Pruner(method, epochs=12, num_samples=SIZE)
    for _ in range(trained):
        epoch_of(pruner, losses(SIZE))
    for ids in pruner.plan(trained).ids.split(BATCH):
        step(pruner, len(ids), ids)
    # What was trained is known without asking the device.
    assert pruner.epoch == trained + 1


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_a_loop_over_a_loader_never_waits_for_the_device(method: Method) -> None:
    pruner = Pruner(method, epochs=12)
    loader = pruner.wrap(DataLoader(TensorDataset(torch.arange(SIZE)), BATCH, shuffle=True))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = pruner.pace(torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=90))
    for (ids,) in loader:
        step(pruner, len(ids))
        optimizer.step()
        scheduler.step()
    assert pruner.epoch == 1
