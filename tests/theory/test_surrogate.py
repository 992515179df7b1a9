"""OrderDP's surrogate: what its gradient estimates, its limit, and the bounds on both gaps."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thresher.errors import SettingError, ThresherWarning
from thresher.theory.sampling_bias import sampling_bias, stated_bias
from thresher.theory.surrogate import (
    surrogate_gap,
    surrogate_loss,
    surrogate_weights,
    top_mean,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squared_residuals(theta: Tensor, num_samples: int) -> Tensor:
    generator = seeded(7)
    inputs = torch.randn(num_samples, len(theta), generator=generator, dtype=torch.float64)
    targets = torch.randn(num_samples, generator=generator, dtype=torch.float64)
    return (inputs @ theta - targets).square() / 2


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Tensor, int, int]:
    values = draw(st.lists(st.floats(0, 100), min_size=1, max_size=40))
    s = draw(st.integers(1, len(values)))
    return torch.tensor(values, dtype=torch.float64), s, draw(st.integers(1, s))


@pytest.mark.parametrize(("n", "s", "q"), [(7, 4, 2), (8, 5, 5), (8, 3, 1), (6, 6, 3), (9, 5, 3)])
def test_mean_over_the_top_of_a_draw_is_unbiased_for_the_surrogate(n: int, s: int, q: int) -> None:
    """By enumeration, of the loss and of the gradient: OrderDP's Theorem 1."""
    theta = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64, requires_grad=True)
    losses = squared_residuals(theta, n)
    subsets = list(combinations(range(n), s))
    tops = [losses[list(subset)].topk(q).values.mean() for subset in subsets]
    expected = torch.stack(tops).mean()
    surrogate = surrogate_loss(losses, s, q)
    assert surrogate.item() == pytest.approx(expected.item(), rel=1e-13)
    (ours,) = torch.autograd.grad(surrogate, theta, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, theta)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)


def top_gradients(ranked_at: Tensor, runs: int, n: int, s: int, q: int) -> tuple[Tensor, Tensor]:
    """The gradients of random in-batch top-q means, ranked by losses at other parameters."""
    theta = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda t: squared_residuals(t, n))(theta)
    order = squared_residuals(ranked_at, n)
    batches = torch.rand(runs, n, generator=seeded(3)).argsort(1)[:, :s]
    top = batches.gather(1, order[batches].topk(q, dim=1).indices)
    target = torch.func.grad(lambda t: surrogate_loss(squared_residuals(t, n), s, q))(theta)
    return jacobian[top].mean(1), target


@pytest.mark.parametrize("stale", [False, True])
def test_in_batch_top_q_follows_the_surrogate_only_with_fresh_ranks(stale: bool) -> None:
    theta = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64)
    runs = 8000
    ranked_at = torch.zeros(3, dtype=torch.float64) if stale else theta
    gradients, target = top_gradients(ranked_at, runs, n=60, s=20, q=6)
    error = gradients.std(0) / math.sqrt(runs)
    off = float(((gradients.mean(0) - target) / error).abs().max())
    assert (off > 10) if stale else (off < 4.5)


@given(drawn())
def test_weights_by_sample_give_the_surrogate(case: tuple[Tensor, int, int]) -> None:
    losses, s, q = case
    weights = surrogate_weights(losses, s, q)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-12)
    assert float(weights @ losses) == pytest.approx(
        float(surrogate_loss(losses, s, q)), rel=1e-12, abs=1e-12
    )
    largest_first = losses.argsort(descending=True)
    assert bool((weights[largest_first].diff() <= 1e-15).all())


def test_equal_losses_weigh_the_same() -> None:
    weights = surrogate_weights(torch.tensor([1.0, 2.0, 1.0, 2.0, 2.0]), 3, 2)
    assert weights[[1, 3, 4]].unique().numel() == weights[[0, 2]].unique().numel() == 1


@pytest.mark.parametrize(
    ("rho_s", "rho_q", "value"), [(0.75, 0.85, 1.154), (0.5, 0.6, 1.499), (0.8, 0.375, 1.967)]
)
def test_surrogate_of_many_samples_is_the_mean_of_the_top_share(
    rho_s: float, rho_q: float, value: float
) -> None:
    n = 20_000
    losses = torch.empty(n, dtype=torch.float64).exponential_(generator=seeded(0))
    s = int(rho_s * n)
    q = round(rho_q * s)
    surrogate = float(surrogate_loss(losses, s, q))
    assert surrogate == pytest.approx(float(top_mean(losses, q / s)), rel=2e-4)
    # Of exponential losses the top share x has mean 1 - log x, with a deviation near 1/sqrt(x n).
    assert surrogate == pytest.approx(1 - math.log(rho_q), abs=4 / math.sqrt(rho_q * n))
    assert value == pytest.approx(1 - math.log(rho_q), abs=0.03)


