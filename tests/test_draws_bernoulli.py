"""Bernoulli draws have their marginals exactly."""

import math

import pytest
import torch

from draw_checks import assert_marginals
from thresher import draws
from thresher.draws import Draws


def test_bernoulli_keeps_each_sample_with_its_probability() -> None:
    p = torch.tensor([0.0, 1e-3, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    num_draws = 20_000
    u = Draws(0, 0).uniform(num_draws * len(p), "u", torch.float64)
    kept = draws.bernoulli(p.repeat(num_draws), u).view(num_draws, -1)
    assert_marginals(kept.double().sum(0), p, num_draws)


def test_bernoulli_compares_mixed_precision_exactly() -> None:
    u = torch.tensor([0.1], dtype=torch.float32)  # the float32 0.1 is above the float64 one
    assert not draws.bernoulli(torch.tensor([0.1], dtype=torch.float64), u).item()


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_probabilities_outside_the_unit_interval_are_refused(bad: float) -> None:
    p = torch.tensor([0.5, bad])
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\]"):
        draws.bernoulli(p, torch.rand(2, generator=torch.Generator()))
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\]"):
        draws.systematic(p, torch.arange(2), 0.5)
