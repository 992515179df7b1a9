"""The mean over the ranks of what each calls backward on is the loss of one process."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.distributed as dist

from contracts.found import CLASSES, short
from parallel import jobs
from parallel.processes import Raised, on_ranks, succeed
from thresher import Full, InfoBatch, Method, RePB

DEFAULTS: list[Method] = [kind() for kind in CLASSES]
SOME: list[Method] = [RePB(rho=0.5, window=2), InfoBatch()]
WARNS = pytest.mark.filterwarnings("ignore:.* cannot save ")


@WARNS
@pytest.mark.parametrize(
    ("world_size", "num_samples", "methods", "options"),
    [
        pytest.param(2, 45, DEFAULTS, {}, id="uneven last batches, every method"),
        pytest.param(4, 45, SOME, {}, id="uneven last batches"),
        pytest.param(4, 45, SOME, {"drop_last": True}, id="drop_last"),
        pytest.param(4, 3, SOME, {}, id="data smaller than the world"),
        pytest.param(2, 45, SOME, {"settings": {"step_exponent": 0.5}}, id="step exponent"),
    ],
)
def test_every_gradient_is_that_of_one_process(
    world_size: int, num_samples: int, methods: list[Method], options: dict[str, Any]
) -> None:
    given = (methods, num_samples, 8, 3, options)
    alone = jobs.gradients(0, *given)
    for of_rank in succeed(jobs.gradients, world_size, *given):
        for method, ours, theirs in zip(methods, alone, of_rank, strict=True):
            assert len(ours) == len(theirs), short(method)
            for one, many in zip(ours, theirs, strict=True):
                assert torch.allclose(one, many, rtol=0, atol=1e-6), short(method)


def test_without_the_remainder_the_mean_is_over_what_is_left() -> None:
    """Of 11 samples, two ranks with batches of two train 10, and nobody twice."""
    given = ([Full()], 11, 4, 2, {"remainder": "drop"})
    (alone,) = jobs.gradients(0, [Full()], 11, 4, 2, {})
    for (steps,) in succeed(jobs.gradients, 2, *given):
        assert len(steps) == len(alone) == 6
        for number, (one, many) in enumerate(zip(alone, steps, strict=True)):
            assert torch.allclose(one, many, rtol=0, atol=1e-6) == (number % 3 < 2)


def test_data_without_a_whole_remainder_is_refused_on_every_rank() -> None:
    found = on_ranks(jobs.gradients, 2, [Full()], 1, 4, 2, {"remainder": "drop"})
    for each in found:
        assert isinstance(each, Raised)
        assert each.kind == "EmptyEpochError"
        assert "remainder='drop' leaves no batch of 1 on 2 ranks" in each.message


def poisoned(rank: int, broken: float) -> list[Any]:
    """One epoch of 9 samples over 4 ranks in batches of 2, each padding copy's loss `broken`."""
    found = []
    for method in (Full(), InfoBatch(), RePB(rho=0.5)):
        pruner, loader = jobs.wrapped(method, 9, 2, epochs=4)
        linear = jobs.model()
        for ids in loader:
            x, y = jobs.features(ids)
            each = torch.nn.functional.cross_entropy(linear(x), y, reduction="none")
            progress = pruner._clock.current  # type: ignore[union-attr]
            padding = progress._padding  # type: ignore[attr-defined]
            real = padding.is_real(slice(progress.seen, progress.seen + len(ids)))
            if real is not None:
                each = each + torch.where(torch.from_numpy(real), 0.0, broken)
            linear.zero_grad()
            pruner.reduce(each).backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in linear.parameters()])  # type: ignore[union-attr]
        dist.all_reduce(gradient)
        row = pruner.report().rows[-1]
        found.append((gradient / 4, row.trained, row.non_finite))
    return found


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_loss_of_a_padding_copy_reaches_neither_gradient_nor_scores(broken: float) -> None:
    (alone, *_) = jobs.gradients(0, [Full()], 9, 8, 1, {})
    for of_rank in succeed(poisoned, 4, broken):
        for gradient, trained, non_finite in of_rank:
            assert torch.allclose(gradient, alone[-1], rtol=0, atol=1e-6)
            assert (trained, non_finite) == (9, 0)


def nan_on_one_rank(rank: int, everywhere: bool) -> list[Any]:
    """Rank 1's losses, or all of them, are NaN in the first two epochs."""
    pruner, loader = jobs.wrapped(InfoBatch(), 20, 2, epochs=5)
    losses = []
    for epoch in range(2):
        for ids in loader:
            losses_here = (ids + 1).float()
            if rank == 1 or everywhere:
                losses_here = losses_here * torch.nan
            losses.append(float(pruner.reduce(losses_here)))
        assert pruner.epoch == epoch + 1
    len(loader)
    return [losses[0], pruner.report().rows[0].non_finite, jobs.digest(pruner.plan(1))]


def test_nan_losses_of_one_rank_leave_all_ranks_in_step() -> None:
    first, second = on_ranks(nan_on_one_rank, 2, False)
    # Warnings are errors in a rank, so both say so, at the same moment.
    for each in (first, second):
        assert isinstance(each, Raised)
        assert each.kind == "ThresherWarning"
        assert each.message.startswith("10 samples of epoch 0 had a score that is NaN")


def test_if_every_loss_is_nan_every_rank_stops() -> None:
    for each in on_ranks(nan_on_one_rank, 2, True):
        assert isinstance(each, Raised)
        assert each.kind == "AllLossesNaNError"
        assert each.message.startswith("All 20 scores of epoch 0 are NaN or infinite")
