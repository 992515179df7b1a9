"""A prune ratio means the same for every method: the share of all visits of the whole run."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from contracts.drive import losses, named, run
from contracts.found import CLASSES
from thresher import KAKURENBO, InfoBatch, OrderDP, Pruner, RandomPruning, RePB, SeTa
from thresher.errors import ThresherWarning
from thresher.methods import Method
from thresher.schedule import Budget, is_active, most_saved, target

RATIOS = [0.3, 0.5, 0.7]
SIZE = 2000

# InfoBatch prunes nothing above the mean, KAKURENBO nothing that is not learnt yet.
REACHING = [
    kind for kind in CLASSES if kind.follows_prune_ratio and kind not in (InfoBatch, KAKURENBO)
]

of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
of_reaching_classes = pytest.mark.parametrize("kind", REACHING, ids=lambda kind: kind.__name__)
of_every_ratio = pytest.mark.parametrize("ratio", RATIOS)


@of_every_ratio
@of_reaching_classes
@pytest.mark.parametrize("epochs", [12, 50])
def test_whole_run_saves_the_asked_ratio(kind: type[Method], ratio: float, epochs: int) -> None:
    pruner, _ = run(kind(prune_ratio=ratio), losses(SIZE, epochs), batch_size=100)
    report = pruner.report()
    assert report.prune_rate == pytest.approx(ratio, abs=0.01)
    assert report.notes == []


@of_every_ratio
@of_every_class
@pytest.mark.filterwarnings("ignore:.* cannot save:thresher.errors.ThresherWarning")
def test_a_method_that_cannot_reach_the_ratio_says_so(kind: type[Method], ratio: float) -> None:
    pruner, _ = run(kind(prune_ratio=ratio), losses(SIZE), batch_size=100)
    report = pruner.report()
    assert report.prune_rate <= ratio + 0.01
    is_short = report.prune_rate < ratio - 0.01
    assert is_short == any(f"the most {kind.__name__} could" in note for note in report.notes)
    assert is_short == (f"the most {kind.__name__} could" in str(report))


@pytest.mark.parametrize("ratio", [0.3, 0.5])
@pytest.mark.parametrize("kind", [InfoBatch, KAKURENBO])
def test_a_rule_reaches_what_its_easy_samples_allow(kind: type[Method], ratio: float) -> None:
    pruner, _ = run(kind(prune_ratio=ratio), losses(SIZE, 50), batch_size=100)
    assert pruner.report().prune_rate == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("ratio", [0.3, 0.5])
@of_reaching_classes
def test_warm_up_and_annealing_train_on_everything_and_are_made_up_for(
    kind: type[Method], ratio: float
) -> None:
    epochs, method = 30, kind(prune_ratio=ratio, warmup_epochs=3, delta=0.8)
    pruner, plans = run(method, losses(SIZE, epochs), batch_size=100)
    for plan in plans[:3] if kind.prunes_to_the_end else plans[:3] + plans[24:]:
        assert len(plan) == SIZE
        assert bool((plan.weights == 1).all())
    assert all(len(plan) < SIZE for plan in plans[3:24])
    assert pruner.report().prune_rate == pytest.approx(ratio, abs=0.01)


def test_rows_tell_the_target_of_each_pruned_epoch() -> None:
    pruner, _ = run(RandomPruning(prune_ratio=0.5, warmup_epochs=2), losses(SIZE))
    asked = [row.asked for row in pruner.report().rows]
    assert math.isnan(asked[0])
    assert math.isnan(asked[1])
    assert asked[2:] == pytest.approx([0.6] * 10)


def test_a_shortfall_is_spread_over_what_is_left() -> None:
    """Half of 10 epochs of 100 is to be saved, and in 4 epochs only 80 were: 420 are left for 6."""
    budget = Budget(num_samples=100, epochs=10)
    method = RandomPruning(prune_ratio=0.5)
    assert target(method, budget, epoch=4, visits=320) == pytest.approx(0.7)
    assert target(method, budget, epoch=4, visits=200) == pytest.approx(0.5)
    # More was saved than asked: nothing is left to prune.
    assert target(method, budget, epoch=9, visits=100) == 0.0


def test_scores_come_first_so_their_epoch_is_not_counted_on() -> None:
    budget = Budget(num_samples=100, epochs=11)
    assert target(RePB(prune_ratio=0.5), budget, epoch=0, visits=0) == pytest.approx(0.55)
    assert target(OrderDP(prune_ratio=0.5), budget, epoch=0, visits=0) == pytest.approx(0.5)


def test_a_run_of_steps_counts_on_its_first_epoch_as_it_will_be() -> None:
    budget, method = Budget(num_samples=100, visits=2000), RePB(prune_ratio=0.5)
    after = target(method, budget, epoch=1, visits=100)
    assert target(method, budget, epoch=0, visits=0) == after
    # 1900 visits have to stand for 4000 - 100.
    assert after == pytest.approx(1 - 1900 / 3900)


@of_every_class
def test_a_method_knows_from_which_epoch_on_it_can_prune(kind: type[Method]) -> None:
    for warm_up in (0, 3):
        method = kind(prune_ratio=0.5, warmup_epochs=warm_up)
        _, plans = run(method, losses(SIZE, 20), batch_size=100)
        pruned = [plan.epoch for plan in plans if len(plan) < SIZE]
        if pruned:
            assert method.first_prunable_epoch == pruned[0]


def test_no_ratio_means_no_target() -> None:
    budget = Budget(num_samples=100, epochs=11)
    for kind in REACHING:
        if kind is not RandomPruning:
            assert target(kind(), budget, epoch=5, visits=400) is None


def test_without_a_length_every_epoch_saves_the_ratio() -> None:
    budget, method = Budget(num_samples=100), RandomPruning(prune_ratio=0.4)
    assert target(method, budget, epoch=5, visits=1) == 0.4
    assert is_active(method, budget, epoch=10**6, visits=0)


@pytest.mark.parametrize("epochs", [8, 10, 50, 90, 100, 200, 300])
@pytest.mark.parametrize("delta", ["0.875", "0.9", "0.7", "0.3", "1.0"])
def test_annealing_begins_exactly_after_delta_of_the_epochs(delta: str, epochs: int) -> None:
    """e + 1 <= δE in exact arithmetic: 0.9 * 10 is 9 and not 8.99."""
    budget, method = Budget(num_samples=10, epochs=epochs), InfoBatch(delta=float(delta))
    for epoch in range(epochs):
        expected = epoch + 1 <= Fraction(delta) * epochs
        assert is_active(method, budget, epoch=epoch, visits=0) == expected


def test_warm_up_is_never_active() -> None:
    budget = Budget(num_samples=10, epochs=9)
    active = [
        is_active(RandomPruning(warmup_epochs=4), budget, epoch=epoch, visits=0)
        for epoch in range(9)
    ]
    assert active == [False] * 4 + [True] * 5


def test_an_impossible_ratio_warns_and_prunes_its_most() -> None:
    method = RandomPruning(prune_ratio=0.8, delta=0.5)
    assert most_saved(method, epochs=20) == pytest.approx(0.5 * 0.95)
    with pytest.warns(ThresherWarning, match=r"cannot save 80% in 20 epochs"):
        pruner, plans = run(method, losses(SIZE, 20))
    assert [len(plan) for plan in plans] == [SIZE // 20] * 10 + [SIZE] * 10
    assert pruner.report().prune_rate == pytest.approx(0.475)


def train_steps(method: Method, steps: int, batch_size: int = 10) -> Pruner:
    """A run that ends after so many optimizer steps, of a real loader over 200 samples."""
    table = losses(200, 400)
    pruner = Pruner(method, steps=steps)
    data = TensorDataset(torch.arange(200))
    loader = pruner.wrap(DataLoader(data, batch_size, shuffle=True))
    while not pruner.finished:
        for (ids,) in loader:
            values = table[pruner.epoch][ids]
            pruner.reduce(values, scores=named(method, values))
    return pruner


@of_every_ratio
@of_reaching_classes
def test_a_run_of_steps_takes_them_all_and_stands_for_a_longer_one(
    kind: type[Method], ratio: float
) -> None:
    """T visits at ratio P stand for T / (1 - P) of the full run."""
    steps = 400
    pruner = train_steps(kind(prune_ratio=ratio, delta=1.0), steps)
    report = pruner.report()
    # An epoch's last batch is smaller; a run of steps counts in whole ones.
    assert 0.93 * steps * 10 <= report.trained <= steps * 10
    assert report.prune_rate == pytest.approx(ratio, abs=0.02)


@of_reaching_classes
@pytest.mark.parametrize(
    "unpruned", [{"delta": 0.8}, {"delta": 1.0, "warmup_epochs": 6}, {"delta": 1.0}], ids=str
)
def test_a_run_of_steps_makes_up_for_what_it_cannot_prune(
    kind: type[Method], unpruned: dict[str, float]
) -> None:
    method = kind(prune_ratio=0.4, **unpruned)  # type: ignore[arg-type]
    report = train_steps(method, 600).report()
    assert report.prune_rate == pytest.approx(0.4, abs=0.015)


def test_a_run_of_steps_anneals_on_everything() -> None:
    pruner = train_steps(RandomPruning(prune_ratio=0.5, delta=0.5), 200)
    planned = [row.planned for row in pruner.report().rows]
    assert planned[-1] == 200
    first_full = planned.index(200)
    assert planned[first_full:] == [200] * (len(planned) - first_full)
    assert sum(planned[:first_full]) == pytest.approx(0.5 * 2000, abs=100)


@pytest.mark.parametrize("ratio", [None, 0.4])
def test_seta_draws_without_its_window_when_annealing(ratio: float | None) -> None:
    """Partial annealing: (1 - r) n uniform samples, and a ratio is spread over all epochs."""
    scores = torch.arange(100.0) + 1000 * (torch.arange(100) // 20)
    pruner = Pruner(SeTa(prune_ratio=ratio, r=0.2, k=5, window=1), epochs=8, num_samples=100)
    sizes, covered = list[int](), list[set[int]]()
    for epoch in range(8):
        plan = pruner.plan(epoch)
        sizes.append(len(plan))
        covered.append({int(i) // 20 for i in plan.ids})
        pruner.observe(plan.ids, scores[plan.ids])
    assert len(covered[7]) == 5, "all groups, in the one epoch after δE = 7"
    if ratio is None:
        assert sizes[7] == 80
        assert all(size < 60 for size in sizes[1:7])
    else:
        assert sum(sizes) == 480
        assert sizes[7] < 100
