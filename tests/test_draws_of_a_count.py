"""Exact count and top q: the smallest keys and the largest scores, ties at random."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draw_checks import normal
from thresher import draws
from thresher.draws import Draws

FEW = settings(max_examples=60, deadline=None)


small_keys = st.integers(0, 3).map(float)


@FEW
@given(st.lists(st.tuples(st.booleans(), small_keys), min_size=0, max_size=30), st.data())
def test_exact_count_keeps_the_smallest_keys_even_when_they_tie(
    samples: list[tuple[bool, float]], data: st.DataObject
) -> None:
    candidates = torch.tensor([c for c, _ in samples], dtype=torch.bool)
    keys = torch.tensor([k for _, k in samples])
    count = data.draw(st.integers(0, int(candidates.sum())))
    members = [i for i, (c, _) in enumerate(samples) if c]
    expected = sorted(members, key=lambda i: (samples[i][1], i))[:count]
    kept = draws.exact_count(candidates, count, keys)
    assert kept.dtype == torch.bool
    assert kept.nonzero().flatten().tolist() == sorted(expected)


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan, math.inf, -math.inf]),
            small_keys,
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.data(),
)
def test_top_q_matches_a_sort(
    samples: list[tuple[float, float, bool]],
    restricted: bool,
    dtype: torch.dtype,
    data: st.DataObject,
) -> None:
    scores = torch.tensor([s for s, _, _ in samples], dtype=dtype)
    keys = torch.tensor([k for _, k, _ in samples])
    among = torch.tensor([a for _, _, a in samples]) if restricted else None
    members = [i for i in range(len(samples)) if among is None or among[i]]
    q = data.draw(st.integers(0, len(members)))

    def rank(i: int) -> tuple[float, float, int]:
        score = samples[i][0]
        return (-score if math.isfinite(score) else -math.inf), samples[i][1], i

    kept = draws.top_q(scores, q, keys, among)
    assert kept.nonzero().flatten().tolist() == sorted(sorted(members, key=rank)[:q])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.integers(0, 3).map(float), st.booleans()
        ),
        min_size=1,
        max_size=20,
    ),
    st.data(),
)
def test_exact_count_of_scores_tells_ties_apart_by_the_second_keys(
    samples: list[tuple[float, float, bool]], data: st.DataObject
) -> None:
    """NaN only where nobody may be kept; the second keys are drawn only where they decide."""
    scores, ties = (torch.tensor([each[k] for each in samples]) for k in range(2))
    members = [i for i, (s, _, may) in enumerate(samples) if may and not math.isnan(s)]
    among = torch.zeros(len(samples), dtype=torch.bool)
    among[members] = True
    count, drawn = data.draw(st.integers(0, len(members))), list[int]()

    def draw() -> torch.Tensor:
        drawn.append(1)
        return ties

    kept = draws.exact_count(among, count, scores, draw).nonzero().flatten().tolist()
    ranked = sorted(members, key=lambda i: (samples[i][0], samples[i][1], i))
    assert kept == sorted(ranked[:count])
    cut = 0 < count < len(ranked) and samples[ranked[count - 1]][0] == samples[ranked[count]][0]
    assert len(drawn) == cut


def test_top_q_draws_keys_only_where_scores_tie() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("nothing to tell apart")

    scores = torch.tensor([1.0, 3.0, 2.0, 2.0, math.nan])
    assert draws.top_q(scores, 2, never).tolist() == [False, True, False, False, True]
    assert draws.top_q(scores, 4, never).tolist() == [False, True, True, True, True]
    keys = torch.tensor([0.0, 0.0, 0.9, 0.1, 0.0])
    assert draws.top_q(scores, 3, lambda: keys).tolist() == [False, True, False, True, True]


def test_top_q_takes_integer_scores() -> None:
    kept = draws.top_q(torch.tensor([3, 1, 2, 3]), 2, torch.arange(4))
    assert kept.tolist() == [True, False, False, True]


def test_exact_count_draws_every_subset_equally_often() -> None:
    candidates = torch.tensor([True, True, False, True, True])
    u = Draws(0, 0).uniform(5 * 6000, "keys").view(6000, 5)
    kept = torch.stack([draws.exact_count(candidates, 2, keys) for keys in u])
    _, counts = np.unique(kept.numpy(), axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 4 * math.sqrt(1000 * 5 / 6)


def test_top_q_breaks_ties_at_random() -> None:
    scores = torch.tensor([1.0, 5.0, 1.0, 1.0, 0.0])
    u = Draws(0, 0).uniform(5 * 3000, "keys").view(3000, 5)
    counts = torch.stack([draws.top_q(scores, 2, keys) for keys in u]).sum(0)
    assert counts[[1, 4]].tolist() == [3000, 0]
    assert float((counts[[0, 2, 3]] - 1000).abs().max()) < 4 * math.sqrt(1000 * 2 / 3)


def test_relabelling_the_samples_relabels_every_choice() -> None:
    n, d = 500, Draws(1, 1)
    order, shuffle = d.permutation(n, "order"), d.permutation(n, "shuffle")
    position = torch.argsort(shuffle)  # where sample i of the old labels went
    scores, keys, u = normal(n), d.uniform(n, "keys", torch.float64), d.uniform(n, "u")
    p = draws.inclusion_probabilities(scores.abs(), 200.5)
    moved = draws.inclusion_probabilities(scores.abs()[shuffle], 200.5)
    assert torch.allclose(p[shuffle], moved, rtol=1e-14, atol=0)
    pairs = [
        (draws.bernoulli(p, u), draws.bernoulli(p[shuffle], u[shuffle])),
        (
            draws.exact_count(scores > 0, 99, keys),
            draws.exact_count((scores > 0)[shuffle], 99, keys[shuffle]),
        ),
        (draws.top_q(scores, 99, keys), draws.top_q(scores[shuffle], 99, keys[shuffle])),
        (
            draws.systematic(p, order, 0.3),
            draws.systematic(p[shuffle], position[order], 0.3),
        ),
    ]
    for original, relabelled in pairs:
        assert torch.equal(original[shuffle], relabelled)


def test_counts_out_of_range_and_bad_keys_are_refused() -> None:
    keys, mask = torch.rand(3, generator=torch.Generator()), torch.tensor([True, False, True])
    with pytest.raises(ValueError, match=r"count must be from 0 to 2.*got 3"):
        draws.exact_count(mask, 3, keys)
    with pytest.raises(ValueError, match=r"q must be from 0 to 3.*got 4"):
        draws.top_q(keys, 4, keys)
    with pytest.raises(ValueError, match=r"q must be from 0 to 2.*got -1"):
        draws.top_q(keys, -1, keys, among=mask)
    with pytest.raises(ValueError, match="keys must be numbers; got NaN"):
        draws.top_q(keys, 1, torch.tensor([0.0, math.nan, 1.0]))
    with pytest.raises(ValueError, match="keys must be numbers; got NaN"):
        draws.exact_count(mask, 1, torch.tensor([0.0, 0.5, math.nan]))
    with pytest.raises(ValueError, match="candidates must be a bool mask"):
        draws.exact_count(keys, 1, keys)
    with pytest.raises(ValueError, match=r"keys must have shape \(3,\); got \(2,\)"):
        draws.exact_count(mask, 1, keys[:2])
    with pytest.raises(ValueError, match=r"scores must have shape \(num_samples,\)"):
        draws.top_q(keys.view(1, 3), 1, keys)