def test_top_mean_counts_a_broken_sample_in_part() -> None:
    losses = torch.tensor([1.0, 5.0, 3.0], requires_grad=True)
    assert top_mean(losses, 1.0).item() == pytest.approx(3)
    assert top_mean(losses, 2 / 3).item() == pytest.approx(4)
    half = top_mean(losses, 0.5)
    assert half.item() == pytest.approx((5 + 0.5 * 3) / 1.5)
    half.backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([0, 1 / 1.5, 0.5 / 1.5])


@given(drawn())
def test_no_losses_are_further_from_their_mean_than_the_gap(case: tuple[Tensor, int, int]) -> None:
    losses, s, q = case
    gap = float(surrogate_loss(losses, s, q) - losses.mean())
    spread = float(losses.max() - losses.min())
    assert -1e-9 <= gap <= surrogate_gap(len(losses), s, q, spread) + 1e-9


@pytest.mark.parametrize(("n", "s", "q"), [(50, 20, 5), (1000, 500, 300), (30, 30, 10)])
def test_losses_of_two_values_reach_the_gap(n: int, s: int, q: int) -> None:
    def distance(num_high: int) -> float:
        losses = (torch.arange(n) < num_high).double()
        return float(surrogate_loss(losses, s, q) - losses.mean())

    assert max(map(distance, range(1, n))) == pytest.approx(surrogate_gap(n, s, q), rel=1e-10)
    assert surrogate_gap(n, s, s) == 0.0


def test_gap_of_many_samples_is_one_minus_the_trained_share() -> None:
    assert surrogate_gap(200_000, 100_000, 60_000) == pytest.approx(1 - 0.6, abs=5e-3)


@given(drawn())
def test_surrogate_is_within_the_bias_of_drawing_from_the_top_mean(
    case: tuple[Tensor, int, int],
) -> None:
    losses, s, q = case
    spread = float(losses.max() - losses.min())
    gap = abs(float(surrogate_loss(losses, s, q) - top_mean(losses, q / s)))
    n = len(losses)
    bound = s / q * spread / 2 * math.sqrt((n - s) / (s * (n - 1))) if n > 1 else 0.0
    assert gap <= bound + 1e-7 * float(losses.abs().max())
    if bound < spread:
        assert sampling_bias(n, s, q, spread) == pytest.approx(bound)


def test_bias_of_drawing_vanishes_when_everything_is_drawn() -> None:
    assert sampling_bias(1000, 1000, 300, spread=5.0) == 0.0
    assert stated_bias(1000, 1000, spectrum_bound=3.0, loss_bound=5.0) == 0.0


def test_stated_bias_is_what_ours_proves_and_falls_with_its_correction() -> None:
    n, s, q = 10_000, 5000, 4000
    stated = stated_bias(n, s, spectrum_bound=s / q, loss_bound=3.0)
    assert stated == pytest.approx(2 * math.sqrt(2) * sampling_bias(n, s, q, spread=3.0))
    largest = (n - s) / (s * (n - 1))
    halved = stated_bias(n, s, s / q, 3.0, correction=largest * 0.75)
    assert halved == pytest.approx(stated / 2)
    with pytest.raises(SettingError, match="Q_n"):
        stated_bias(n, s, s / q, 3.0, correction=1.01 * largest)


def test_a_bias_beyond_the_range_of_the_losses_is_called_vacuous() -> None:
    with pytest.warns(ThresherWarning, match=r"vacuous.*Draw more samples"):
        assert sampling_bias(100, 6, 1, spread=1.0) > 1.0
    with pytest.warns(ThresherWarning, match="vacuous"):
        stated_bias(100, 4, spectrum_bound=2.0, loss_bound=1.0)


@pytest.mark.parametrize("share", [0.0, 1.1, math.nan])
def test_top_mean_refuses_what_is_no_share(share: float) -> None:
    with pytest.raises(SettingError, match="a share"):
        top_mean(torch.ones(3), share)
