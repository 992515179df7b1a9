"""Historical methods over a stream: a plan keeps or drops each sample by the id that it carries."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from small_runs import copied, differences
from streams.streams import Batches, Numbers, Scores, Trained, ids_of, loss_of, run, trained
from thresher import (
    KAKURENBO,
    UCB,
    Full,
    InfoBatch,
    Method,
    OrderDP,
    Pruner,
    RandomPruning,
    RePB,
    SeTa,
    Subset,
)

N, B = 26, 4
ONE_WORKER = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
METHODS: list[Method] = [
    Full(),
    InfoBatch(),
    KAKURENBO(prune_ratio=0.3),
    OrderDP(prune_ratio=0.4),
    RandomPruning(prune_ratio=0.5),
    RePB(prune_ratio=0.4, window=2),
    SeTa(prune_ratio=0.3),
    Subset(torch.arange(0, N, 2), torch.linspace(0.5, 2.0, N // 2)),
    UCB(prune_ratio=0.4),
]


class MapStyle(Dataset[Any]):
    """The same samples by position."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return Numbers([]).sample(index)


def by_id(method: Method, order: Any = range(N), batch_size: int | None = B, **asked: Any) -> Any:
    return run(method, order, batch_size, ids="id", num_samples=N, **asked)


def weights_of(pruner: Pruner, epoch: int) -> dict[int, float]:
    plan = pruner.plan(epoch)
    return dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_in_ascending_order_it_is_a_map_style_run_without_shuffling(method: Method) -> None:
    pruner, loader, _ = by_id(method, Numbers(range(N)))
    other = Pruner(method, epochs=4)
    plain: Any = other.wrap(DataLoader(MapStyle(), B))
    for epoch in range(4):
        assert len(loader) == len(plain)
        mine, theirs = Trained(pruner, loader, epoch, None), Trained(other, plain, epoch, None)
        assert mine.batches == theirs.batches
        assert mine.means == theirs.means
    assert pruner.plan(3).checksum() == other.plan(3).checksum()
    ours, other_state = pruner.state_dict(), other.state_dict()
    assert not differences(ours, other_state)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch_size=st.integers(1, 9),
    method=st.sampled_from([RandomPruning(prune_ratio=0.5), OrderDP(prune_ratio=0.4), RePB()]),
    made_by_data=st.booleans(),
)
def test_every_planned_sample_is_trained_once_a_pass_in_the_streams_order(
    seed: int, batch_size: int, method: Method, made_by_data: bool
) -> None:
    draw = random.Random(seed)
    order = draw.sample(range(N), N)
    dataset = Batches(order, draw.randint(1, 9)) if made_by_data else Numbers(order)
    size = {"size": batch_size} if made_by_data else {}
    pruner, loader, _ = by_id(method, dataset, None if made_by_data else batch_size, **size)
    for epoch in range(4):
        planned, length = weights_of(pruner, epoch), len(loader)
        done = Trained(pruner, loader, epoch, None)
        assert done.ids == [id_ for id_ in order if id_ in planned]
        assert [len(batch) for batch in done.batches[:-1]] == [batch_size] * (length - 1)
        assert len(done.batches) == length
        for batch, mean in zip(done.batches, done.means, strict=True):
            losses = loss_of(torch.tensor(batch), epoch)
            weights = torch.tensor([planned[id_] for id_ in batch])
            expected = (weights * losses).mean().item()
            assert mean == pytest.approx(expected, rel=1e-6)
        draw.shuffle(order)
        dataset.order = list(order)


def test_scores_are_written_by_id() -> None:
    order = random.Random(1).sample(range(N), N)
    pruner, loader, _ = by_id(InfoBatch(), Numbers(order))
    trained(pruner, loader, epochs=1)
    pruner.plan(1)
    assert pruner._clock is not None
    kept = pruner._clock.ledger["loss"]
    assert torch.equal(kept, loss_of(torch.arange(N), 0))


