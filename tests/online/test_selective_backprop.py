"""Selective Backprop chooses what a literal, slow reading of its paper chooses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from online.found import losses, shown
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.online import Choice, SelectiveBackprop

SIZE, BATCH = 20, 6


def positions(choice: Choice) -> list[int]:
    return choice.positions.tolist()


class BiggestLosers:
    """Section 3 of the paper: the last R losses in a queue, F counted one by one."""

    def __init__(self, method: SelectiveBackprop, exponent: float) -> None:
        self.method, self.exponent = method, exponent
        self.recent: list[float] = []

    def choose(self, scores: list[float], draws: Draws) -> list[int]:
        uniform = draws.uniform(len(scores), "selection", torch.float64).tolist()
        finite = [loss for loss in scores if math.isfinite(loss)]
        if self.method.rule == "history":
            self.recent = (finite + self.recent)[: self.method.history]
        else:
            self.recent = finite
        chosen = []
        for i, loss in enumerate(scores):
            below = sum(other < loss for other in self.recent)
            chance = (below / len(self.recent)) ** self.exponent
            if not math.isfinite(loss) or uniform[i] < max(self.method.p_min, chance):
                chosen.append(i)
        return chosen


@pytest.mark.parametrize(
    "method",
    [
        SelectiveBackprop(),
        SelectiveBackprop(beta=3.0, history=30),
        SelectiveBackprop(p_min=0.3, history=5),
        SelectiveBackprop(rule="batch"),
        SelectiveBackprop(beta=0.0),
    ],
    ids=repr,
)
def test_selective_backprop_follows_its_paper(method: SelectiveBackprop) -> None:
    oracle = BiggestLosers(method, 1.0 if method.beta is None else method.beta)
    memory = method.memory()
    for look in range(12):
        scores = losses(SIZE, look)
        scores[look % 5] = (math.nan, math.inf, -math.inf, scores[7].item())[look % 4]
        choice = method.choose(shown(method, scores, memory=memory, seed=look, kept=0.5))
        assert positions(choice) == oracle.choose(scores.tolist(), Draws(look, 0))
        memory = dict(choice.memory)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("rule", ["history", "batch", "composer"])
def test_about_one_in_one_plus_beta_is_kept(rule: Any, beta: float) -> None:
    method = SelectiveBackprop(beta=beta, rule=rule, history=400)
    memory, kept, looks = method.memory(), 0, 60
    for look in range(looks):
        choice = method.choose(shown(method, losses(64, look), memory=memory, seed=look))
        memory, kept = dict(choice.memory), kept + len(choice.positions)
    error = math.sqrt(0.25 / (64 * looks))
    # Counting strictly below leaves out half a rank, of 64 within a batch.
    rank = 0.5 / 64 if rule != "history" else 0.5 / 400
    assert abs(kept / (64 * looks) - 1 / (1 + beta)) < 4 * error + beta * rank
    assert method.kept == pytest.approx(1 / (1 + beta))


def frequencies(method: SelectiveBackprop, size: int, runs: int = 800) -> np.ndarray:
    """How often the candidate with the k-th smallest loss is kept, and nothing is remembered."""
    counts = np.zeros(size)
    scores = torch.arange(size, dtype=torch.float32)
    for seed in range(runs):
        counts[positions(method.choose(shown(method, scores, seed=seed, kept=0.5)))] += 1
    return counts / runs


@pytest.mark.parametrize("rule", ["history", "batch", "composer"])
def test_the_chance_grows_with_the_loss(rule: Any) -> None:
    share = frequencies(SelectiveBackprop(beta=1.0, rule=rule), 16)
    error = math.sqrt(0.25 / 800)
    assert np.all(np.diff(share) > -4 * math.sqrt(2) * error)
    assert share[-1] - share[0] > 0.5
    if rule != "composer":
        assert np.abs(share - np.arange(16) / 16).max() < 4 * error


def test_no_chance_is_below_p_min() -> None:
    share = frequencies(SelectiveBackprop(beta=2.0, p_min=0.4), 16)
    expected = np.maximum(0.4, (np.arange(16) / 16) ** 2)
    assert np.abs(share - expected).max() < 4 * math.sqrt(0.25 / 800)


def test_composers_rule_keeps_a_fixed_number_drawn_one_by_one() -> None:
    """numpy's choice without replacement draws one by one; N = 16, keep = 1/2."""
    method = SelectiveBackprop(beta=1.0, rule="composer")
    sizes = {len(method.choose(shown(method, losses(16, s), seed=s)).positions) for s in range(20)}
    assert sizes == {8}
    weight = (np.arange(16) + 0.5) / 16
    generator, counts, runs = np.random.default_rng(0), np.zeros(16), 4000
    for _ in range(runs):
        counts[generator.choice(16, 8, replace=False, p=weight / weight.sum())] += 1
    error = math.sqrt(0.25 / 800 + 0.25 / runs)
    assert np.abs(frequencies(method, 16) - counts / runs).max() < 4 * error


def test_composers_rule_keeps_somebody_of_few() -> None:
    method = SelectiveBackprop(beta=9.0, rule="composer")
    assert [len(method.choose(shown(method, losses(n))).positions) for n in (1, 2, 9)] == [1, 1, 1]


def test_every_so_many_candidate_batches_one_is_trained_unseen() -> None:
    method = SelectiveBackprop(interrupt=3)
    memory, seen = method.memory(), []
    for look in range(7):
        candidates = shown(method, losses(SIZE, look), memory=memory, seed=look)
        choice = method.choose(candidates)
        seen.append(bool(candidates.scores))
        assert seen[-1] or positions(choice) == list(range(SIZE))
        memory = dict(choice.memory)
    assert seen == [True, True, False] * 2 + [True]
    assert method.kept == pytest.approx(2 / 3)


@pytest.mark.parametrize("interrupt", [0, 2, 4])
@pytest.mark.parametrize("kept", [0.6, 0.8])
def test_beta_is_solved_for_the_ratio(interrupt: int, kept: float) -> None:
    method = SelectiveBackprop(interrupt=interrupt, history=512)
    memory, num, looks = method.memory(), 0, 200
    for look in range(looks):
        candidates = shown(method, losses(64, look), memory=memory, seed=look, kept=kept)
        choice = method.choose(candidates)
        memory, num = dict(choice.memory), num + len(choice.positions)
    assert num / (64 * looks) == pytest.approx(kept, abs=0.02)


@pytest.mark.parametrize(
    "settings",
    [{"beta": -1.0}, {"p_min": 2.0}, {"rule": "best"}, {"history": 0}, {"interrupt": 1}],
    ids=str,
)
def test_selective_backprop_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"SelectiveBackprop\({next(iter(settings))}="):
        SelectiveBackprop(**settings)
