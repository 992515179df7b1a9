"""`wrap` keeps the user's DataLoader whole, and every loss lands on its own sample."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
)
from torch.utils.data._utils.pin_memory import pin_memory

from loops import Everything, Numbers, assert_trains_its_plans, flat, train, wrapped
from thresher import InfoBatch, Pruner, RandomPruning
from thresher.id_batches import IdBatch
from thresher.tagging import TaggedCollate

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "in order": {"shuffle": False},
    "drop_last": {"drop_last": True},
    "single samples": {"batch_size": 1},
    "one batch": {"batch_size": 99},
    "2 workers": {"num_workers": 2},
    "2 workers, in order, drop_last": {"num_workers": 2, "shuffle": False, "drop_last": True},
    "prefetch_factor": {"num_workers": 2, "prefetch_factor": 5},
    "persistent_workers": {"num_workers": 2, "persistent_workers": True},
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "timeout": {"num_workers": 1, "timeout": 60},
    "generator": {"num_workers": 1, "generator": torch.Generator()},
    "out of order": {"num_workers": 2, "in_order": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_loss_lands_on_its_sample(settings: dict[str, Any]) -> None:
    settings = {"batch_size": 4, **settings}
    pruner, loader = wrapped(23, **settings)
    plans = assert_trains_its_plans(
        pruner,
        loader,
        batch_size=settings["batch_size"],
        drop_last=settings.get("drop_last", False),
        in_order=settings.get("in_order", True),
    )
    assert len(plans[0]) == 23
    assert len(plans[1]) < 23
    is_ascending = [plan == sorted(plan) for plan in plans]
    assert is_ascending == [not settings.get("shuffle", True)] * 3


@pytest.mark.parametrize("is_persistent", [False, True])
def test_spawned_workers_train_the_plan(is_persistent: bool) -> None:
    pruner, loader = wrapped(
        10, 4, num_workers=1, multiprocessing_context="spawn", persistent_workers=is_persistent
    )
    assert_trains_its_plans(pruner, loader, batch_size=4, epochs=2 if is_persistent else 1)


def test_batches_that_arrive_out_of_order_keep_their_losses() -> None:
    first = Pruner(InfoBatch(), epochs=8, num_samples=24).plan(0).ids[:4].tolist()
    pruner = Pruner(InfoBatch(), epochs=8)
    plain = DataLoader(Numbers(24, slow=first[:1]), 4, shuffle=True, num_workers=2, in_order=False)
    loader = pruner.wrap(plain)
    arrived = train(pruner, loader, 0)
    ids = pruner.plan(0).ids.tolist()
    assert arrived[0] != first, "the slow batch did not come late, so this test showed nothing"
    assert sorted(flat(arrived)) == sorted(ids)
    pruner.plan(1)
    assert pruner._clock.ledger["loss"].tolist() == [id_ + 1 for id_ in range(24)]  # type: ignore[union-attr]


SAMPLERS: dict[str, tuple[Any, bool]] = {
    "RandomSampler": (RandomSampler, True),
    "SequentialSampler": (SequentialSampler, False),
    "DistributedSampler": (lambda data: DistributedSampler(data, 1, 0), True),
    "DistributedSampler in order": (
        lambda data: DistributedSampler(data, 1, 0, shuffle=False),
        False,
    ),
}


@pytest.mark.parametrize(("make", "shuffles"), SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("where", ["sampler", "batch_sampler"])
def test_torchs_own_samplers_are_taken_over(make: Any, shuffles: bool, where: str) -> None:
    data = Numbers(23)
    pruner = Pruner(InfoBatch(), epochs=8)
    if where == "sampler":
        plain = DataLoader(data, 4, sampler=make(data), drop_last=True)
    else:
        plain = DataLoader(data, batch_sampler=BatchSampler(make(data), 4, drop_last=True))
    plans = assert_trains_its_plans(pruner, pruner.wrap(plain), batch_size=4, drop_last=True)
    assert [plan != sorted(plan) for plan in plans] == [shuffles] * 3


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_batch_sampler_given_as_the_sampler_still_fetches_whole_batches(
    num_workers: int, drop_last: bool
) -> None:
    data = torch.arange(23)
    batches = BatchSampler(RandomSampler(data), 4, drop_last)  # type: ignore[arg-type]
    plain: Any = DataLoader(data, batch_size=None, sampler=batches, num_workers=num_workers)  # type: ignore[arg-type]
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(plain)
    assert loader.batch_size is None
    assert isinstance(loader.sampler, BatchSampler)
    assert_trains_its_plans(pruner, loader, batch_size=4, drop_last=drop_last)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_batching_each_sample_is_a_batch(num_workers: int) -> None:
    pruner, loader = wrapped(11, None, num_workers=num_workers)
    assert next(iter(loader)).dim() == 0
    assert_trains_its_plans(pruner, loader, batch_size=1)


def test_pinning_is_kept_and_leaves_ids_and_batch_apart() -> None:
    pruner, loader = wrapped(11, 4, pin_memory=True)
    assert loader.pin_memory
    if not torch.accelerator.is_available():
        with pytest.warns(UserWarning, match="no accelerator is found"):
            train(pruner, loader, 0)
    else:
        assert next(iter(loader)).is_pinned()

    # Without an accelerator torch pins nothing itself, but it asks the batch's own method.
    class Batch:
        def pin_memory(self) -> str:
            return "pinned"

    tagged = (IdBatch(np.arange(2)), [0, 1])
    asked, batch = pin_memory(TaggedCollate(lambda samples: Batch())(tagged))
    assert (asked.ids.tolist(), batch) == ([0, 1], "pinned")


def test_the_timeout_still_ends_a_wait_for_a_stuck_worker() -> None:
    pruner = Pruner(Everything(), epochs=8)
    plain = DataLoader(Numbers(4, slow=range(4)), 4, num_workers=1, timeout=0.2)
    with pytest.raises(RuntimeError, match="timed out after"):
        next(iter(pruner.wrap(plain)))


def test_the_users_loader_is_left_as_it_was() -> None:
    plain = DataLoader(Numbers(11), 4, num_workers=1, persistent_workers=True)
    before = dict(vars(plain))
    pruner = Pruner(RandomPruning(prune_ratio=0.5), epochs=8)
    loader = pruner.wrap(plain)
    train(pruner, loader, 0)
    assert {name: id(value) for name, value in vars(plain).items()} == {
        name: id(value) for name, value in before.items()
    }
    assert type(plain) is DataLoader
    assert flat(batch.tolist() for batch in plain) == list(range(11))


def test_a_loader_that_was_iterated_before_keeps_its_own_workers() -> None:
    plain = DataLoader(Numbers(11), 4, num_workers=1, persistent_workers=True)
    assert flat(batch.tolist() for batch in plain) == list(range(11))
    workers = plain._iterator
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(plain)
    assert_trains_its_plans(pruner, loader, batch_size=4, epochs=2)
    assert plain._iterator is workers
    assert flat(batch.tolist() for batch in plain) == list(range(11))


def test_every_attribute_is_still_the_users() -> None:
    plain = DataLoader(
        Numbers(11),
        4,
        shuffle=True,
        num_workers=2,
        collate_fn=torch.stack,
        drop_last=True,
        timeout=9,
        worker_init_fn=print,
        multiprocessing_context="spawn",
        generator=torch.Generator(),
        prefetch_factor=3,
        persistent_workers=True,
        in_order=False,
    )
    loader = Pruner(InfoBatch(), epochs=8).wrap(plain)
    driven = {"sampler", "batch_sampler", "_iterator"}
    for name in vars(plain).keys() - driven:
        assert vars(loader)[name] is vars(plain)[name], name
    assert loader.multiprocessing_context is plain.multiprocessing_context


def test_the_sampler_is_a_distributed_sampler_that_ignores_set_epoch() -> None:
    _, loader = wrapped()
    assert isinstance(loader.sampler, DistributedSampler)
    assert isinstance(loader.batch_sampler, BatchSampler)
    assert loader.batch_sampler.sampler is loader.sampler
    before = list(loader.sampler)
    loader.sampler.set_epoch(5)
    assert list(loader.sampler) == before
    assert len(loader.sampler) == 12


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_sampler_is_a_fresh_iterator_each_time(drop_last: bool) -> None:
    """torch's BatchSampler calls iter() again on what iter(sampler) gave, with islice and zip."""
    pruner, loader = wrapped(11, 4, drop_last=drop_last)
    ids = pruner.plan(0).ids.tolist()
    stop = 8 if drop_last else 11
    one, two = iter(loader.sampler), iter(loader.sampler)
    assert iter(one) is one
    assert list(itertools.islice(one, 3)) == ids[:3]
    assert list(itertools.islice(one, 3)) == ids[3:6]
    assert list(two) == ids[:stop]
    assert list(zip(*[iter(loader.sampler)] * 4, strict=False)) == [tuple(ids[:4]), tuple(ids[4:8])]
    batches = [ids[k : k + 4] for k in range(0, stop, 4)]
    assert list(loader.batch_sampler) == list(loader.batch_sampler) == batches
    assert len(loader.batch_sampler) == len(loader) == len(batches)


@pytest.mark.usefixtures("unchanged_global_rng")
def test_wrapping_and_planning_move_no_global_random_stream() -> None:
    pruner, loader = wrapped()
    len(loader), list(loader.sampler), pruner.plan(0), pruner.state_dict(), pruner.report()


def test_two_loaders_of_one_data_set_share_a_run() -> None:
    data = Numbers(12)
    pruner = Pruner(InfoBatch(), epochs=8)
    small = pruner.wrap(DataLoader(data, 3, shuffle=True))
    large = pruner.wrap(DataLoader(data, 6, shuffle=True))
    assert (len(small), len(large)) == (4, 2)
    assert flat(train(pruner, small, 0)) == pruner.plan(0).ids.tolist()
    assert flat(train(pruner, large, 1)) == pruner.plan(1).ids.tolist()


def test_importing_and_wrapping_patches_nothing_of_torchs() -> None:
    names = ("__iter__", "__len__", "__setattr__", "_get_iterator")
    before = [getattr(DataLoader, name) for name in names]
    pruner, loader = wrapped()
    train(pruner, loader, 0)
    assert [getattr(DataLoader, name) for name in names] == before
    assert flat(batch.tolist() for batch in DataLoader(Numbers(4), 2)) == [0, 1, 2, 3]
