"""torchdata's StatefulDataLoader: its state and the pruner's are one, and resuming is exact."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from loops import Numbers
from small_runs import copied, differences
from thresher import InfoBatch, Method, Omission, Pruner, RePB
from thresher.errors import CheckpointError, SamplerError
from thresher.online import SelectiveBackprop

torchdata = pytest.importorskip("torchdata.stateful_dataloader")

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core

METHODS: list[Method] = [
    RePB(prune_ratio=0.4, window=2),
    Omission(prune_ratio=0.4),
    SelectiveBackprop(prune_ratio=0.4),
]


class WithState(Numbers):
    """A data set that remembers how often it was asked."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""


def stateful(dataset: Any = None, kind: Any = None, **settings: Any) -> Any:
    settings = {"shuffle": True, **settings}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'set_vital' is deprecated|This DataLoader will create")
        return (kind or torchdata.StatefulDataLoader)(dataset or Numbers(26), 4, **settings)


class Run:
    """A loop over numbers; what each batch trained is its trail."""

    def __init__(self, method: Method, plain: Any) -> None:
        self.pruner = Pruner(method, epochs=4, seed=3)
        self.loader: Any = self.pruner.wrap(plain, score_fn=self.score)
        self.time = 0
        self.trail: list[list[int]] = []

    def score(self, ids: Tensor) -> dict[str, Tensor]:
        return {"loss": torch.frac((ids + 1) * (self.time + 2) * 0.618034).float() + 0.01}

    def train(self) -> Iterator[Run]:
        for _ in range(self.pruner.epoch, 4):
            for ids in self.loader:
                scores = self.score(ids)["loss"]
                needs = self.pruner.method.needs or ("loss",)
                self.pruner.reduce(scores, scores=dict.fromkeys(needs, scores))
                self.trail.append(ids.tolist())
                self.time += 1
                yield self


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_it_trains_the_plans_of_a_plain_loader_and_stays_what_it_is(method: Method) -> None:
    plain, whole = Run(method, DataLoader(Numbers(26), 4, shuffle=True)), Run(method, stateful())
    assert isinstance(whole.loader, torchdata.StatefulDataLoader)
    assert type(whole.loader).__name__ == "PlannedStatefulDataLoader"
    lengths = [[len(run.loader) for _ in run.train()] for run in (plain, whole)]
    assert whole.trail == plain.trail
    assert lengths[0] == lengths[1]
    assert not differences(whole.pruner.state_dict(), plain.pruner.state_dict())


