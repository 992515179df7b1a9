"""RePB's mathematics: drift, stationary rate, its inverse, and the expectation of its weights."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thresher.errors import SettingError, ThresherWarning
from thresher.theory.drift import drift_bound
from thresher.theory.renewal import expected_contributions, gap_chances
from thresher.theory.stationary import absence, rho_for, run_rate, stationary_rate

shares = st.floats(0.0, 1.0)
chances = st.floats(0.0, 0.99)

# ------------------------------------------------------------------------------------- stationary


def in_set(rho: float, below: float, epochs: int, returns_at_once: bool = False) -> list[float]:
    """The expected share in the set of each epoch, step by step."""
    found = [1.0]
    leaves = below * rho * (rho if returns_at_once else 1.0)
    for _ in range(epochs - 1):
        found.append(found[-1] * (1 - leaves) + (1 - found[-1]) * (1 - rho))
    return found


@given(chances, shares, st.booleans())
def test_chain_settles_at_the_stationary_rate(rho: float, below: float, at_once: bool) -> None:
    reached = 1 - in_set(rho, below, 3000, at_once)[-1]
    assert reached == pytest.approx(stationary_rate(rho, below, returns_at_once=at_once), abs=1e-9)


# Rates whose squares a float64 cannot hold are 0 for every purpose.
rates = st.one_of(st.just(0.0), st.floats(1e-150, 0.999))


@given(rates, st.floats(0.01, 1.0), st.booleans())
def test_rho_and_rate_are_inverses(rate: float, below: float, at_once: bool) -> None:
    rho = rho_for(rate, below, returns_at_once=at_once)
    assert 0 <= rho <= 1
    back = stationary_rate(rho, below, returns_at_once=at_once)
    assert back == pytest.approx(rate, rel=1e-9, abs=1e-12)


@given(shares, shares, st.integers(1, 60))
def test_run_saves_what_its_epochs_leave_out(rho: float, below: float, epochs: int) -> None:
    by_hand = 1 - sum(in_set(rho, below, epochs)) / epochs
    assert run_rate(rho, below, epochs) == pytest.approx(by_hand, abs=1e-9)


@given(shares, shares)
def test_nobody_is_absent_more_than_rho(rho: float, below: float) -> None:
    assert 0 <= absence(rho, below) <= rho + 1e-15
    assert absence(rho, 1.0) == pytest.approx(rho)


@pytest.mark.parametrize(
    ("target", "below", "rho"),
    [
        (0.3, 0.6, 0.417),
        (0.3, 0.7, 0.380),
        (0.3, 0.8, 0.349),
        (0.5, 0.6, 0.625),
        (0.5, 0.7, 0.588),
        (0.5, 0.8, 0.556),
        (0.7, 0.6, 0.795),
        (0.7, 0.7, 0.769),
        (0.7, 0.8, 0.745),
    ],
)
def test_table_of_rho_for_a_target(target: float, below: float, rho: float) -> None:
    assert rho_for(target, below) == pytest.approx(rho, abs=5e-4)


def test_a_sample_that_is_always_easy_makes_no_more_than_infobatch_prunes() -> None:
    """A fixed share φ always below, the rest never: φ ρ, where fresh easiness prunes more."""
    phi, rho = 0.6, 0.5
    mixed = phi * absence(rho, 1.0) + (1 - phi) * absence(rho, 0.0)
    assert mixed == pytest.approx(phi * rho)
    assert stationary_rate(rho, phi) > mixed


@pytest.mark.parametrize("rho", [-0.1, 1.1, math.nan])
def test_chances_out_of_range_are_refused(rho: float) -> None:
    for function in (stationary_rate, absence):
        with pytest.raises(SettingError):
            function(rho, 0.5)
    with pytest.raises(SettingError):
        rho_for(1.0, 0.5)
    with pytest.raises(SettingError):
        run_rate(0.5, 0.5, 0)


# ---------------------------------------------------------------------------------------- renewal


def contribution_by_hand(rho: float, below: float, epochs: int) -> float:
    """E[1(in) E/N] in the epoch after `epochs`, over every history of one sample."""
    total = 0.0
    for history in itertools.product([True, False], repeat=epochs):
        present, chance = (True, *history), 1.0
        for before, now in itertools.pairwise(present):
            stays = 1 - rho * below if before else 1 - rho
            chance *= stays if now else 1 - stays
        # The first epoch is forced; the last entry is the epoch that is weighted.
        if present[-1]:
            total += chance * epochs / sum(present[:-1])
    return total


@pytest.mark.parametrize("epochs", [1, 2, 5, 9])
@pytest.mark.parametrize(("rho", "below"), [(0.5, 1.0), (0.7, 0.6), (0.3, 0.2), (0.9, 0.0)])
def test_renewal_argument_counts_every_history(rho: float, below: float, epochs: int) -> None:
    ours = expected_contributions(gap_chances(rho, below, epochs))[-1]
    assert float(ours) == pytest.approx(contribution_by_hand(rho, below, epochs), rel=1e-12)


@given(chances, st.integers(1, 80))
def test_memoryless_gaps_contribute_one_minus_rho_to_the_epoch(rho: float, epochs: int) -> None:
    ours = expected_contributions(gap_chances(rho, 1.0, epochs)).numpy()
    np.testing.assert_allclose(ours, 1 - rho ** np.arange(1, epochs + 1), atol=1e-12)


@given(chances, shares)
def test_chain_of_any_sample_is_as_fast(rho: float, below: float) -> None:
    ours = expected_contributions(gap_chances(rho, below, 60)).numpy()
    missing = 1 - ours
    assert (missing >= -1e-12).all(), "no Jensen over-weighting"
    assert (missing <= rho ** np.arange(1, 61) + 1e-12).all()


def test_any_gaps_with_a_mean_contribute_one_in_the_end() -> None:
    gaps = torch.zeros(400, dtype=torch.float64)
    gaps[[0, 1, 4, 8]] = torch.tensor([0.3, 0.2, 0.4, 0.1], dtype=torch.float64)
    assert float(expected_contributions(gaps)[-1]) == pytest.approx(1, abs=1e-9)


def test_counting_the_current_epoch_would_leave_a_bias() -> None:
    """(E + 1)/(N + 1): 0.900 after 10 epochs and 0.980 after 50, at ρ = 0.5 of an easy sample."""
    for epochs, value in ((10, 0.900), (50, 0.980)):
        binomial = [math.comb(epochs - 1, k) / 2 ** (epochs - 1) for k in range(epochs)]
        current = 0.5 * sum(p * (epochs + 1) / (k + 2) for k, p in enumerate(binomial))
        assert current == pytest.approx(value, abs=1e-3)
        ours = float(expected_contributions(gap_chances(0.5, 1.0, epochs))[-1])
        assert 1 - ours == pytest.approx(0.5**epochs, abs=1e-12)


@pytest.mark.parametrize("gaps", [[0.6, 0.6], [-0.1, 0.5], [[0.5, 0.5]]])
def test_gaps_that_are_no_distribution_are_refused(gaps: list[float]) -> None:
    with pytest.raises(SettingError, match="sum to 1 at most"):
        expected_contributions(torch.tensor(gaps))


# ------------------------------------------------------------------------------------------ drift


def test_losses_drift_less_than_the_bound_inside_a_window() -> None:
    """Logistic losses are ‖x‖-Lipschitz; plain SGD on them; every pair of steps in each window."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    lipschitz, window, rate = float(inputs.norm(dim=1).max()), 4, 0.5
    theta = torch.zeros(5, dtype=torch.float64)
    losses, steps = [], []
    for batch in inputs.split(10):
        losses.append(torch.nn.functional.softplus(-inputs @ theta))
        gradient = -(batch * torch.sigmoid(-batch @ theta)[:, None]).mean(0)
        steps.append(float(gradient.norm()))
        theta = theta - rate * gradient
    bound = drift_bound(lipschitz, window, rate, gradient_bound=max(steps))
    drift = max(
        float((losses[t] - losses[later]).abs().max())
        for t in range(0, len(losses), window)
        for later in range(t, t + window)
    )
    assert 0 < drift <= bound
    assert drift > bound / 20, "it says something"


def test_a_drift_as_large_as_the_spread_is_called_vacuous() -> None:
    with pytest.warns(ThresherWarning, match=r"vacuous.*window=1"):
        drift_bound(2.0, 400, 0.1, 1.0, spread=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drift_bound(2.0, 4, 0.01, 1.0, spread=2.0)
        # One step has one set of parameters: however large the bound, nothing drifts.
        drift_bound(2.0, 1, 10.0, 1.0, spread=2.0)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_without_a_step_is_refused(window: int) -> None:
    with pytest.raises(SettingError, match="optimizer steps"):
        drift_bound(1.0, window, 0.1, 1.0)
