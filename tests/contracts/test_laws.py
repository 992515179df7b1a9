"""Every method of the library keeps every law."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contracts import laws, laws_of_scores
from contracts.found import CLASSES, EXTREMES, METHODS, short
from thresher.methods import Method

Law = Callable[[Method], None]

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)
of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

LAWS: list[Law] = [
    laws.plans_are_valid,
    laws.at_least_one_sample_is_trained,
    laws.same_seed_same_plans,
    laws.other_seed_other_choice,
    laws.a_plan_is_a_pure_function_of_the_ledger,
    laws_of_scores.observing_changes_neither_plan_nor_scores,
    laws.relabelling_samples_relabels_plans,
    laws.a_rule_without_draws_ignores_labels,
    laws.settings_survive_repr_pickle_and_copy,
    laws.settings_are_frozen,
    laws.a_saved_run_continues_exactly,
    laws_of_scores.a_broken_score_is_no_score,
    laws_of_scores.broken_scores_leave_valid_plans,
    laws_of_scores.extra_forwards_are_of_who_was_not_trained,
    laws.ratio_zero_trains_on_everything,
    laws.protected_samples_are_in_every_plan,
    laws.nobody_leaves_out_more_than_asked,
    laws.defaults_of_torch_do_not_change_plans,
]


@of_every_method
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.usefixtures("unchanged_global_rng")
def test_every_method_keeps(law: Law, method: Method) -> None:
    law(method)


@pytest.mark.filterwarnings("ignore:.* cannot save:thresher.errors.ThresherWarning")
@pytest.mark.parametrize("method", EXTREMES, ids=short)
@pytest.mark.parametrize(
    "law",
    [
        laws.plans_are_valid,
        laws.at_least_one_sample_is_trained,
        laws_of_scores.broken_scores_leave_valid_plans,
        laws.protected_samples_are_in_every_plan,
        laws.settings_survive_repr_pickle_and_copy,
    ],
    ids=lambda law: law.__name__,
)
def test_settings_at_their_ends_keep(law: Law, method: Method) -> None:
    law(method)


@of_every_class
def test_threads_do_not_change_the_plans_of(kind: type[Method]) -> None:
    laws.threads_do_not_change_plans(kind())


def test_methods_are_found() -> None:
    names = {kind.__name__ for kind in CLASSES}
    assert {"Full", "RandomPruning", "InfoBatch", "RePB", "OrderDP", "Omission"} <= names
    assert {"SeTa", "KAKURENBO", "EpsilonGreedy", "UCB"} <= names
    assert {repr(method) for method in METHODS} >= {
        "RandomPruning(prune_ratio=0.5, delta=1.0, warmup_epochs=0, mode='cycle')"
    }
