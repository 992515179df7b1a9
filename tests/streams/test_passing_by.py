"""Online methods over a stream: they choose among what passes by, in the stream's order."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, Dataset

from online.found import CLASSES, short
from small_runs import copied, differences
from streams.streams import Batches, Numbers, Scores, Trained, ids_of, loss_of, run, trained
from thresher import Pruner
from thresher.errors import IterableDatasetError, SettingError, ThresherWarning
from thresher.online import (
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)
from thresher.scores import scoring

N, B = 48, 4
ONE_WORKER = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
EVERY: list[OnlineMethod] = [kind() for kind in CLASSES]
# Whose candidate batches make a training batch each.
AT_ONCE: list[OnlineMethod] = [
    OrderedTopQ(prune_ratio=0.5),
    OrderedTopQ(candidates=3.0),
    ExtraForwardBernoulli(prune_ratio=0.5),
    ExtraForwardBernoulli(prune_ratio=0.75, sampling="systematic"),
    ImportanceSampling(tau_th=0, candidates=2),
]


class MapStyle(Dataset[Any]):
    def __init__(self, size: int = N) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return Numbers([]).sample(index)


@pytest.mark.parametrize("method", AT_ONCE, ids=short)
def test_in_ascending_order_it_is_a_map_style_run_without_shuffling(method: OnlineMethod) -> None:
    pruner, loader, scores = run(method, Numbers(range(N)), B)
    mine = trained(pruner, loader, scores)
    other, their = Pruner(method, epochs=4), Scores()
    plain: Any = other.wrap(DataLoader(MapStyle(), B), score_fn=their)
    theirs = trained(other, plain, their)
    assert [each.batches for each in mine] == [each.batches for each in theirs]
    assert [each.means for each in mine] == [each.means for each in theirs]
    assert scores.seen == their.seen
    ours, same = pruner.report(), other.report()
    assert (ours.trained, ours.extra_forwards) == (same.trained, same.extra_forwards)
    assert ours.prune_rate == pytest.approx(same.prune_rate)
    assert ours.passed == 4 * N


@pytest.mark.parametrize("method", EVERY, ids=short)
@pytest.mark.parametrize("size", [1, 3, 7, 48])
def test_how_the_data_set_cuts_its_batches_changes_nothing(method: OnlineMethod, size: int) -> None:
    found = []
    for batch_size, dataset in ((B, Numbers(range(N))), (None, Batches(range(N), size))):
        given = {"size": B} if batch_size is None else {}
        pruner, loader, scores = run(method, dataset, batch_size, **given)
        epochs = trained(pruner, loader, scores, epochs=2)
        found.append([(each.batches, each.means) for each in epochs])
    assert found[0] == found[1]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    method=st.sampled_from([*EVERY, *AT_ONCE]),
    drop_last=st.booleans(),
)
def test_a_pass_shows_each_sample_once_and_trains_none_twice(
    seed: int, size: int, batch_size: int, method: OnlineMethod, drop_last: bool
) -> None:
    order = random.Random(seed).sample(range(size), size)
    pruner, loader, scores = run(method, Numbers(order), batch_size, epochs=2, drop_last=drop_last)
    for epoch in range(2):
        scores.seen.clear()
        done = Trained(pruner, loader, epoch, scores)
        assert len(done.ids) == len(set(done.ids))
        assert set(done.ids) <= set(order)
        looked = [id_ for batch in scores.seen for id_ in batch]
        if isinstance(method, ImportanceSampling):  # looks when that is worth it
            assert len(set(looked)) == len(looked)
        else:
            assert looked == order
        kept = method.kept if method.prune_ratio is None else 1 - method.prune_ratio
        wanted = max(batch_size, method.num_candidates(batch_size, kept))
        assert {len(batch) for batch in scores.seen[:-1]} <= {wanted}
        if method.waits or not isinstance(method, ExtraForwardBernoulli):
            sizes = [len(batch) for batch in done.batches]
            full = batch_size if not isinstance(method, ImportanceSampling) else 0
            assert not full or all(each == full for each in sizes[:-1])
            assert not (full and drop_last) or all(each == full for each in sizes)
    assert pruner.report().passed <= 2 * size
    assert drop_last or pruner.report().passed == 2 * size


def test_an_epoch_of_so_many_batches_begins_the_stream_again_where_it_ends() -> None:
    pruner, loader, scores = run(
        OrderedTopQ(candidates=2.0), Numbers(range(20)), B, steps_per_epoch=6
    )
    for epoch in range(3):
        scores.seen.clear()
        assert len(loader) == 6
        done = Trained(pruner, loader, epoch, scores)
        assert len(done.batches) == 6
        assert [id_ for batch in scores.seen for id_ in batch] == [k % 20 for k in range(48)]
    assert pruner.report().passed == 3 * 48
    assert pruner.report().prune_rate == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("made_by_data", "drop_last"), [(False, False), (False, True), (True, False)]
)
def test_where_nothing_is_pruned_the_loaders_own_batches_come(
    made_by_data: bool, drop_last: bool
) -> None:
    method = OrderedTopQ(prune_ratio=0.2, warmup_epochs=1, delta=0.75)
    dataset = Batches(range(N - 1), B) if made_by_data else Numbers(range(N - 1))
    given = {"size": B} if made_by_data else {"drop_last": drop_last}
    pruner, loader, scores = run(method, dataset, None if made_by_data else B, **given)
    epochs = trained(pruner, loader, scores)
    plain = [list(range(start, min(start + B, N - 1))) for start in range(0, N - 1, B)]
    if drop_last:
        plain.pop()
    assert epochs[0].batches == epochs[3].batches == plain
    assert [row.extra_forwards for row in pruner.report().rows] == [0, N - 1, N - 1, 0]
    assert pruner.report().rows[0].passed == sum(map(len, plain))


@pytest.mark.parametrize("steps_per_epoch", [None, 12])
@pytest.mark.parametrize("schedule", [{}, {"warmup_epochs": 1}, {"delta": 0.75}])
def test_the_whole_run_saves_what_is_asked(
    schedule: dict[str, Any], steps_per_epoch: int | None
) -> None:
    """Exactly but for whole batches: OrderedTopQ's κ is b/B, and B is a whole number."""
    method = OrderedTopQ(prune_ratio=0.375, **schedule)
    pruner, loader, scores = run(
        method, Numbers(range(960)), 16, epochs=8, steps_per_epoch=steps_per_epoch
    )
    trained(pruner, loader, scores, epochs=8)
    # Rounding B = b/κ moves κ by at most κ²/2b, and the rate with it; the last batch by 1/60.
    assert pruner.report().prune_rate == pytest.approx(0.375, abs=1 / 32 + 1 / 60)


