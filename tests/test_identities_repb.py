"""RePB's chain in numbers: stationary rate, contributions, starvation, and the asked ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from contracts.drive import ByHand, losses, run
from thresher import Full, RePB
from thresher.theory.renewal import expected_contributions, gap_chances
from thresher.theory.stationary import stationary_rate


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_levels(epochs: int, size: int, share_low: float) -> Tensor:
    """Losses of which a share, drawn anew at every visit, is low and the rest high."""
    return (torch.rand(epochs, size, generator=seeded(1)) >= share_low).float()


def always_below(epochs: int, size: int) -> Tensor:
    """All losses lie below the mean but that of sample 0, which is huge."""
    table = torch.ones(epochs, size)
    table[:, 0] = 1e4
    return table


@pytest.mark.parametrize(("rho", "f"), [(0.5, 0.7), (0.7, 0.7), (0.3, 0.6)])
def test_repb_prunes_the_stationary_share_of_its_chain(rho: float, f: float) -> None:
    size, epochs = 4000, 60
    _, plans = run(
        RePB(rho=rho, window=None), two_levels(epochs, size, f), batch_size=size, epochs=epochs
    )
    pruned = [1 - len(plan) / size for plan in plans[10:]]
    expected = stationary_rate(rho, f)
    assert sum(pruned) / len(pruned) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7])
def test_repb_contributions_approach_one_as_one_minus_rho_to_the_epoch(rho: float) -> None:
    """Always below the mean, a sample is in each epoch with the same chance: memoryless gaps."""
    size, epochs = 20_000, 8
    contributions = expected_contributions(gap_chances(rho, 1.0, epochs))
    hand = ByHand(RePB(rho=rho, window=None), always_below(epochs, size))
    for epoch in range(epochs):
        plan = hand.train(size)
        inside = plan.ids > 0
        weights = torch.zeros(size).double()
        weights[plan.ids[inside]] = plan.weights[inside].double()
        error = float(weights.std()) / math.sqrt(size)
        expected = float(contributions[epoch - 1]) if epoch else 1.0
        assert abs(float(weights[1:].mean()) - expected) <= 4 * error


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7])
def test_repb_starves_nobody(rho: float) -> None:
    """Each epoch has a chance of at least 1 - ρ, so there are Binomial(E - 1, 1 - ρ) visits+."""
    size, epochs = 5000, 40
    hardness = torch.rand(size, generator=seeded(2)).expand(epochs, size)
    for table in (always_below(epochs, size), hardness):
        hand = ByHand(RePB(rho=rho, window=1), table)
        for _ in range(epochs):
            hand.train(50)
        least = 1 + stats.binom.ppf(1e-3 / size, epochs - 1, 1 - rho)
        assert int(hand.ledger["count"].min()) >= least


@pytest.mark.parametrize("rescale", [True, False])
def test_repb_with_rho_zero_is_plain_training(rescale: bool) -> None:
    table = losses(50)
    _, ours = run(RePB(rho=0.0, rescale=rescale), table)
    _, plain = run(Full(), table)
    assert [plan.checksum() for plan in ours] == [plan.checksum() for plan in plain]


def test_repb_with_rho_one_never_brings_an_absent_sample_back() -> None:
    _, plans = run(RePB(rho=1.0), losses(500))
    for before, after in pairwise(plans):
        assert set(after.ids.tolist()) <= set(before.ids.tolist())
    assert len(plans[0]) > len(plans[1]) > len(plans[2]) > len(plans[3])


def test_repb_trains_its_first_two_epochs_with_weight_one() -> None:
    _, plans = run(RePB(rho=0.7), losses(500))
    for plan in plans[:2]:
        assert bool((plan.weights == 1).all())
    assert len(plans[0]) == 500
    assert len(plans[1]) < 500
    assert float(plans[2].weights.max()) > 1


def test_repb_weights_are_epochs_over_inclusions() -> None:
    _, plans = run(RePB(rho=0.7), losses(200))
    for epoch, plan in enumerate(plans[1:], start=1):
        for i, weight in zip(plan.ids.tolist(), plan.weights.tolist(), strict=True):
            inclusions = sum(i in set(before.ids.tolist()) for before in plans[:epoch])
            assert weight == pytest.approx(epoch / inclusions, rel=1e-6)


@pytest.mark.parametrize("window", [1, 3, None])
@pytest.mark.parametrize("batch_size", [7, 128, 1000])
def test_repb_does_not_prune_a_window_of_equal_losses(batch_size: int, window: int | None) -> None:
    """Rounded to float32, a mean of equal losses often lies above them."""
    for value in (0.1, 1 / 3, 2.7182817, 6.9):
        hand = ByHand(RePB(rho=1.0, window=window), torch.full((1, 999), value))
        hand.train(batch_size)
        assert bool(hand.select().kept.all())


Losses = Callable[[int, int], Tensor]


def exponential_losses(epochs: int, size: int) -> Tensor:
    """Easiness drawn anew at every visit: f = .63."""
    return torch.empty(epochs, size).exponential_(generator=seeded(3))


def lasting_losses(epochs: int, size: int) -> Tensor:
    """Easiness that mostly lasts, while all losses fall: f = .7 and more."""
    return losses(size, epochs, seed=4)


def heavy_losses(epochs: int, size: int) -> Tensor:
    """A few samples carry the mean: f = .84."""
    return torch.randn(epochs, size, generator=seeded(5)).mul(2).exp()


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("epochs", [12, 30, 50])
@pytest.mark.parametrize("model", [exponential_losses, lasting_losses, heavy_losses])
def test_repb_reaches_the_asked_ratio_over_the_whole_run(
    model: Losses, epochs: int, ratio: float
) -> None:
    pruner, _ = run(RePB(prune_ratio=ratio), model(epochs, 4000), batch_size=125)
    assert pruner.report().prune_rate == pytest.approx(ratio, abs=0.01)
