"""Random interleavings of everything a loop can do, against a simple model of the clock.

The model knows which batches each iterator holds and which of them were scored. What comes next is
told by a second pruner that has no loader at all and is given the same scores in the same order.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from torch.utils.data import DataLoader

from clock_model import PassModel, PlanModel
from loops import Everything, Numbers, ledger_losses, losses_by_id
from thresher import InfoBatch, Method, Pruner, RandomPruning, RePB
from thresher.errors import (
    EmptyEpochError,
    NotIteratedError,
    ReadAheadError,
    ReducedTwiceError,
    StaleBatchError,
    ThresherError,
)

METHODS: list[Method] = [
    InfoBatch(),
    RePB(rho=0.5, window=2),
    RandomPruning(prune_ratio=0.4, mode="cycle"),
    Everything(),
]


class ClockMachine(RuleBasedStateMachine):
    """`hand` has the live iterators, the one that fetched last at the end."""

    passes = Bundle("passes")

    @initialize(
        num_samples=st.integers(7, 13),
        batch_size=st.integers(1, 4),
        drop_last=st.booleans(),
        method=st.sampled_from(METHODS),
        accumulation_steps=st.integers(1, 2),
    )
    def start(self, num_samples: int, batch_size: int, drop_last: bool, **run: Any) -> None:
        self.run = {"epochs": 40, **run}
        self.plain = DataLoader(Numbers(num_samples), batch_size, shuffle=True, drop_last=drop_last)
        self.pruner = Pruner(**self.run)
        self.loader: Any = self.pruner.wrap(self.plain)
        self.reference = Pruner(**self.run, num_samples=num_samples)
        self.epoch, self.losses = 0, 0
        self.current = PlanModel(self.reference.plan(0).ids.tolist())
        self.coming: PlanModel | None = None
        self.hand: list[PassModel] = []
        self.is_in_step = False
        self.skipped_before: list[int] = []

    # What the model says.

    def stop(self, plan: PlanModel) -> int:
        size = len(plan.ids)
        return size - size % self.batch_size if self.plain.drop_last else size

    @property
    def batch_size(self) -> int:
        assert self.plain.batch_size is not None
        return self.plain.batch_size

    def is_done(self) -> bool:
        return len(self.current.scored) >= self.stop(self.current)

    def next_plan(self) -> PlanModel:
        if self.coming is None:
            probe = copy.deepcopy(self.reference)
            self.coming = PlanModel(probe.plan(self.epoch + 1).ids.tolist())
        return self.coming

    def expected_error(self) -> type[ThresherError] | None:
        """What reduce must say; None if it must score the batch fetched last."""
        if not self.hand:
            return NotIteratedError
        newest, current = self.hand[-1], self.current
        if not newest.is_pending:
            return ReducedTwiceError
        if newest.num_fetched > 1 and not self.is_in_step:
            return ReadAheadError
        for other in self.hand[:-1]:
            is_later = other.plan is current is not newest.plan and current.num_reduced > 0
            is_ahead = other.plan is newest.plan and newest.num_fetched > 1
            if other.is_pending and (is_later or is_ahead):
                return ReadAheadError
        return None if newest.plan in (current, self.coming) else StaleBatchError

    def score(self, plan: PlanModel, ids: list[int], losses: torch.Tensor) -> None:
        if plan is self.coming:
            self.reference.plan(self.epoch + 1)
            self.skipped_before.append(self.current.num_skipped)
            self.current, self.epoch = self.coming, self.epoch + 1
        assert plan is self.current
        self.coming = None
        self.reference.observe(torch.tensor(ids), losses)
        plan.scored |= dict(zip(ids, losses.tolist(), strict=True))
        plan.num_reduced += 1

    def fresh_losses(self, num: int) -> torch.Tensor:
        # No two are ever equal, and their order is not that of time.
        numbers = torch.arange(self.losses, self.losses + num)
        self.losses += num
        return (numbers * 7919 % 10007).float() + 1

    # What a loop does.

    @rule(target=passes)
    def iterate(self) -> Any:
        is_new = self.current.num_reduced == 0 and not self.is_done()
        plan = self.current if is_new else self.next_plan()
        left = [id_ for id_ in plan.ids[: self.stop(plan)] if id_ not in plan.scored]
        size = self.batch_size
        batches = [left[k : k + size] for k in range(0, len(left), size)]
        if not self.stop(plan):
            with pytest.raises(EmptyEpochError):
                iter(self.loader)
            return multiple()
        real = iter(self.loader)
        return PassModel(self.loader, real, plan, batches, plan.num_reduced)

    @rule(each=passes)
    def fetch(self, each: PassModel) -> None:
        if each.home is not self.loader:
            return
        if each.cursor == len(each.batches):
            with pytest.raises(StopIteration):
                next(each.real)
            is_trained = each.plan.num_reduced > each.reduced_before
            if not each.is_named and (is_trained or each.num_fetched > 1):
                each.plan.num_skipped += each.num_fetched * (is_trained and each.plan.is_behind)
                each.num_fetched, each.is_held = 0, False
            return
        each.last, each.is_held = next(each.real).tolist(), True
        assert each.last == each.batches[each.cursor]
        each.cursor += 1
        each.num_fetched += 1
        each.plan.reach = max(each.plan.reach, each.plan.ids.index(each.last[-1]) + 1)
        self.hand = [*(other for other in self.hand if other is not each), each]

    @rule()
    def reduce(self) -> None:
        error = self.expected_error()
        newest = self.hand[-1] if self.hand else None
        losses = self.fresh_losses(len(newest.last) if newest else 1)
        if newest is None or error is not None:
            assert error is not None
            with pytest.raises(error):
                self.pruner.reduce(losses)
            return
        self.pruner.reduce(losses)
        self.score(newest.plan, newest.last, losses)
        newest.plan.num_skipped += newest.num_fetched - 1
        newest.num_fetched, self.is_in_step = 0, True
        for each in self.hand:
            each.is_held = False

    @rule(each=passes)
    def reduce_by_ids(self, each: PassModel) -> None:
        """Name the batch that an iterator fetched last, if it is clear whose it is."""
        claims = [plan for plan in (self.current, self.coming) if plan and plan.awaits(each.last)]
        newest = self.hand[-1] if self.hand else None
        is_same = newest is not None and newest.last == each.last and newest is not each
        if not each.last or claims != [each.plan] or is_same:
            return
        losses = self.fresh_losses(len(each.last))
        self.pruner.reduce(losses, ids=torch.tensor(each.last))
        self.score(each.plan, each.last, losses)
        if newest is not None:
            newest.is_held, newest.num_fetched, newest.is_named = False, 0, True

    @rule(each=passes, num_batches=st.integers(1, 3))
    def train_some(self, each: PassModel, num_batches: int) -> None:
        for _ in range(num_batches):
            self.fetch(each)
            self.reduce()

    @rule(target=passes, each=passes, is_named=st.booleans())
    def peek_with_a_batch_in_hand(self, each: PassModel, is_named: bool) -> Any:
        self.fetch(each)
        peek = self.iterate()
        if isinstance(peek, PassModel):
            self.fetch(peek)
        self.reduce_by_ids(each) if is_named else self.reduce()
        return peek

    @rule(each=passes)
    def train_to_the_end(self, each: PassModel) -> None:
        while each.home is self.loader and each.cursor < len(each.batches):
            self.fetch(each)
            self.reduce()
        self.fetch(each)

    @rule(each=consumes(passes))
    def drop(self, each: PassModel) -> None:
        """Also how a loop breaks."""
        each.real = None
        self.hand = [other for other in self.hand if other is not each]

    @rule()
    def peek(self) -> None:
        peek = self.iterate()
        if isinstance(peek, PassModel):
            self.fetch(peek)
            self.drop(peek)

    # What changes nothing.

    @rule()
    def look(self) -> None:
        counted = self.next_plan() if self.is_done() else self.current
        assert len(self.loader) == -(-self.stop(counted) // self.batch_size)
        assert len(self.loader.sampler) == self.stop(counted)
        assert self.pruner.plan(self.epoch).ids.tolist() == self.current.ids
        rows = self.pruner.report().rows
        skipped = [*self.skipped_before, self.current.num_skipped][: len(rows)]
        assert [row.skipped_batches for row in rows] == skipped
        self.loader.sampler.set_epoch(self.epoch + 5)

    @precondition(lambda self: self.hand)
    @rule()
    def look_at_the_ids(self) -> None:
        assert self.loader.batch_ids.tolist() == self.hand[-1].last
        self.hand[-1].is_named = True

    # What starts again.

    @rule(is_new=st.booleans())
    def save_and_load(self, is_new: bool) -> None:
        state = self.pruner.state_dict()
        if is_new:
            self.pruner = Pruner(**self.run)
            self.loader = self.pruner.wrap(self.plain)
            self.hand, self.is_in_step = [], False
        self.pruner.load_state_dict(state)
        old = self.current
        self.current = PlanModel(old.ids, dict(old.scored), num_skipped=old.num_skipped)
        self.coming = None

    @invariant()
    def agrees(self) -> None:
        assert self.pruner._clock is not None
        assert self.pruner._clock.epoch == self.epoch
        assert self.pruner.epoch == self.epoch + self.is_done()
        assert self.pruner.position == (0 if self.is_done() else len(self.current.scored))
        if self.pruner.method.needs:
            assert losses_by_id(self.pruner) == self.current.scored
        if "loss" in self.pruner._clock.ledger.columns:
            assert ledger_losses(self.pruner) == ledger_losses(self.reference)


TestClockAgainstModel = ClockMachine.TestCase


TestClockAgainstModel.settings = settings(max_examples=150, stateful_step_count=40)


TestClockAgainstModel = pytest.mark.filterwarnings("ignore::thresher.errors.ThresherWarning")(
    TestClockAgainstModel
)
