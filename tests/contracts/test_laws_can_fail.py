"""A law that nothing can break says nothing: here is a method that breaks each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts import laws, laws_of_scores
from contracts.drive import losses, run
from contracts.test_laws import LAWS
from thresher import draws
from thresher.draws import Draws
from thresher.errors import CheckpointError
from thresher.ledger import Column, Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Plan, Selection, Trace


@dataclass(frozen=True, kw_only=True)
class Half(Method):
    """A sound method: leaves out half of the samples, or the epoch's target, at random."""

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, float("nan")),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        share = 0.5 if epoch.target is None else epoch.target
        return Selection(kept=self.chance(ledger, epoch) >= share)

    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        return epoch.draws.uniform(ledger.num_samples, "selection")

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")


class Weighted(Half):
    """Gives every sample one weight."""

    weight: float = -1.0

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        weights = torch.full((ledger.num_samples,), self.weight, dtype=torch.float32)
        return replace(super().select(ledger, epoch), weights=weights)


class WeightedByNaN(Weighted):
    weight = float("nan")


class WeightedByDefaultDtype(Half):
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        chosen = super().select(ledger, epoch)
        return replace(chosen, weights=torch.where(chosen.kept, 2.0, 1.0))


class Shifted(Half):
    """Draws by position: sample i is kept for what sample i - 1 drew."""

    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        return super().chance(ledger, epoch).roll(1)


class FirstHalf(Half):
    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        return torch.arange(ledger.num_samples) / ledger.num_samples


class GlobalRandomness(Half):
    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        return torch.rand(ledger.num_samples)


class SameForEverySeed(Half):
    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        super().chance(ledger, epoch)
        return Draws(0, epoch.number).uniform(ledger.num_samples, "selection")


class WritesWhileChoosing(Half):
    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        ledger["loss"][0] = 7.0
        return super().chance(ledger, epoch)


class ScalesTheScores(Half):
    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        trace.scores["loss"].mul_(2.0)


class HiddenState(Half):
    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "last", 0.0)


class RemembersOutsideTheLedger(Half):
    seen: dict[int, float] = {}  # noqa: RUF012 - the fault itself

    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        self.seen[epoch.number] = self.seen.get(epoch.number, 0.0) + 0.3
        return (super().chance(ledger, epoch) + self.seen[epoch.number]) % 1


@dataclass(frozen=True, kw_only=True)
class HidesASetting(Half):
    secret: float = field(default=0.0, repr=False)


class TakesBrokenForZero(Half):
    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        zeroed = trace.scores["loss"].nan_to_num(0.0, 0.0, 0.0)
        ledger["loss"][plan.ids[trace.seen]] = zeroed[trace.seen]


class KeepsInfinity(Half):
    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger["loss"][plan.ids] = trace.scores["loss"]


class LooksAgainAtTheTrained(Half):
    def refreshed(self, ledger: Ledger, plan: Plan) -> Tensor | None:
        return plan.ids


class TakesABrokenLook(Half):
    def refreshed(self, ledger: Ledger, plan: Plan) -> Tensor | None:
        absent = ledger.everyone
        absent[plan.ids] = False
        return absent.nonzero()[:, 0]

    def observe_refreshed(self, ledger: Ledger, ids: Tensor, scores: Mapping[str, Tensor]) -> None:
        ledger["loss"][ids] = scores["loss"]


class AlwaysHalf(Half):
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return super().select(ledger, replace(epoch, target=None))


class WeighsTheCertainByZero(Half):
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return replace(super().select(ledger, epoch), certain_weight=0.0)


class AsksTheMachine(Half):
    def chance(self, ledger: Ledger, epoch: Epoch) -> Tensor:
        return super().chance(ledger, epoch).roll(torch.get_num_threads())


FAULTS: list[tuple[Callable[[Method], None], Method]] = [
    (laws.plans_are_valid, Weighted()),
    (laws.plans_are_valid, WeightedByNaN()),
    (laws.at_least_one_sample_is_trained, Weighted()),
    (laws.same_seed_same_plans, GlobalRandomness()),
    (laws.other_seed_other_choice, SameForEverySeed()),
    (laws.a_plan_is_a_pure_function_of_the_ledger, WritesWhileChoosing()),
    (laws.a_plan_is_a_pure_function_of_the_ledger, GlobalRandomness()),
    (laws_of_scores.observing_changes_neither_plan_nor_scores, ScalesTheScores()),
    (laws.relabelling_samples_relabels_plans, Shifted()),
    (laws.relabelling_samples_relabels_plans, FirstHalf()),
    (laws.a_rule_without_draws_ignores_labels, FirstHalf()),
    (laws.settings_survive_repr_pickle_and_copy, HidesASetting(secret=1.0)),
    (laws.settings_are_frozen, HiddenState()),
    (laws.a_saved_run_continues_exactly, RemembersOutsideTheLedger()),
    (laws_of_scores.a_broken_score_is_no_score, TakesBrokenForZero()),
    (laws_of_scores.broken_scores_leave_valid_plans, KeepsInfinity()),
    (laws_of_scores.extra_forwards_are_of_who_was_not_trained, LooksAgainAtTheTrained()),
    (laws_of_scores.extra_forwards_are_of_who_was_not_trained, TakesABrokenLook()),
    (laws.ratio_zero_trains_on_everything, AlwaysHalf()),
    (laws.nobody_leaves_out_more_than_asked, AlwaysHalf()),
    (laws.protected_samples_are_in_every_plan, WeighsTheCertainByZero()),
    (laws.defaults_of_torch_do_not_change_plans, WeightedByDefaultDtype()),
    (laws.threads_do_not_change_plans, AsksTheMachine()),
]


@pytest.mark.parametrize(
    ("law", "method"), FAULTS, ids=lambda each: getattr(each, "__name__", type(each).__name__)
)
def test_a_fault_breaks_the_law(law: Callable[[Method], None], method: Method) -> None:
    state = torch.get_rng_state()
    with pytest.raises((AssertionError, CheckpointError)):
        law(method)
    torch.set_rng_state(state)


def test_every_law_has_a_fault() -> None:
    broken = {law.__name__ for law, _ in FAULTS}
    assert broken == {law.__name__ for law in LAWS} | {"threads_do_not_change_plans"}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_sound_method_of_a_user_keeps(law: Callable[[Method], None]) -> None:
    law(Half())


class Nobody(Half):
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return Selection(kept=draws.exact_count(ledger.everyone, 0, self.chance(ledger, epoch)))


@pytest.mark.parametrize("size", [1, 2, 61])
def test_a_method_that_keeps_nobody_still_trains_one_sample(size: int) -> None:
    _, plans = run(Nobody(), losses(size))
    assert [len(plan) for plan in plans] == [1] * len(plans)


def test_a_method_cannot_be_left_abstract() -> None:
    class Unfinished(Method):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished(**dict[str, Any]())  # type: ignore[abstract]
