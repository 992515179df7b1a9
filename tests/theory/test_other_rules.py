"""The formulas of InfoBatch, Katharopoulos and Fleuret, SeTa and Selective Backprop."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thresher.errors import SettingError
from thresher.theory.importance import tau, tau_threshold
from thresher.theory.percentile import kept_share
from thresher.theory.saving import expected_saving
from thresher.theory.windows import window_usage


@pytest.mark.parametrize("epochs", [1, 2, 50, 90, 100, 200])
def test_saving_counts_the_epochs_that_may_prune(epochs: int) -> None:
    active = max(0, math.floor(Fraction(7, 8) * epochs) - 1)
    assert expected_saving(0.5, 0.6, epochs) == pytest.approx(0.3 * active / epochs)


def test_saving_of_whole_products_does_not_lose_an_epoch_to_rounding() -> None:
    assert expected_saving(1.0, 1.0, 10, delta=0.7) == pytest.approx(0.6)


def test_nothing_above_the_easy_share_can_be_saved() -> None:
    assert expected_saving(1.0, 0.63, 10_000, delta=1.0) == pytest.approx(0.63, rel=2e-4)


@pytest.mark.parametrize("arguments", [(1.1, 0.5, 9), (0.5, 1.1, 9), (0.5, 0.5, 0)])
def test_shares_out_of_range_are_refused(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(SettingError):
        expected_saving(*arguments)


norms = st.lists(st.floats(0, 1e6), min_size=1, max_size=50).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@given(norms)
def test_tau_is_what_the_paper_defines(values: Tensor) -> None:
    total, size = float(values.sum()), len(values)
    found = tau(values)
    assert 1 - 1e-9 <= found <= math.sqrt(size) * (1 + 1e-9)
    if total > 1e-150:
        g = values / total
        distance = float((g - 1 / size).square().sum() / g.square().sum())
        assert found == pytest.approx(max(1 - distance, 1e-300) ** -0.5, rel=1e-6)
        assert found == pytest.approx(math.sqrt(size * float(g.square().sum())), rel=1e-9)


@given(norms)
def test_sampling_by_importance_divides_the_second_moment_by_tau_squared(values: Tensor) -> None:
    values = values + 1e-3
    size = len(values)
    g = values / values.sum()
    # One draw, weighted by 1/(B g_i), against one uniform draw.
    by_importance = float((g * (values / (size * g)).square()).sum())
    uniform = float(values.square().mean())
    assert by_importance / uniform == pytest.approx(tau(values) ** -2, rel=1e-9)


def test_tau_survives_norms_whose_squares_do_not() -> None:
    assert tau(torch.tensor([1e-200, 3e-200], dtype=torch.float64)) == pytest.approx(
        math.sqrt(5) / 2
    )
    assert tau(torch.zeros(3)) == 1.0


@pytest.mark.parametrize("values", [[], [1.0, -1.0], [math.nan], [[1.0]]])
def test_what_are_no_norms_are_refused(values: list[float]) -> None:
    with pytest.raises(SettingError, match="one norm"):
        tau(torch.tensor(values))


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_threshold_is_where_both_costs_are_equal(candidates: int, batch_size: int) -> None:
    threshold = tau_threshold(candidates, batch_size)
    assert candidates + 3 * batch_size == pytest.approx(3 * threshold * batch_size)


@given(st.integers(1, 30), st.data())
def test_window_usage_counts_the_positions_of_the_window(groups: int, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, groups))
    positions = [range(start, start + window) for start in range(groups - window + 1)]
    by_hand = [sum(j in place for place in positions) / len(positions) for j in range(groups)]
    assert window_usage(groups, window).tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize("window", [0, 6])
def test_a_window_that_does_not_fit_is_refused(window: int) -> None:
    with pytest.raises(SettingError, match="neighbouring groups"):
        window_usage(5, window)


@given(st.floats(0, 20), st.floats(0, 1))
def test_kept_share_is_the_mean_chance_of_a_uniform_percentile(beta: float, least: float) -> None:
    percentiles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    mean = float(percentiles.pow(beta).clamp(min=least).mean())
    assert kept_share(beta, least) == pytest.approx(mean, abs=1e-5)


def test_kept_share_of_whole_exponents() -> None:
    assert [kept_share(beta) for beta in (0, 1, 2, 3)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert kept_share(1.0, least=1.0) == 1.0
    with pytest.raises(SettingError):
        kept_share(-1.0)
