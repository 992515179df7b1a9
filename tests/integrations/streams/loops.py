"""A loop over a stream whose samples have a number, and what it trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thresher import Method, Pruner
from thresher.online import OnlineMethod

N, B, EPOCHS = 40, 4, 3

# A single core may run them; and a pass that is left early leaves a shard open.
QUIET = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Numbers = Callable[[Any], Tensor]
"""The numbers of a batch's samples."""


def loss_of(numbers: Tensor, epoch: int) -> Tensor:
    return torch.frac((numbers + 1) * (epoch + 3) * 0.7548777).float() + 0.5


class Run:
    """A run of a method over a stream, which may be stopped after any batch."""

    def __init__(
        self, method: Method, plain: DataLoader[Any], numbers: Numbers, **asked: Any
    ) -> None:
        is_online = isinstance(method, OnlineMethod)
        self.pruner = Pruner(method, epochs=EPOCHS, num_samples=None if is_online else N)
        if is_online:
            asked["score_fn"] = self.score
        self.loader: Any = self.pruner.wrap(plain, **asked)
        self.numbers = numbers
        self.looked: list[int] = []

    def score(self, batch: Any) -> dict[str, Tensor]:
        numbers = self.numbers(batch)
        self.looked += numbers.tolist()
        losses = loss_of(numbers, 0)
        return {"loss": losses, "logit_grad_norm": losses}

    def epoch(self, epoch: int) -> Iterator[list[int]]:
        for batch in self.loader:
            numbers = self.numbers(batch)
            self.pruner.reduce(loss_of(numbers, epoch))
            yield numbers.tolist()


def assert_trains_what_is_planned(run: Run, rows: Callable[[], dict[int, int]]) -> None:
    """Each epoch trains its plan once each, in batches of b; `rows` is number -> id by then."""
    for epoch in range(EPOCHS):
        planned, length = set(run.pruner.plan(epoch).ids.tolist()), len(run.loader)
        batches = list(run.epoch(epoch))
        ids = [rows()[number] for batch in batches for number in batch]
        assert len(ids) == len(planned)
        assert set(ids) == planned
        assert len(batches) == length
        assert all(len(batch) == B for batch in batches[:-1])
    report = run.pruner.report()
    assert report.trained == report.planned
    assert report.prune_rate > 0.1


def assert_looks_at_everything_once(run: Run) -> None:
    for epoch in range(EPOCHS):
        run.looked.clear()
        trained = [number for batch in run.epoch(epoch) for number in batch]
        assert sorted(run.looked) == list(range(N))
        assert len(set(trained)) == len(trained) < N
    report = run.pruner.report()
    assert report.extra_forwards == report.passed == EPOCHS * N


def assert_resumes_anywhere(started: Callable[[int], Run]) -> None:
    """`started` is given the epoch that its data set is to yield."""
    run, trail, states = started(0), [], []
    for epoch in range(EPOCHS):
        run.loader.dataset.set_epoch(epoch)
        for batch in run.epoch(epoch):
            trail.append((epoch, batch))
            states.append(run.pruner.state_dict())
    for cursor in range(0, len(trail) - 1, 4):
        epoch = trail[cursor + 1][0]
        other = started(epoch)
        other.pruner.load_state_dict(states[cursor])
        rest = [(epoch, batch) for batch in other.epoch(epoch)]
        if not rest:  # the epoch was over, and only its end was not seen
            rest = [(epoch, batch) for batch in other.epoch(epoch)]
        assert rest == [each for each in trail[cursor + 1 :] if each[0] == epoch]
