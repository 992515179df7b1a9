"""An online run over a stream, killed anywhere and resumed, is the run that was never killed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.data import DataLoader

from online.found import CLASSES, short
from small_runs import copied, differences
from streams.streams import Numbers, Scores, ids_of, loss_of, run
from thresher import Pruner
from thresher.methods import Reference
from thresher.online import (
    Candidates,
    Choice,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)

B = 4
EVERY: list[OnlineMethod] = [kind() for kind in CLASSES]


class Script:
    """A run over a stream that may be stopped anywhere."""

    def __init__(self, method: OnlineMethod, **asked: Any) -> None:
        self.dataset = Numbers(range(19))
        self.pruner, self.loader, self.scores = run(method, self.dataset, B, **asked)

    def state(self) -> Any:
        return copied({"pruner": self.pruner.state_dict(), "time": self.scores.time})

    def load(self, state: Any) -> None:
        self.pruner.load_state_dict(state["pruner"])
        self.scores.time = state["time"]

    def run(self) -> Any:
        for epoch in range(self.pruner.epoch, 4):
            self.dataset.order = random.Random(epoch).sample(range(19), 19)
            for batch in self.loader:
                ids = ids_of(batch)
                mean = self.pruner.reduce(loss_of(ids, epoch)).item()
                self.scores.time += 1
                yield epoch, ids.tolist(), mean


RESUMED: list[OnlineMethod] = [
    *EVERY,
    SelectiveBackprop(history=9, prune_ratio=0.4),
    SelectiveBackprop(rule="composer", interrupt=2, prune_ratio=0.3),
    ImportanceSampling(tau_th=1.05, decay=0.5),
    OrderedTopQ(warmup_epochs=1, delta=0.75),
]


@pytest.mark.parametrize("steps_per_epoch", [None, 7])
@pytest.mark.parametrize("method", RESUMED, ids=short)
def test_a_run_killed_after_any_batch_goes_on_as_the_whole_one(
    method: OnlineMethod, steps_per_epoch: int | None
) -> None:
    whole = Script(method, steps_per_epoch=steps_per_epoch)
    trail, states = [], []
    for each in whole.run():
        trail.append(each)
        states.append(whole.state())
    for cursor in range(len(trail)):
        other = Script(method, steps_per_epoch=steps_per_epoch)
        other.load(states[cursor])
        rest = other.run()
        # Two batches and then the state say as much as all of them, and take less time.
        assert [next(rest) for _ in trail[cursor + 1 : cursor + 3]] == trail[
            cursor + 1 : cursor + 3
        ]
        if cursor + 2 < len(trail):
            assert not differences(other.state(), states[cursor + 2])
    assert len(trail) > 8
    ended = Script(method, steps_per_epoch=steps_per_epoch)
    ended.load(whole.state())
    assert ended.pruner.finished
    assert not differences(ended.state(), whole.state())
    assert ended.pruner.report().prune_rate == whole.pruner.report().prune_rate


def test_samples_wait_at_some_of_these_moments() -> None:
    """Else the test above says nothing about them."""
    script = Script(SelectiveBackprop(history=9, prune_ratio=0.4))
    waiting = [
        script.state()["pruner"]["clock"]["ledger"]["vectors"]["waiting"] for _ in script.run()
    ]
    assert max(int((each >= 0).sum()) for each in waiting) > 0
    assert len({each.shape for each in waiting}) == 1


@dataclass(frozen=True, kw_only=True)
class LastFirst(OnlineMethod):
    """Lets five of eight wait, and the first of them last."""

    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def choose(self, candidates: Candidates) -> Choice:
        wanted = torch.tensor([1, 2, 3, 4, 0])
        return Choice(wanted[wanted < candidates.size], None, {})


def test_who_waits_is_found_again_in_the_order_of_waiting() -> None:
    test_a_run_killed_after_any_batch_goes_on_as_the_whole_one(LastFirst(), None)


@pytest.mark.parametrize("method", [OrderedTopQ(), OrderedTopQ(warmup_epochs=4)])
def test_beginning_again_what_was_read_moves_no_random_stream(method: OnlineMethod) -> None:
    """A pass draws its workers' seed when it begins; a resumed one has drawn it already."""

    def started() -> tuple[Script, torch.Generator]:
        generator = torch.Generator().manual_seed(1)
        return Script(method, steps_per_epoch=7, generator=generator), generator

    whole, drawn = started()
    trail, states = [], []
    for each in whole.run():
        trail.append((each, drawn.get_state().tolist()))
        states.append((whole.state(), drawn.get_state()))
    for cursor in range(len(trail) - 1):
        other, generator = started()
        other.load(states[cursor][0])
        generator.set_state(states[cursor][1])
        each = next(other.run())
        assert (each, generator.get_state().tolist()) == trail[cursor + 1]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_so_does_a_run_with_a_worker() -> None:
    whole = Script(SelectiveBackprop(), num_workers=1)
    trail, states = [], []
    for each in whole.run():
        trail.append(each)
        states.append(whole.state())
    middle = len(trail) // 2
    other = Script(SelectiveBackprop(), num_workers=1)
    other.load(states[middle])
    assert list(other.run()) == trail[middle + 1 :]


@pytest.mark.parametrize("steps_per_epoch", [None, 4])
def test_a_state_may_be_loaded_before_the_stream_is_wrapped(steps_per_epoch: int | None) -> None:
    whole = Script(SelectiveBackprop(), steps_per_epoch=steps_per_epoch)
    trail = whole.run()
    for epoch, _, _ in trail:
        state = copied(whole.pruner.state_dict())
        other = Pruner(SelectiveBackprop(), epochs=4)
        other.load_state_dict(state)
        assert other.epoch == whole.pruner.epoch
        assert not differences(other.state_dict(), state)
        if epoch == 1:
            break
    scores = Scores()
    scores.time = whole.scores.time
    plain = DataLoader(Numbers(whole.dataset.order), B)
    loader: Any = other.wrap(plain, score_fn=scores, steps_per_epoch=steps_per_epoch)
    batches = iter(loader)
    batch = next(batches)
    mean = other.reduce(loss_of(ids_of(batch), 1)).item()
    assert next(trail) == (1, ids_of(batch).tolist(), mean)
