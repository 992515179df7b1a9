"""InfoMax: its relaxed solver reaches what enumeration finds; neighbours are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from static.found import made_up
from thresher.errors import SettingError
from thresher.static import Collected, InfoMax
from thresher.static.neighbours import nearest


def random_data(seed: int, size: int, features: int) -> Collected:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, features, generator=generator).abs()
    return Collected(features=inputs, scores={"el2n": torch.rand(size, generator=generator)})


def objective(data: Collected, method: InfoMax, ids: list[int]) -> float:
    """Σ_z X_z I(z) − α Σ K_zs X_z X_s, from all pairs."""
    assert data.features is not None
    unit = torch.nn.functional.normalize(data.features, dim=1).double()
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    largest = cosines.topk(min(method.neighbours, len(unit) - 1), dim=1).indices
    similarity = torch.zeros_like(cosines).scatter_(1, largest, cosines.gather(1, largest))
    chosen = torch.zeros(len(unit), dtype=torch.float64)
    chosen[ids] = 1
    information = data.scores["el2n"].double() / data.scores["el2n"].double().max()
    crowd = chosen @ similarity.clamp_min(0) @ chosen
    return float((information * chosen).sum() - method.alpha * crowd)


def test_the_solver_comes_near_the_best_of_all_sets() -> None:
    method, shares = InfoMax(), []
    for seed in range(12):
        data = random_data(seed, 12, 3)
        found = objective(data, method, method.select(data, prune_ratio=1 - 5 / 12)[0].tolist())
        every = [objective(data, method, list(c)) for c in itertools.combinations(range(12), 5)]
        best, mean = max(every), sum(every) / len(every)
        shares.append((best - found) / (best - mean))
    # 0 is the best of all, 1 a random set.
    assert sum(shares) / len(shares) < 0.05, shares
    assert max(shares) < 0.2


def test_it_beats_the_largest_scores_where_those_are_similar() -> None:
    method = InfoMax()
    for seed in range(5):
        data = random_data(seed, 300, 8)
        ids = method.select(data, prune_ratio=0.6)[0].tolist()
        largest = data.scores["el2n"].topk(len(ids)).indices.tolist()
        assert objective(data, method, ids) > objective(data, method, largest)


def test_one_of_a_pair_of_duplicates_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(40, 20, generator=generator)
    data = Collected(features=torch.cat([half, half]), scores={"el2n": torch.ones(80)})
    ids, _ = InfoMax(neighbours=1, iterations=60).select(data, prune_ratio=0.5)
    assert len({i % 40 for i in ids.tolist()}) >= 38


def test_without_a_price_on_similarity_the_largest_scores_are_kept() -> None:
    data = random_data(0, 50, 4)
    ids, _ = InfoMax(alpha=0.0, iterations=200).select(data, prune_ratio=0.7)
    assert set(ids.tolist()) == set(data.scores["el2n"].topk(15).indices.tolist())


def test_parts_share_the_budget() -> None:
    method, data = InfoMax(part=10), random_data(1, 47, 4)
    ids, _ = method.select(data, prune_ratio=0.5)
    whole, _ = InfoMax().select(data, prune_ratio=0.5)
    assert len(ids) == len(whole) == 24
    chance = objective(data, method, list(range(24)))
    assert objective(data, method, ids.tolist()) > chance


def test_another_information_is_read_where_it_is_named() -> None:
    data = made_up(30)
    scores = {"forgetting": torch.arange(30.0)}
    data = Collected(features=data.features, scores=scores)
    ids, _ = InfoMax(information="forgetting", alpha=0.0).select(data, prune_ratio=0.9)
    assert ids.tolist() == [29, 28, 27]


def test_an_infinite_score_counts_as_the_largest() -> None:
    scores = torch.tensor([1.0, float("inf"), 3.0, 2.0, float("nan")])
    data = Collected(features=torch.eye(5), scores={"el2n": scores})
    ids, _ = InfoMax(neighbours=1).select(data, prune_ratio=0.4)
    assert set(ids.tolist()) == {1, 2, 4}


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 30),
    features=st.integers(1, 4),
    data=st.data(),
)
def test_neighbours_are_the_most_similar_others(
    seed: int, size: int, features: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, size - 1))
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(size, features, generator=generator)
    places, cosines = nearest(vectors, count)
    assert places.shape == cosines.shape == (size, count)
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    every = (unit @ unit.T).numpy()
    np.fill_diagonal(every, -np.inf)
    for i in range(size):
        assert i not in places[i].tolist()
        assert len(places[i].unique()) == count
        expected = np.sort(every[i])[::-1][:count]
        assert cosines[i].numpy() == pytest.approx(expected, abs=1e-5)
        assert every[i][places[i].numpy()] == pytest.approx(expected, abs=1e-5)


def test_blocks_of_rows_change_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = nearest(vectors, 4)
    monkeypatch.setattr("thresher.static.neighbours._PAIRS", 120)
    assert torch.equal(nearest(vectors, 4)[0], whole[0])


@pytest.mark.parametrize(
    "settings", [{"alpha": -0.1}, {"step": 0.0}, {"neighbours": 0}, {"iterations": 0}, {"part": 0}]
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        InfoMax(**settings)  # type: ignore[arg-type]
