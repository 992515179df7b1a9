"""Facility location, graph cut, log-determinant: gains are differences of the set function."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from static.dense import cosines
from static.found import made_up, short
from thresher.errors import SettingError
from thresher.static import (
    CRAIG,
    FacilityLocation,
    GraphCut,
    LogDeterminant,
    SetMethod,
)
from thresher.static.coverage import Coverage

SIZE = 40

Function = Callable[[Tensor, Sequence[int]], float]


def coverage(s: Tensor, chosen: Sequence[int]) -> float:
    return float(s[:, list(chosen)].amax(1).sum()) if chosen else 0.0


def cut(lam: float) -> Function:
    def value(s: Tensor, chosen: Sequence[int]) -> float:
        part = s[:, list(chosen)]
        return lam * float(part.sum()) - float(part[list(chosen)].sum())

    return value


def volume(s: Tensor, chosen: Sequence[int]) -> float:
    return float(torch.logdet(s[list(chosen)][:, list(chosen)])) if chosen else 0.0


RULES: list[tuple[SetMethod, Function]] = [
    (FacilityLocation(), coverage),
    (GraphCut(), cut(1.0)),
    (GraphCut(lam=2.5), cut(2.5)),
    (GraphCut(lam=0.0), cut(0.0)),
    (LogDeterminant(), volume),
]

of_every_rule = pytest.mark.parametrize(
    ("method", "function"), RULES, ids=[short(method) for method, _ in RULES]
)


@of_every_rule
@pytest.mark.parametrize("seed", range(3))
def test_every_choice_has_the_largest_gain(
    method: SetMethod, function: Function, seed: int
) -> None:
    """The gain of brute force: f of the set with the candidate less f without it."""
    data = made_up(SIZE, seed=seed, features=8)
    s = cosines(data)
    ids = method.select(data, prune_ratio=0.6)[0].tolist()
    for step, best in enumerate(ids):
        before = ids[:step]
        gains = {
            i: function(s, [*before, i]) - function(s, before)
            for i in range(SIZE)
            if i not in before
        }
        # Rounding of similarities in float32, summed over all of them.
        assert gains[best] >= max(gains.values()) - 1e-5 * SIZE, (step, gains)


@of_every_rule
def test_classes_are_chosen_from_one_by_one(method: SetMethod, function: Function) -> None:
    data = made_up(SIZE, features=8)
    assert data.labels is not None
    ids, _ = replace(method, balanced=True).select(data, prune_ratio=0.5)
    s, start = cosines(data), 0
    for label in range(3):
        members = (data.labels == label).nonzero()[:, 0]
        chosen = ids[start : start + int((data.labels[ids] == label).sum())]
        start += len(chosen)
        of_class = s[members][:, members]
        places = [members.tolist().index(i) for i in chosen.tolist()]
        for step, best in enumerate(places):
            gains = {
                i: function(of_class, [*places[:step], i])
                for i in range(len(members))
                if i not in places[:step]
            }
            assert gains[best] >= max(gains.values()) - 1e-5 * SIZE


@pytest.mark.parametrize("count", [1, 2, 4])
def test_facility_location_is_near_the_best_of_all_sets(count: int) -> None:
    for seed in range(4):
        data = made_up(12, seed=seed)
        s = cosines(data)
        best = max(coverage(s, each) for each in itertools.combinations(range(12), count))
        ids, _ = FacilityLocation().select(data, prune_ratio=1 - count / 12)
        assert coverage(s, ids.tolist()) >= (1 - 1 / math.e) * best


def block_of(s: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    matrix = s.float().numpy()
    return lambda positions: matrix[positions]


@pytest.mark.parametrize("size", [1, 30, 400])
def test_lazy_choices_are_those_of_plain_greed(size: int) -> None:
    s = cosines(made_up(size, features=3))
    matrix, best, chosen = s.float().numpy(), np.zeros(size, np.float32), list[int]()
    for _ in range(-(-size // 2)):
        gains = np.maximum(matrix - best, 0).sum(1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, matrix[chosen[-1]])
    found = Coverage(block_of(s), size).lazy_greedy(len(chosen)).order.tolist()
    assert found == chosen


def test_little_memory_for_rows_changes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    s = cosines(made_up(300, features=3))
    expected = Coverage(block_of(s), 300).lazy_greedy(100).order
    stochastic = Coverage(block_of(s), 300).stochastic_greedy(100, 0.1, np.random.default_rng(0))
    for kept in (1, 1000, 9000):
        monkeypatch.setattr("thresher.static.kernel_rows.KEPT", kept)
        monkeypatch.setattr("thresher.static.coverage.KEPT", kept)
        found = Coverage(block_of(s), 300).lazy_greedy(100).order
        assert found.tolist() == expected.tolist(), kept
        other = Coverage(block_of(s), 300).stochastic_greedy(100, 0.1, np.random.default_rng(0))
        assert len(set(other.order.tolist())) == 100
        # Other candidates, as other steps are drawn together, but as good ones.
        value = [coverage(s, each.order.tolist()) for each in (stochastic, other)]
        assert value[1] == pytest.approx(value[0], rel=0.01)


@pytest.mark.parametrize("count", [1, 20, 75, 150])
def test_stochastic_greed_keeps_its_promise(count: int) -> None:
    """(1 − 1/e − ε) of the best in expectation; the lazy value is at least (1 − 1/e) of it."""
    s = cosines(made_up(150, features=3))
    lazy = coverage(s, Coverage(block_of(s), 150).lazy_greedy(count).order.tolist())
    for epsilon in (0.01, 0.3):
        values = []
        for seed in range(5):
            generator = np.random.default_rng(seed)
            found = Coverage(block_of(s), 150).stochastic_greedy(count, epsilon, generator)
            assert len(set(found.order.tolist())) == count
            values.append(coverage(s, found.order.tolist()))
        assert np.mean(values) >= (1 - epsilon) * lazy
        assert max(values) <= lazy * 1.01


def test_every_candidate_is_looked_at_when_epsilon_is_tiny() -> None:
    s = cosines(made_up(100, features=3))
    lazy = Coverage(block_of(s), 100).lazy_greedy(40)
    found = Coverage(block_of(s), 100).stochastic_greedy(40, 1e-300, np.random.default_rng(0))
    # Ties go to the lowest position there, and to the first drawn here.
    expected = coverage(s, lazy.order.tolist())
    assert coverage(s, found.order.tolist()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [FacilityLocation, CRAIG])
def test_many_candidates_are_chosen_from_at_random(
    kind: type[FacilityLocation] | type[CRAIG],
) -> None:
    data = made_up(200)
    exact, random = kind(balanced=False), kind(balanced=False, exact_up_to=199)
    chosen = [method.select(data, prune_ratio=0.8) for method in (exact, random)]
    assert not torch.equal(chosen[0][0], chosen[1][0])
    s = cosines(data)
    values = [coverage(s, ids.tolist()) for ids, _ in chosen]
    if kind is FacilityLocation:
        assert 0.98 * values[0] < values[1] <= values[0] * 1.001
    assert torch.equal(replace(exact, seed=3).select(data, prune_ratio=0.8)[0], chosen[0][0])
    assert not torch.equal(replace(random, seed=3).select(data, prune_ratio=0.8)[0], chosen[1][0])


def test_log_determinant_starts_afresh_when_everything_is_spanned() -> None:
    """One feature and two classes: gradients span four dimensions, so the fifth has volume 0."""
    data = made_up(60, features=1)
    ids = LogDeterminant().select(data, prune_ratio=0.5)[0].tolist()
    s = cosines(data)
    rank = next(k for k in range(1, 30) if float(torch.linalg.det(s[ids[:k]][:, ids[:k]])) < 1e-12)
    rank -= 1
    assert 2 <= rank <= 6
    # The next ones span a volume of their own, as if they were the first.
    again = ids[rank : 2 * rank]
    assert float(torch.linalg.det(s[again][:, again])) > 1e-12


def test_parts_of_a_log_determinant_are_chosen_from_by_themselves() -> None:
    data = made_up(400, features=20)
    s, values = cosines(data), []
    for most_numbers in (1 << 24, 8000, 1000):
        ids, _ = LogDeterminant(most_numbers=most_numbers).select(data, prune_ratio=0.9)
        values.append(volume(s, ids.tolist()))
    generator = torch.Generator().manual_seed(0)
    random = [volume(s, torch.randperm(400, generator=generator)[:40].tolist()) for _ in range(20)]
    assert values == sorted(values, reverse=True)
    assert max(random) < values[1]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (FacilityLocation, {"epsilon": 0.0}),
        (FacilityLocation, {"epsilon": 1.0}),
        (CRAIG, {"epsilon": -1.0}),
        (GraphCut, {"lam": -0.1}),
        (GraphCut, {"lam": math.nan}),
        (LogDeterminant, {"most_numbers": 0}),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        kind(**settings)