@pytest.mark.parametrize("drop_last", [False, True])
def test_drop_last_is_about_what_is_kept(drop_last: bool) -> None:
    pruner, loader, _ = by_id(
        RandomPruning(prune_ratio=0.5), Numbers(range(N)), drop_last=drop_last
    )
    for epoch in range(3):
        size = len(pruner.plan(epoch))
        sizes = [len(batch) for batch in Trained(pruner, loader, epoch, None).batches]
        rest = [size % B] * (size % B > 0 and not drop_last)
        assert sizes == [B] * (size // B) + rest
    assert pruner.report().trained == sum(row.trained for row in pruner.report().rows)


@ONE_WORKER
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("made_by_data", [False, True])
def test_workers_that_share_the_stream_change_nothing_but_the_order(
    workers: int, made_by_data: bool
) -> None:
    persistent: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    dataset = Batches(range(N), 3) if made_by_data else Numbers(range(N))
    size = {"size": B} if made_by_data else {}
    pruner, loader, _ = by_id(
        OrderDP(prune_ratio=0.4), dataset, None if made_by_data else B, **persistent, **size
    )
    for epoch in range(3):
        planned = weights_of(pruner, epoch)
        done = Trained(pruner, loader, epoch, None)
        assert sorted(done.ids) == sorted(planned)
        assert {len(batch) for batch in done.batches[:-1]} == {B}


def test_a_function_may_say_where_the_ids_are() -> None:
    pruner, loader, _ = run(
        RandomPruning(prune_ratio=0.5),
        Batches(range(N), 5),
        None,
        size=B,
        num_samples=N,
        ids=lambda batch: batch["pair"][0],
    )
    planned = weights_of(pruner, 0)
    assert sorted(Trained(pruner, loader, 0, None).ids) == sorted(planned)


class Script:
    """A run over a stream that may be stopped anywhere."""

    def __init__(self, method: Method, workers: int = 0, ids: Any = "id") -> None:
        self.dataset = Numbers(range(N))
        self.pruner, self.loader, _ = run(
            method, self.dataset, B, ids=ids, num_samples=N, num_workers=workers
        )

    def run(self) -> Any:
        for epoch in range(self.pruner.epoch, 4):
            self.dataset.order = random.Random(epoch).sample(range(N), N)
            for batch in self.loader:
                self.pruner.reduce(loss_of(ids_of(batch), epoch))
                yield epoch, ids_of(batch).tolist()


@pytest.mark.parametrize("ids", ["id", "name"])
@pytest.mark.parametrize("method", [OrderDP(prune_ratio=0.4), RePB(window=2), InfoBatch()])
def test_a_run_killed_after_any_batch_goes_on_as_the_whole_one(method: Method, ids: str) -> None:
    whole = Script(method, ids=ids)
    trail, states = [], []
    for each in whole.run():
        trail.append(each)
        states.append(copied(whole.pruner.state_dict()))
    for cursor in range(len(trail)):
        other = Script(method, ids=ids)
        other.pruner.load_state_dict(states[cursor])
        rest = other.run()
        # Two batches and then the state say as much as all of them, and take less time.
        assert [next(rest) for _ in trail[cursor + 1 : cursor + 3]] == trail[
            cursor + 1 : cursor + 3
        ]
        if cursor + 2 < len(trail):
            assert not differences(copied(other.pruner.state_dict()), states[cursor + 2])


@ONE_WORKER
def test_so_does_a_run_with_workers() -> None:
    whole = Script(OrderDP(prune_ratio=0.4), workers=1)
    trail, states = [], []
    for each in whole.run():
        trail.append(each)
        states.append(copied(whole.pruner.state_dict()))
    middle = len(trail) // 2
    other = Script(OrderDP(prune_ratio=0.4), workers=1)
    other.pruner.load_state_dict(states[middle])
    assert list(other.run()) == trail[middle + 1 :]


def stateful(dataset: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'set_vital' is deprecated")
        return pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader(dataset, B)


def test_a_stateful_loader_over_a_stream_has_the_pruners_state() -> None:
    def started() -> Any:
        return Pruner(Full(), epochs=3, num_samples=N).wrap(stateful(Numbers(range(N))), ids="id")

    loader, other = started(), started()
    pruner, resumed = loader._thresher.run, other._thresher.run
    batches = iter(loader)
    for _ in range(3):
        pruner.reduce(loss_of(ids_of(next(batches)), 0))
    state = copied(loader.state_dict())
    assert not differences(state, copied(pruner.state_dict()))
    other.load_state_dict(state)
    assert Trained(resumed, other, 0, None).ids == list(range(3 * B, N))


def test_if_the_order_has_changed_what_is_left_is_trained_all_the_same() -> None:
    pruner, loader, _ = by_id(Full(), Numbers(range(N)))
    batches = iter(loader)
    first = []
    for _ in range(3):
        batch = next(batches)
        pruner.reduce(loss_of(ids_of(batch), 0))
        first += ids_of(batch).tolist()
    other, others, _ = by_id(Full(), Numbers(range(N)[::-1]))
    other.load_state_dict(pruner.state_dict())
    rest = Trained(other, others, 0, None).ids
    assert sorted(first + rest) == list(range(N))


def test_peeks_breaks_and_lengths_are_as_ever() -> None:
    pruner, loader, _ = by_id(InfoBatch(), Numbers(range(N)))
    assert len(loader) == len(range(0, N, B))
    assert ids_of(next(iter(loader))).tolist() == [0, 1, 2, 3]
    batches = iter(loader)
    pruner.reduce(loss_of(ids_of(next(batches)), 0))
    assert loader.batch_ids.tolist() == [0, 1, 2, 3]
    assert pruner.epoch == 0
    del batches
    assert Trained(pruner, loader, 1, None).batches
    assert pruner.report().rows[0].trained == B


def test_the_users_loader_and_data_set_are_left_alone() -> None:
    dataset = Numbers(range(N))
    plain = DataLoader(dataset, B)
    before = dict(plain.__dict__)
    pruner = Pruner(InfoBatch(), epochs=4, num_samples=N)
    loader: Any = pruner.wrap(plain, ids="id")
    trained(pruner, loader, Scores(), epochs=2)
    assert plain.__dict__ == before
    assert loader.dataset is dataset
    assert ids_of(next(iter(plain))).tolist() == [0, 1, 2, 3]
