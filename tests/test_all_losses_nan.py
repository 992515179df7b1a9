"""A first batch, or an epoch, without one number is refused; a NaN among others passes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.data import DataLoader

from thresher import Full, InfoBatch, Method, Pruner, RandomPruning, RePB
from thresher.errors import AllLossesNaNError, ThresherWarning
from whole_runs import N


@pytest.mark.parametrize(
    "method", [Full(), RePB(), RandomPruning()], ids=lambda m: type(m).__name__
)
def test_a_first_batch_of_nan_is_refused_at_once_and_can_be_tried_again(method: Method) -> None:
    pruner = Pruner(method, epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    batches = iter(loader)
    ids = next(batches)
    for _ in range(2):
        with pytest.raises(AllLossesNaNError, match=r"All 4 losses of the first batch.*targets"):
            pruner.reduce(torch.full((4,), torch.nan))
    assert pruner.position == 0
    pruner.reduce(ids.float())
    next(batches)
    # Later a batch of NaN passes through: gradient scalers need to see it.
    assert pruner.reduce(torch.full((4,), torch.nan)).isnan()
    assert pruner.position == 8


def test_one_number_among_nan_is_enough() -> None:
    pruner = Pruner(Full(), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    batches = iter(loader)
    next(batches)
    assert pruner.reduce(torch.tensor([torch.nan, 1.0, torch.nan, torch.nan])).isnan()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_epoch_without_one_number_is_refused_when_it_closes(broken: float) -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe(pruner.plan(0).ids, torch.full((N,), broken))
    with pytest.raises(AllLossesNaNError, match=r"All 40 scores of epoch 0.*learning rate"):
        pruner.plan(1)
    assert pruner.plan(0).epoch == 0
    pruner.observe([5], torch.zeros(1))
    with pytest.warns(ThresherWarning, match="39 samples"):
        assert len(pruner.plan(1)) == N


def test_a_partly_seen_epoch_is_judged_by_what_was_seen() -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe(pruner.plan(0).ids[:3], torch.full((3,), torch.nan))
    with pytest.raises(AllLossesNaNError, match="All 3 scores"):
        pruner.plan(1)