def test_a_budget_of_steps_ends_a_run_in_the_middle_of_a_pass() -> None:
    pruner, loader, scores = run(OrderedTopQ(prune_ratio=0.5), Numbers(range(N)), B, steps=15)
    count, epoch = 0, 0
    while not pruner.finished:
        count += len(Trained(pruner, loader, epoch, scores).batches)
        epoch += 1
    assert (count, epoch) == (15, 3)
    assert pruner.report().prune_rate == pytest.approx(0.5)


def test_rates_are_paced_where_epochs_have_a_length() -> None:
    def paced(per: Any, **asked: Any) -> list[float]:
        pruner, loader, _ = run(OrderedTopQ(prune_ratio=0.5), Numbers(range(N)), B, **asked)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = pruner.pace(ExponentialLR(optimizer, 0.5), per=per)
        rates = []
        for _ in range(2):
            for batch in loader:
                pruner.reduce(loss_of(ids_of(batch), 0))
                if per == "step":
                    optimizer.step()
                    scheduler.step()
            if per == "epoch":
                optimizer.step()
                scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    assert paced("step", steps_per_epoch=3) == [0.5**3, 0.5**6]
    assert paced("epoch") == [0.5, 0.25]
    with pytest.raises(SettingError, match=r"passes of a stream.*steps_per_epoch.*per='epoch'"):
        paced("step")


