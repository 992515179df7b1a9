"""The factored forms of last-layer gradients equal the gradients themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from static.found import made_up
from thresher.static import Collected, MoSo


def dense(data: Collected) -> Tensor:
    """g_i written out: float64, shape (n, c·(d + 1))."""
    assert data.labels is not None
    assert data.features is not None
    assert data.probabilities is not None
    residuals = data.probabilities.double() - F.one_hot(data.labels, data.num_classes)
    inputs = torch.cat([data.features, torch.ones(data.num_samples, 1)], dim=1).double()
    return torch.einsum("nc,nd->ncd", residuals, inputs).flatten(1)


def close(found: Tensor, expected: Tensor, terms: Tensor | None = None) -> bool:
    """Within float32 rounding of sums of a few hundred terms; their sizes, where they cancel."""
    scale = float((expected if terms is None else terms).abs().max()) + 1e-12
    return bool(((found.double() - expected).abs() <= 1e-5 * scale).all())


@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), features=st.integers(1, 9))
def test_factored_gradients_are_the_gradients(seed: int, size: int, features: int) -> None:
    data = made_up(size, seed=seed, features=features)
    gradients, generator = dense(data), torch.Generator().manual_seed(seed)
    ids = torch.randint(size, (7,), generator=generator)
    others = torch.randint(size, (3,), generator=generator)
    weights = torch.rand(7, generator=generator)
    direction = torch.randn(data.num_classes, features + 1, generator=generator)
    flat, sizes = direction.double().flatten(), gradients.abs()
    assert close(data.gradient_norms(), gradients.norm(dim=1))
    assert close(data.gradient_norms(ids), gradients[ids].norm(dim=1))
    assert close(
        data.inner_products(ids, others),
        gradients[ids] @ gradients[others].T,
        sizes[ids] @ sizes[others].T,
    )
    assert close(data.gradient_sum().flatten(), gradients.sum(0), sizes.sum(0))
    expected = weights.double() @ gradients[ids]
    assert close(data.gradient_sum(ids, weights).flatten(), expected, sizes[ids].sum(0))
    assert close(data.projections(direction), gradients @ flat, sizes @ flat.abs())
    assert close(data.projections(direction, ids), gradients[ids] @ flat, sizes[ids] @ flat.abs())


def test_signals_are_their_formulas() -> None:
    data = made_up(23)
    assert data.labels is not None
    assert data.probabilities is not None
    for i in range(23):
        p = data.probabilities[i].double()
        ordered = p.sort(descending=True).values
        y = F.one_hot(data.labels[i], data.num_classes)
        expected = {
            "loss": -p[data.labels[i]].log(),
            "el2n": (p - y).square().sum().sqrt(),
            "least_confidence": 1 - ordered[0],
            "entropy": -(p * p.log()).sum(),
            "margin": ordered[0] - ordered[1],
        }
        for name, value in expected.items():
            assert float(data.signal(name)[i]) == pytest.approx(float(value), abs=1e-6), name


def test_entropy_of_a_certain_prediction_is_zero() -> None:
    data = Collected(num_classes=2, probabilities=torch.tensor([[1.0, 0.0]]))
    assert data.signal("entropy").tolist() == [0.0]


@given(seed=st.integers(0, 10**6), size=st.integers(2, 30))
def test_moso_is_its_formula(seed: int, size: int) -> None:
    data = made_up(size, seed=seed)
    gradients, n = dense(data), size
    mean = gradients.mean(0)
    left_over = ((mean - gradients / n) * gradients).sum(1)
    # Terms may cancel: rounding is of their size.
    terms = mean.square().sum() + gradients.square().sum(1).max() + left_over.abs().max()
    assert bool(((MoSo().score(data) - left_over).abs() < 1e-5 * terms).all())
    exact = (
        (2 * n - 3) / (n - 1) ** 2 * mean.square().sum()
        - gradients.square().sum(1) / (n - 1) ** 2
        + (2 * n - 4) / (n - 1) ** 2 * left_over
    )
    assert bool(((MoSo(form="exact").score(data) - exact).abs() < 1e-5 * terms).all())


def test_moso_is_what_the_others_lose_when_a_sample_is_left_out() -> None:
    """The paper's definition, for one small step η: R₋(θ − η∇R₋) − R₋(θ − η∇R), over η.

    R₋ is the risk of all but sample i, so this is ⟨∇R₋, ∇R⟩ − ‖∇R₋‖² to first order.
    """
    n = 30
    data = made_up(n, seed=4)
    gradients = dense(data)
    mean = gradients.mean(0)
    others = (n * mean - gradients) / (n - 1)
    lost = (others * mean).sum(1) - others.square().sum(1)
    score = MoSo().score(data).double()
    assert float(torch.corrcoef(torch.stack([lost, score]))[0, 1]) > 0.99
