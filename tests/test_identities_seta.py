"""SeTa in numbers: what its window covers over a cycle, and what a ratio makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, run
from thresher import SeTa
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.plan import Selection

SIZES = (40, 25, 15, 12, 5, 3, 2, 9, 4, 5)


def heaps(k: int) -> Tensor:
    """Losses in k heaps far apart, heap j around j, the easy ones larger: float32, (n,)."""
    parts = [
        10.0 * j + torch.rand(SIZES[j], generator=torch.Generator().manual_seed(j))
        for j in range(k)
    ]
    return torch.cat(parts)


def scored(method: SeTa, loss: Tensor, number: int = 1, seed: int = 0) -> ByHand:
    hand = ByHand(method, torch.zeros(1, len(loss)), lambda epoch: Draws(seed, epoch))
    hand.ledger["loss"].copy_(loss)
    hand.number = number
    return hand


def kept_groups(selection: Selection, loss: Tensor) -> set[int]:
    return set((loss[selection.kept] // 10).long().tolist())


# -------------------------------------------------------------------------------------- the cycle


@pytest.mark.parametrize(
    ("k", "window"), [(5, 4), (5, 3), (5, 5), (5, 1), (10, 5), (10, 2), (2, 1)]
)
def test_over_a_cycle_each_group_is_used_as_often_as_the_theory_says(k: int, window: int) -> None:
    loss = heaps(k)
    hand, cycle = scored(SeTa(r=0.0, k=k, window=window), loss), k - window + 1
    used = [0] * k
    for number in range(1, cycle + 1):
        hand.number = number
        selection = hand.select()
        groups = kept_groups(selection, loss)
        assert groups == set(range(number % cycle, number % cycle + window))
        assert int(selection.kept.sum()) == sum(SIZES[j] for j in groups), "whole groups"
        for j in groups:
            used[j] += 1
    expected = [min(j, window, cycle, k - j + 1) for j in range(1, k + 1)]
    assert used == expected
    if (k, window) == (5, 4):
        assert [u / cycle for u in used] == [0.5, 1, 1, 1, 0.5]


def test_the_cycle_begins_after_the_warm_up_with_all_groups() -> None:
    loss = heaps(5)
    method = SeTa(r=0.0, k=5, window=2, warmup_epochs=3)
    found = [kept_groups(scored(method, loss, number).select(), loss) for number in range(3, 8)]
    assert found == [{0, 1, 2, 3, 4}, {1, 2}, {2, 3}, {3, 4}, {0, 1}]


@pytest.mark.parametrize("r", [0.0, 0.1, 0.5, 0.9])
def test_the_random_part_has_the_size_that_the_code_gives_it(r: float) -> None:
    table = losses(300)
    for plan in run(SeTa(r=r), table)[1][:10]:
        drawn = math.floor((1 - r) * 300 + 1e-9)
        assert len(plan) == drawn if plan.epoch == 0 else 1 <= len(plan) <= drawn
    easy = sum(len(plan) for plan in run(SeTa(r=r), table)[1][:10])
    assert easy < 10 * math.floor((1 - r) * 300 + 1e-9), "the window leaves nobody out"


def test_groups_are_of_the_random_part_alone() -> None:
    """A heap that nobody was drawn of is no group, so the window is over those that are there."""
    loss = torch.tensor([0.0, 1.0, 1.0, 50.0])
    for seed in range(30):
        hand = scored(SeTa(r=0.3, k=2, window=1), loss, seed=seed)  # draws two
        kept = hand.select().kept
        uniform = hand.draws(1).uniform(4, "selection", torch.float64)
        drawn = uniform.argsort()[:2]
        # c = 1 is the harder of two groups; two equal losses are one.
        hardest = drawn[loss[drawn] == loss[drawn].max()]
        assert set(kept.nonzero()[:, 0].tolist()) == set(hardest.tolist())


# ------------------------------------------------------------------------------------- few values


@pytest.mark.parametrize("loss", [[2.0] * 12, [2.0] * 3], ids=["many", "fewer than groups"])
def test_equal_losses_are_one_group_and_all_stay(loss: list[float]) -> None:
    for number in range(1, 4):
        hand = scored(SeTa(r=0.0, k=5, window=2), torch.tensor(loss), number)
        assert bool(hand.select().kept.all())


def test_fewer_distinct_losses_make_fewer_groups_and_a_smaller_window() -> None:
    loss = torch.tensor([1.0, 1.0, 2.0, 3.0])
    # Three groups; of these ⌈2 · 3 / 5⌉ = 2, from 1 mod 2 on.
    kept = scored(SeTa(r=0.0, k=5, window=2), loss).select().kept
    assert kept.tolist() == [False, False, True, True]


def test_ties_are_never_split() -> None:
    loss = losses(200)[0].mul(3).round()
    for number in range(1, 9):
        kept = scored(SeTa(r=0.0, k=4, window=2), loss, number).select().kept
        assert not set(loss[kept].tolist()) & set(loss[~kept].tolist())


def test_a_sample_without_a_loss_is_in_every_window() -> None:
    loss = torch.cat([heaps(5), torch.full((7,), math.nan)])
    for number in range(1, 6):
        assert bool(scored(SeTa(r=0.0, k=5, window=1), loss, number).select().kept[-7:].all())


# ---------------------------------------------------------------------------------------- a ratio


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.9])
def test_a_ratio_is_met_exactly_in_every_epoch_before_the_annealing(ratio: float) -> None:
    _, plans = run(SeTa(prune_ratio=ratio, delta=1.0), losses(200))
    assert {len(plan) for plan in plans} == {round((1 - ratio) * 200)}


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_with_a_ratio_the_window_is_thinned_or_filled_at_random(share: float) -> None:
    loss = heaps(5)
    inside = (loss >= 10) & (loss < 30)  # c = 1 of window 2
    quota = round((1 - share) * len(loss))
    counts = torch.zeros(len(loss))
    for seed in range(400):
        hand = scored(SeTa(prune_ratio=share, k=5, window=2), loss, seed=seed)
        hand.target = share
        kept = hand.select().kept
        assert int(kept.sum()) == quota
        assert bool(kept[inside].all()) or not bool(kept[~inside].any())
        counts += kept
    size = int(inside.sum())
    chances = torch.where(
        inside, min(1, quota / size), max(0, quota - size) / (len(loss) - size)
    ).double()
    error = (chances * (1 - chances) / 400).sqrt()
    assert bool(((counts / 400 - chances).abs() <= 4.5 * error + 1e-12).all())


# --------------------------------------------------------------------------------------- settings


def test_a_window_must_be_some_of_the_groups() -> None:
    for k, window in ((5, 0), (5, 6), (0, 0), (600, 3)):
        with pytest.raises(SettingError, match=rf"k={k}, window={window}.*1 <= window <= k <= 512"):
            SeTa(k=k, window=window)
    with pytest.raises(SettingError, match=r"SeTa\(r=1.0\)"):
        SeTa(r=1.0)