def test_a_pass_has_no_length_and_says_so_as_torch_does() -> None:
    _, loader, _ = run(OrderedTopQ(), Numbers(range(N)), B)
    for asked in (loader, iter(loader)):
        with pytest.raises(IterableDatasetError, match="steps_per_epoch"):
            len(asked)
    with pytest.warns(ThresherWarning, match="none of its 6 batches was reduced"):
        assert len(list(loader)) == 6


def test_scoring_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model.train()

    def losses(model: nn.Module, batch: Any) -> Any:
        return model(batch["id"].float()[:, None]).square().squeeze(1)

    pruner = Pruner(OrderedTopQ(prune_ratio=0.5), epochs=2)
    plain = DataLoader(Numbers(range(N)), B)
    loader: Any = pruner.wrap(plain, score_fn=scoring(model, losses))
    batches = iter(loader)
    for _ in range(4):
        before, random_state = copied(model.state_dict()), torch.get_rng_state()
        batch = next(batches)
        assert not differences(model.state_dict(), before)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert all(module.training for module in model.modules())
        pruner.reduce(losses(model, batch))
    assert pruner.report().extra_forwards == 4 * 2 * B


@ONE_WORKER
@pytest.mark.parametrize("made_by_data", [False, True])
def test_workers_share_a_stream(made_by_data: bool) -> None:
    dataset = Batches(range(N), 3) if made_by_data else Numbers(range(N))
    given = {"size": B} if made_by_data else {}
    pruner, loader, scores = run(
        SelectiveBackprop(), dataset, None if made_by_data else B, num_workers=2, **given
    )
    for epoch in range(2):
        scores.seen.clear()
        done = Trained(pruner, loader, epoch, scores)
        assert sorted(id_ for batch in scores.seen for id_ in batch) == list(range(N))
        assert len(set(done.ids)) == len(done.ids)


@ONE_WORKER
def test_persistent_workers_begin_the_stream_again_in_the_middle_of_an_epoch() -> None:
    given = {"num_workers": 2, "persistent_workers": True, "steps_per_epoch": 4}
    pruner, loader, scores = run(OrderedTopQ(candidates=2.0), Numbers(range(20)), B, **given)
    for epoch in range(3):
        scores.seen.clear()
        assert len(Trained(pruner, loader, epoch, scores).batches) == 4
        looked = [id_ for batch in scores.seen for id_ in batch]
        assert sorted(looked[:20]) == list(range(20))
        assert len(looked) == 4 * 2 * B


def test_peeks_cost_a_look_and_a_break_goes_on_with_the_next_pass() -> None:
    pruner, loader, _ = run(OrderedTopQ(), Numbers(range(N)), B)
    peeked = ids_of(next(iter(loader))).tolist()
    batches = iter(loader)
    first = next(batches)
    assert ids_of(first).tolist() == peeked
    pruner.reduce(loss_of(ids_of(first), 0), ids=loader.batch_ids)
    assert pruner.epoch == 0
    del batches
    assert len(Trained(pruner, loader, 1, None).ids) == N // 2
    assert [row.trained for row in pruner.report().rows] == [B, N // 2]
    assert [row.passed for row in pruner.report().rows] == [2 * B, N]


def test_a_loop_that_reads_ahead_names_its_batches() -> None:
    pruner, loader, _ = run(SelectiveBackprop(), Numbers(range(N)), B)
    ahead = [(loader.batch_ids, batch) for batch in loader]
    for ids, batch in ahead:
        pruner.reduce(loss_of(ids_of(batch), 0), ids=ids)
    assert pruner.epoch == 1
    assert pruner.report().trained == sum(len(ids) for ids, _ in ahead)
