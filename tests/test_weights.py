"""Laws of the weights: what each is unbiased for, and that none is ever zero, infinite or NaN."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thresher import draws, weights
from thresher.draws import Draws

FEW = settings(max_examples=60, deadline=None)
positive = st.lists(st.floats(2.0**-10, 1e3, width=32), min_size=1, max_size=30)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(num: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).exponential(size=num))


def assert_mean(values: Tensor, expected: float) -> None:
    """The mean is within 4 of its own standard errors."""
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - expected) < 4 * error + 1e-7 * abs(expected)


# --- inverse probability ---------------------------------------------------------------------


def test_inverse_probability_sums_are_unbiased_under_bernoulli() -> None:
    g = gradients(60)
    p = draws.inclusion_probabilities(g.sqrt() + 0.1, 24.5)
    w = weights.inverse_probability(p).double()
    u = Draws(0, 0).uniform(20_000 * 60, "u", torch.float64).view(20_000, 60)
    sums = torch.stack([(w * g)[draws.bernoulli(p, row)].sum() for row in u[:5000]])
    assert_mean(sums, float(g.sum()))


@pytest.mark.parametrize("ratio", [None, 0.4])
def test_means_over_a_fixed_size_are_unbiased_in_both_modes(ratio: float | None) -> None:
    n, size = 60, 24
    g = gradients(n)
    p = draws.inclusion_probabilities(g.sqrt() + 0.1, size)
    w = weights.inverse_probability(p, population_ratio=ratio).double()
    u = Draws(0, 1).uniform(5000, "u", torch.float64).tolist()
    orders = Draws(0, 1).uniform(5000 * n, "orders").view(5000, n).argsort(1)
    means = torch.stack(
        [(w * g)[draws.systematic(p, o, x)].mean() for o, x in zip(orders, u, strict=True)]
    )
    assert_mean(means, float(g.mean()) * (1 if ratio else n / size))


@FEW
@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_inverse_probability_is_rounded_once(values: list[float], ratio: float) -> None:
    p = torch.tensor(values, dtype=torch.float64)
    w = weights.inverse_probability(p, population_ratio=ratio)
    assert w.dtype == torch.float32
    assert w.tolist() == [np.float32(ratio / v) for v in values]
    assert weights.inverse_probability(p).tolist() == [np.float32(1 / v) for v in values]


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, math.nan, math.inf])
def test_probabilities_without_an_inverse_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be in \(0, 1\]"):
        weights.inverse_probability(torch.tensor([0.5, bad]))
    with pytest.raises(ValueError, match=r"population_ratio must be in \(0, 1\]"):
        weights.inverse_probability(torch.tensor([0.5]), population_ratio=bad)


def test_a_weight_beyond_float32_is_refused() -> None:
    with pytest.raises(ValueError, match="leave the range of float32"):
        weights.inverse_probability(torch.tensor([1e-40], dtype=torch.float64))


# --- cumulative ------------------------------------------------------------------------------


def test_cumulative_weights_are_one_before_there_is_a_history() -> None:
    assert weights.cumulative(0, torch.zeros(3, dtype=torch.int32)).tolist() == [1.0] * 3
    assert weights.cumulative(1, torch.ones(3, dtype=torch.int32)).tolist() == [1.0] * 3


@FEW
@given(st.integers(1, 1000), st.data())
def test_cumulative_is_epochs_over_inclusions(epochs: int, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, epochs), min_size=0, max_size=20))
    w = weights.cumulative(epochs, torch.tensor(counts, dtype=torch.int32))
    assert w.dtype == torch.float32
    assert w.tolist() == [np.float32(epochs / count) for count in counts]


@pytest.mark.parametrize("drop", [0.3, 0.5, 0.7])
def test_a_contribution_is_one_minus_rho_to_the_epochs_done(drop: float) -> None:
    """methods.md §1.6: epoch 1 is certain, later ones are kept with probability 1 − ρ."""
    n, epochs = 40_000, 8
    counts = torch.ones(n, dtype=torch.int32)
    for done in range(1, epochs):
        kept = Draws(0, done).uniform(n, "keep") >= drop
        contribution = torch.where(kept, weights.cumulative(done, counts), 0.0).double()
        assert_mean(contribution, 1 - drop**done)
        counts += kept


def test_cumulative_refuses_counts_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"counts must be in \[1, 3\].*from 0 to 2"):
        weights.cumulative(3, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"counts must be in \[1, 3\].*from 1 to 4"):
        weights.cumulative(3, torch.tensor([1, 4]))
    with pytest.raises(ValueError, match="epochs_done must not be negative; got -1"):
        weights.cumulative(-1, torch.tensor([1]))


# --- clipping --------------------------------------------------------------------------------


@FEW
@given(positive, st.floats(0.01, 100.0))
def test_clipping_bounds_and_otherwise_changes_nothing(values: list[float], bound: float) -> None:
    w = torch.tensor(values)
    clipped = weights.clipped(w, bound)
    assert clipped.dtype == torch.float32
    assert clipped.tolist() == [min(v, float(np.float32(bound))) for v in values]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_clipping_refuses(bad: float) -> None:
    with pytest.raises(ValueError, match="max_weight must be positive and finite"):
        weights.clipped(torch.ones(2), bad)
    with pytest.raises(ValueError, match="weights must be positive and finite"):
        weights.clipped(torch.tensor([1.0, bad]), 2.0)


# --- step exponent ---------------------------------------------------------------------------


@FEW
@given(positive, st.integers(0, 100), st.floats(-1.0, 2.0))
def test_step_exponent_fixes_the_mean_and_keeps_the_ratios(
    values: list[float], pruned: int, exponent: float
) -> None:
    w, n = torch.tensor(values), len(values) + pruned
    scaled = weights.to_step_exponent(w, n, exponent)
    assert scaled.dtype == torch.float32
    target = (n / len(values)) ** exponent
    assert float(scaled.double().mean()) == pytest.approx(target, rel=1e-6)
    assert torch.allclose(scaled / scaled[0], w / w[0], rtol=1e-6, atol=0)
    again = weights.to_step_exponent(scaled, n, exponent)
    assert torch.allclose(again, scaled, rtol=1e-6, atol=0)


def test_the_published_rules_are_fixed_points_of_their_exponents() -> None:
    kept, low, n = 50, 80, 100  # InfoBatch: 50 of 80 low samples, and all 20 high ones
    infobatch = torch.cat([torch.full((kept,), low / kept), torch.ones(n - low)])
    assert torch.allclose(weights.to_step_exponent(infobatch, n, 1.0), infobatch, rtol=1e-6)
    assert weights.to_step_exponent(torch.ones(30), 90, 0.0).tolist() == [1.0] * 30
    assert weights.to_step_exponent(torch.ones(30), 90, 1.0).tolist() == [3.0] * 30


def test_step_exponent_gives_the_same_bits_for_any_number_of_threads(
    set_threads: Callable[[int], None],
) -> None:
    w = gradients(200_000).float() + 0.1
    set_threads(1)
    one = weights.to_step_exponent(w, 300_000, 0.5)
    set_threads(2)
    assert torch.equal(one, weights.to_step_exponent(w, 300_000, 0.5))


def test_step_exponent_refuses() -> None:
    with pytest.raises(ValueError, match="got 0"):
        weights.to_step_exponent(torch.ones(0), 3, 1.0)
    with pytest.raises(ValueError, match=r"num_samples=3 samples; got 4"):
        weights.to_step_exponent(torch.ones(4), 3, 1.0)
    with pytest.raises(ValueError, match="exponent must be finite; got nan"):
        weights.to_step_exponent(torch.ones(2), 3, math.nan)
    with pytest.raises(ValueError, match="leave the range of float32"):
        weights.to_step_exponent(torch.ones(2), 2000, 1000.0)
    with pytest.raises(ValueError, match="leave the range of float32"):
        weights.to_step_exponent(torch.ones(2), 2000, -1000.0)
    with pytest.raises(ValueError, match="weights must be positive and finite"):
        weights.to_step_exponent(torch.tensor([1.0, 0.0]), 2, 1.0)


def test_no_weight_changes_or_keeps_the_graph_of_its_input() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for result in (
        weights.clipped(w, 1.5),
        weights.to_step_exponent(w, 4, 1.0),
        weights.inverse_probability(w.detach() / 2),
    ):
        assert not result.requires_grad
    assert w.tolist() == [1.0, 2.0]
