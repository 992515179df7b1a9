"""Every rule chooses what a literal, slow transcription of its paper chooses; and its numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from online.found import CLASSES, losses, shown
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.online import (
    Choice,
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)

SIZE, BATCH = 20, 6


def positions(choice: Choice) -> list[int]:
    return choice.positions.tolist()


# ----------------------------------------------------------------------------- SelectiveBackprop


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


# ---------------------------------------------------------------------------- ImportanceSampling


def test_tau_is_what_the_paper_defines() -> None:
    """τ = (1 − ‖g − u‖² / ‖g‖²)^(−1/2); its average starts at 0 with decay 0.9."""
    method, average = ImportanceSampling(tau_th=100.0), 0.0
    memory = method.memory()
    for look in range(5):
        norm = losses(SIZE, look)
        memory = dict(method.choose(shown(method, norm, memory=memory)).memory)
        smooth = norm.double() + 1e-3 * norm.double().mean()
        share = smooth / smooth.sum()
        off = ((share - 1 / SIZE) ** 2).sum() / (share**2).sum()
        average = 0.9 * average + 0.1 / math.sqrt(1 - float(off))
        assert float(memory["tau"]) == pytest.approx(average, rel=1e-12)


def test_importance_waits_until_it_pays() -> None:
    """For B = 3b, τ_th = 2; below it candidates are trained as they come."""
    method = ImportanceSampling(candidates=3)
    for tau, is_uniform in ((1.99, True), (2.0, True), (2.01, False)):
        memory = {**method.memory(), "tau": torch.tensor(tau, dtype=torch.float64)}
        candidates = shown(method, losses(18), memory=memory, batch_size=6)
        choice = method.choose(candidates)
        assert (choice.weights is None) == is_uniform
        assert not is_uniform or positions(choice) == list(range(18))
        assert candidates.scores


def test_the_switch_for_two_candidates_a_draw_is_five_thirds() -> None:
    method = ImportanceSampling()
    for tau, is_uniform in ((1.66, True), (1.67, False)):
        memory = {**method.memory(), "tau": torch.tensor(tau, dtype=torch.float64)}
        choice = method.choose(shown(method, losses(12), memory=memory, batch_size=6))
        assert (choice.weights is None) == is_uniform


def test_scores_of_the_loop_spare_uniform_batches_the_look() -> None:
    method = ImportanceSampling()
    told = method.learned(method.memory(), {"logit_grad_norm": torch.tensor([3.0, 1.0, 0.0, 0.0])})
    share = (np.array([3.0, 1.0, 0.0, 0.0]) + 1e-3) / 4.004
    assert float(told["tau"]) == pytest.approx(0.1 * math.sqrt(4 * (share**2).sum()))
    candidates = shown(method, losses(SIZE), memory=told)
    assert not candidates.scores
    choice = method.choose(candidates)
    assert positions(choice) == list(range(SIZE))
    assert choice.memory["tau"] == told["tau"]
    high = {**told, "tau": torch.tensor(3.0, dtype=torch.float64)}
    assert shown(method, losses(SIZE), memory=high).scores


@pytest.mark.parametrize("seed", range(5))
def test_importance_draws_with_replacement_and_counts_repeats_once(seed: int) -> None:
    """b draws one by one; what is drawn c times has c times its weight 1 / (B g)."""
    method, norm = ImportanceSampling(tau_th=0), losses(SIZE, seed) ** 3
    choice = method.choose(shown(method, norm, batch_size=BATCH, seed=seed))
    smooth = norm.double() + 1e-3 * norm.double().mean()
    share = (smooth / smooth.sum()).tolist()
    times: dict[int, int] = {}
    for u in Draws(seed, 0).uniform(BATCH, "draws", torch.float64).tolist():
        total = 0.0
        for i in range(SIZE):
            total += share[i]
            if u < total:
                times[i] = times.get(i, 0) + 1
                break
    assert positions(choice) == sorted(times)
    assert choice.weights is not None
    # The loss is (1/b) Σ over draws; a batch divides by its m samples.
    loss = [c / BATCH / (SIZE * share[i]) for i, c in sorted(times.items())]
    assert (choice.weights / len(times)).tolist() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("settings", [{"tau_th": -1.0}, {"tau_th": math.nan}, {"decay": 1.0}])
def test_importance_sampling_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"ImportanceSampling\({next(iter(settings))}="):
        ImportanceSampling(**settings)


# ------------------------------------------------------------------------- ExtraForwardBernoulli


def chances(norm: list[float], alpha: float, budget: int) -> list[float]:
    """p_i = min(a_i / c, 1), c found by the binary search that the paper names."""
    mean = math.fsum(x * x for x in norm) / len(norm)
    a = [math.sqrt((1 - alpha) * x * x + alpha * mean) for x in norm]
    low, high = 0.0, 2 * math.fsum(a) / budget
    for _ in range(200):
        middle = (low + high) / 2
        if math.fsum(min(value / middle, 1.0) for value in a) > budget:
            low = middle
        else:
            high = middle
    return [min(value / high, 1.0) for value in a]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_extra_forward_bernoulli_follows_its_paper(alpha: float, seed: int) -> None:
    method, norm = ExtraForwardBernoulli(alpha=alpha), losses(SIZE, seed) ** 2
    choice = method.choose(shown(method, norm, batch_size=BATCH, seed=seed))
    p = chances(norm.tolist(), alpha, BATCH)
    uniform = Draws(seed, 0).uniform(SIZE, "selection", torch.float64).tolist()
    kept = [i for i in range(SIZE) if uniform[i] < p[i]]
    largest = max(range(SIZE), key=lambda i: p[i])
    p[largest] = min(1.0, p[largest] + math.prod(1 - x for x in p))
    assert positions(choice) == kept or not kept
    assert choice.weights is not None
    # The loss is (1/B) Σ ℓ / p.
    loss = [1 / (SIZE * p[i]) for i in kept]
    assert (choice.weights / len(kept)).tolist() == pytest.approx(loss, rel=1e-6)


def test_weights_are_bounded_by_the_smoothing() -> None:
    """p >= (b/B) sqrt(α)."""
    method = ExtraForwardBernoulli(alpha=0.25)
    for seed in range(50):
        choice = method.choose(shown(method, losses(SIZE, seed) ** 6, batch_size=5, seed=seed))
        assert choice.weights is not None
        bound = len(choice.positions) / SIZE * (SIZE / 5) / 0.5
        assert float(choice.weights.max()) <= bound * (1 + 1e-6)


def test_systematic_keeps_exactly_b() -> None:
    method = ExtraForwardBernoulli(sampling="systematic")
    for seed in range(30):
        choice = method.choose(shown(method, losses(SIZE, seed), batch_size=BATCH, seed=seed))
        assert len(choice.positions) == BATCH


@pytest.mark.parametrize("settings", [{"alpha": 2.0}, {"sampling": "poisson"}], ids=str)
def test_extra_forward_bernoulli_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"ExtraForwardBernoulli\({next(iter(settings))}="):
        ExtraForwardBernoulli(**settings)


# ------------------------------------------------------------------------------------ OrderedTopQ


def test_ordered_top_q_keeps_the_largest_and_the_broken_first() -> None:
    scores = torch.tensor([1.0, 5.0, 3.0, math.nan, 2.0, math.inf])
    choice = OrderedTopQ().choose(shown(OrderedTopQ(), scores, batch_size=4))
    assert positions(choice) == [1, 2, 3, 5]
    assert choice.weights is not None
    assert choice.weights.tolist() == [1.0] * 4


def test_every_method_is_held_against_its_paper_here() -> None:
    held: set[type[OnlineMethod]] = {
        SelectiveBackprop,
        ImportanceSampling,
        ExtraForwardBernoulli,
        OrderedTopQ,
    }
    assert held == set(CLASSES)
