"""Made-up numbers to draw by, and when counted draws are as likely as they should be."""

import math

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

magnitudes = st.one_of(
    st.just(0.0),
    st.sampled_from([1.0, 2.0, 0.5]),  # ties
    st.floats(0.0, 10.0),
    st.floats(-300.0, 300.0).map(lambda power: 10.0**power),  # heavy tails
)
importances = st.lists(magnitudes, min_size=1, max_size=40)
shares = st.one_of(st.floats(1e-3, 1.2), st.sampled_from([0.25, 0.5, 1.0]))


def normal(num: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=num))


def float64(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_marginals(counts: Tensor, p: Tensor, num_draws: int) -> None:
    """Within 4.5 standard errors at every sample, and 4 for the mean square (k of them at once)."""
    certain = (p == 0) | (p == 1)
    assert torch.equal(counts[certain], (p * num_draws)[certain])
    z = (counts - p * num_draws)[~certain] / (p * (1 - p) * num_draws)[~certain].sqrt()
    assert float(z.abs().max()) < 4.5
    assert float(z.square().mean()) < 1 + 4 * math.sqrt(2 / len(z))
