"""k-center greedy and contextual diversity: their distances, their order, and their radius."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from static.dense import distances
from static.found import made_up
from thresher.static import Collected, ContextualDiversity, KCenterGreedy
from thresher.static.contextual_diversity import symmetric_divergences
from thresher.static.k_center_greedy import squared_distances


def farthest_first(pairs: Tensor, start: int, count: int) -> list[int]:
    """The rule, literally."""
    chosen = [start]
    while len(chosen) < count:
        radius = {
            i: min(float(pairs[i, j]) for j in chosen) for i in range(len(pairs)) if i not in chosen
        }
        chosen.append(max(radius, key=lambda i: radius[i]))
    return chosen


def divergences(probabilities: Tensor) -> Tensor:
    p = probabilities.double()
    one = (p[:, None] * (p[:, None].log() - p[None].log())).sum(2)
    return one + one.T


def features(seed: int, size: int, width: int) -> Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 3), st.data())
def test_the_radius_is_at_most_twice_the_best(
    seed: int, size: int, width: int, draw: st.DataObject
) -> None:
    count = draw.draw(st.integers(1, size))
    first = draw.draw(st.integers(0, size - 1))
    points = features(seed, size, width)
    pairs = distances(points)
    ratio = 1 - count / size
    ids, _ = KCenterGreedy(first=first).select(Collected(features=points), prune_ratio=ratio)
    assert len(ids) == count
    best = min(
        float(pairs[:, list(centres)].amin(1).max())
        for centres in itertools.combinations(range(size), count)
    )
    # A millionth for the rounding of distances in float32.
    assert float(pairs[:, ids].amin(1).max()) <= 2 * best + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_centres_come_in_the_order_of_the_rule(seed: int) -> None:
    points = features(seed, 90, 4) + 100 * seed
    expected = farthest_first(distances(points), 7, 60)
    ids, _ = KCenterGreedy(first=7).select(Collected(features=points), prune_ratio=1 / 3)
    assert ids.tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_contextual_diversity_is_the_same_rule_among_predictions(seed: int) -> None:
    data = made_up(80, seed=seed)
    assert data.probabilities is not None
    expected = farthest_first(divergences(data.probabilities), 5, 40)
    ids, _ = ContextualDiversity(first=5).select(data, prune_ratio=0.5)
    assert ids.tolist() == expected


def test_distances_are_those_of_all_pairs() -> None:
    points = features(0, 40, 6) + 50
    found = squared_distances(points)(np.arange(40))
    # Eight digits of squares of about 12, after the common 50 is taken off.
    assert np.abs(found - distances(points).square().numpy()).max() < 1e-4


def test_divergences_are_those_of_all_pairs() -> None:
    p = features(1, 40, 5).mul(3).softmax(1)
    found = symmetric_divergences(p)(np.arange(40))
    expected = divergences(p).numpy()
    assert np.abs(found - expected).max() < 1e-5 * expected.max()


def test_a_prediction_of_zero_is_far_away_and_finite() -> None:
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    found = symmetric_divergences(p)(np.arange(3))
    assert np.isfinite(found).all()
    assert found[0, 1] > found[0, 2] > 40


def test_fewer_centres_are_the_first_of_more() -> None:
    data = made_up(200)
    for method in (KCenterGreedy(), ContextualDiversity()):
        longest, _ = method.select(data, prune_ratio=0.0)
        ids, _ = method.select(data, prune_ratio=0.7)
        assert torch.equal(ids, longest[:60])


@pytest.mark.parametrize("kind", [KCenterGreedy, ContextualDiversity])
def test_the_start_is_given_or_drawn(
    kind: type[KCenterGreedy] | type[ContextualDiversity],
) -> None:
    data = made_up(100)
    assert kind(first=42).select(data, prune_ratio=0.9)[0][0] == 42
    starts = {int(kind(seed=seed).select(data, prune_ratio=0.99)[0][0]) for seed in range(40)}
    assert len(starts) > 20, "40 draws of 100 give 33 different ones on average"


def test_an_id_of_another_class_starts_nothing() -> None:
    data = made_up(100)
    assert data.labels is not None
    first = int((data.labels == 1).nonzero()[0])
    ids, _ = KCenterGreedy(first=first, balanced=True).select(data, prune_ratio=0.5)
    of_its_class = ids[data.labels[ids] == 1]
    assert of_its_class[0] == first
