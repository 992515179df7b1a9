"""A subset is trained as it is, in every loop that other methods are trained in."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from contracts import laws
from contracts.drive import ByHand, losses, run
from contracts.test_laws import Law
from loops import Numbers
from thresher import Pruner, Subset
from thresher.errors import CheckpointError, SettingError

IDS = [44, 3, 0, 60, 17]
SOME = [
    Subset(IDS),
    Subset(IDS, [0.5, 2.0, 1.0, 1.0, 3.5]),
    Subset(torch.arange(61), torch.rand(61, generator=torch.Generator().manual_seed(0)) + 0.1),
]


@pytest.mark.parametrize("method", SOME, ids=["unweighted", "weighted", "of everybody"])
@pytest.mark.parametrize(
    "law",
    [
        laws.plans_are_valid,
        laws.same_seed_same_plans,
        laws.a_plan_is_a_pure_function_of_the_ledger,
        laws.settings_are_frozen,
        laws.a_saved_run_continues_exactly,
        laws.protected_samples_are_in_every_plan,
        laws.defaults_of_torch_do_not_change_plans,
    ],
    ids=lambda law: law.__name__,
)
@pytest.mark.usefixtures("unchanged_global_rng")
def test_a_given_subset_keeps(law: Law, method: Subset) -> None:
    law(method)


def test_every_epoch_trains_on_the_same_samples_in_a_new_order() -> None:
    weights = [0.5, 2.0, 1.0, 1.0, 3.5]
    _, plans = run(Subset(IDS, weights), losses(61))
    for plan in plans:
        assert dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True)) == dict(
            zip(IDS, weights, strict=True)
        )
    assert len({tuple(plan.ids.tolist()) for plan in plans}) > 1


def test_a_wrapped_loader_passes_over_the_subset() -> None:
    pruner = Pruner(Subset([2, 5, 7], [1.0, 2.0, 3.0]), epochs=2)
    loader = pruner.wrap(torch.utils.data.DataLoader(Numbers(9), 2, shuffle=True))
    for _ in range(2):
        seen = []
        assert len(loader) == 2
        for numbers in loader:
            loss = pruner.reduce(torch.ones(len(numbers)))
            expected = {2: 1.0, 5: 2.0, 7: 3.0}
            assert float(loss) == pytest.approx(
                sum(expected[int(i)] for i in numbers) / len(numbers)
            )
            seen += numbers.tolist()
        assert sorted(seen) == [2, 5, 7]
    assert pruner.report().prune_rate == pytest.approx(6 / 9)


def test_a_warm_up_trains_on_everything() -> None:
    _, plans = run(Subset(IDS, warmup_epochs=2), losses(61))
    assert [len(plan) for plan in plans[:4]] == [61, 61, 5, 5]


def test_what_the_ledger_holds_replaces_what_was_given() -> None:
    hand = ByHand(Subset(IDS, [1.0] * 5), losses(61))
    hand.train()
    hand.ledger["member"][[8, 9]] = True
    hand.ledger["weight"][[8, 9]] = torch.tensor([0.25, 4.0])
    assert set(hand.plan().ids.tolist()) == set(IDS)
    hand.ledger.scalars["replaced"] += 1
    plan = hand.plan()
    assert dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True)) == {8: 0.25, 9: 4.0}


def test_subsets_compare_hash_copy_and_print_by_content() -> None:
    long = torch.arange(100)
    for first, second in (
        (Subset(IDS), Subset(torch.tensor(IDS))),
        (Subset(IDS, [1.0] * 5), Subset(torch.tensor(IDS, dtype=torch.int32), torch.ones(5))),
        (Subset(long), Subset(long.tolist())),
    ):
        assert first == second
        assert hash(first) == hash(second)
        assert repr(first) == repr(second)
        assert pickle.loads(pickle.dumps(first)) == first
        assert copy.deepcopy(first) == first
    different = [Subset(), Subset(IDS), Subset(IDS[::-1]), Subset(IDS, [1.0] * 5), Subset(long)]
    different += [Subset(long + 1), Subset(IDS, warmup_epochs=1)]
    assert len(set(different)) == len(different)
    assert len({repr(each) for each in different}) == len(different)
    assert Subset(IDS) != IDS
    assert len(repr(Subset(torch.arange(10**6)))) < 200


def test_a_short_subset_prints_what_makes_it_again() -> None:
    method = Subset(IDS, [0.1, 0.2, 0.3, 1 / 3, 2.0], prune_ratio=0.9)
    assert eval(repr(method)) == method


def test_settings_are_copies_of_what_was_given() -> None:
    ids, weights = torch.tensor(IDS), torch.ones(5)
    method = Subset(ids, weights)
    ids[0], weights[0] = 1, 9.0
    assert method == Subset(IDS, [1.0] * 5)


def test_a_checkpoint_of_another_subset_is_refused() -> None:
    pruner = Pruner(Subset(torch.arange(50)), epochs=5, num_samples=61)
    state = pruner.state_dict()
    with pytest.raises(CheckpointError):
        Pruner(Subset(torch.arange(1, 51)), epochs=5, num_samples=61).load_state_dict(state)


@pytest.mark.parametrize(
    ("ids", "weights", "words"),
    [
        ([], None, "one or more"),
        ([[1, 2]], None, "shape"),
        ([0.5], None, "whole numbers"),
        ([True, False], None, "whole numbers"),
        ([1, 1], None, "none of them twice"),
        ([-1], None, "the smallest -1"),
        ([1, 2], [1.0], "each"),
        ([1, 2], [1.0, 0.0], "Leave samples out"),
        ([1, 2], [1.0, float("nan")], "finite"),
        ([1], [float("inf")], "finite"),
        (None, [1.0], "samples they belong to"),
    ],
)
def test_no_subset_is_refused(ids: object, weights: object, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Subset(ids, weights)  # type: ignore[arg-type]


def test_ids_beyond_the_data_set_are_refused_before_training() -> None:
    with pytest.raises(SettingError, match="61 samples"):
        Pruner(Subset([3, 61]), epochs=3, num_samples=61).plan(0)