@pytest.mark.parametrize("saved_by", ["loader", "pruner"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_run_resumes_at_any_batch_from_the_state_of_either(method: Method, saved_by: str) -> None:
    whole = Run(method, stateful())
    states = [copied(getattr(run, saved_by).state_dict()) for run in whole.train()]
    assert len(states) >= 15
    for cut, state in enumerate(states):
        for loaded_by in ("loader", "pruner"):
            assert_resumes(Run(method, stateful()), loaded_by, state, whole, cut)


def assert_resumes(run: Run, loaded_by: str, state: Any, whole: Run, cut: int) -> None:
    getattr(run, loaded_by).load_state_dict(state)
    run.time = cut + 1
    for _ in run.train():
        pass
    assert run.trail == whole.trail[cut + 1 :]
    assert not differences(run.pruner.state_dict(), whole.pruner.state_dict())


@pytest.mark.parametrize("method", METHODS[::2], ids=lambda method: type(method).__name__)
def test_so_does_a_run_with_workers_that_fetch_ahead(method: Method) -> None:
    whole = Run(method, stateful(num_workers=2))
    states = [copied(run.loader.state_dict()) for run in whole.train()]
    cut = len(states) - 3
    assert_resumes(Run(method, stateful(num_workers=2)), "loader", states[cut], whole, cut)


def test_a_batch_that_was_fetched_and_not_trained_comes_again() -> None:
    """Torchdata counts it as done; but the model has not learned from it."""
    run = Run(METHODS[0], stateful())
    steps = run.train()
    next(steps)
    batches = iter(run.loader)  # the pass of the next epoch, which this only peeks at
    del batches
    state = copied(run.loader.state_dict())
    rest = [ids for step in steps for ids in step.trail[-1:]]
    again = Run(METHODS[0], stateful())
    again.loader.load_state_dict(state)
    again.time = 1
    for _ in again.train():
        pass
    assert again.trail == rest


def test_both_may_be_loaded_in_either_order() -> None:
    run = Run(METHODS[0], stateful())
    steps = run.train()
    for _ in range(9):
        next(steps)
    state = {"loader": run.loader.state_dict(), "pruner": run.pruner.state_dict()}
    for order in (("loader", "pruner"), ("pruner", "loader")):
        again = Run(METHODS[0], stateful())
        for name in order:
            getattr(again, name).load_state_dict(copied(state[name]))
        assert not differences(again.pruner.state_dict(), run.pruner.state_dict())
        assert not differences(again.loader.state_dict(), run.loader.state_dict())


def test_a_subclass_keeps_its_own_passes_and_lengths() -> None:
    class Doubling(torchdata.StatefulDataLoader):  # type: ignore[name-defined, misc]
        """Hands on each batch with something beside it."""

        def __iter__(self) -> Iterator[Any]:
            for batch in super().__iter__():
                yield batch, 2 * batch

    pruner = Pruner(InfoBatch(), epochs=4)
    loader: Any = pruner.wrap(stateful(kind=Doubling))
    assert isinstance(loader, Doubling)
    seen = []
    for ids, doubled in loader:
        assert (doubled == 2 * ids).all()
        pruner.reduce(ids.float())
        seen += ids.tolist()
    assert sorted(seen) == list(range(26))
    state = loader.state_dict()
    again = Pruner(InfoBatch(), epochs=4)
    again.wrap(stateful(kind=Doubling)).load_state_dict(state)
    assert again.epoch == 1


@pytest.mark.parametrize("shuffle", [True, False])
def test_its_samplers_are_taken_over_like_those_of_torch(shuffle: bool) -> None:
    sampler = torchdata.sampler.StatefulDistributedSampler
    dataset = Numbers(26)
    for plain in (
        stateful(dataset, shuffle=shuffle),
        stateful(dataset, shuffle=None, sampler=sampler(dataset, 1, 0, shuffle=shuffle)),
    ):
        run = Run(InfoBatch(), plain)
        next(run.train())
        assert run.pruner.state_dict()["shuffled"] is shuffle
        assert (run.trail[0] == [0, 1, 2, 3]) is not shuffle


def test_samplers_that_draw_otherwise_are_refused_as_ever() -> None:
    dataset = Numbers(26)
    repeated = torchdata.sampler.RandomSampler(dataset, replacement=True)
    with pytest.raises(SamplerError, match="RandomSampler draws 26 of 26 samples with replacement"):
        Pruner(InfoBatch(), epochs=4).wrap(stateful(dataset, shuffle=None, sampler=repeated))


def test_a_state_of_an_unpruned_run_is_refused_before_and_after_wrap() -> None:
    plain = stateful()
    next(iter(plain))
    state = plain.state_dict()
    loaded = stateful()
    loaded.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"before it was wrapped.*wrap\(loader\) first"):
        Pruner(InfoBatch(), epochs=4).wrap(loaded)
    with pytest.raises(CheckpointError, match="format None; expected: format"):
        Pruner(InfoBatch(), epochs=4).wrap(stateful()).load_state_dict(state)


def test_a_data_set_with_a_state_of_its_own_is_trained_but_not_saved_in_half() -> None:
    run = Run(InfoBatch(), stateful(WithState(26)))
    next(run.train())
    with pytest.raises(CheckpointError, match=r"WithState has a state of its own.*pruner\.state"):
        run.loader.state_dict()
    assert run.pruner.state_dict()["num_samples"] == 26
