"""The laws of plans, one function each: it takes a method and fails with AssertionError.

`test_laws.py` runs them on every method of the library, `test_laws_can_fail.py` on methods that
break them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import torch

from contracts.drive import (
    EPOCHS,
    ByHand,
    CountedDraws,
    RelabelledDraws,
    asked,
    epoch_of,
    losses,
    named,
    relabelled,
    run,
)
from contracts.validity import SIZE, require_equal_ledgers, require_valid
from thresher import Plan, Pruner, windows
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.methods import Method


def plans_are_valid(method: Method) -> None:
    _, plans = run(method, losses(SIZE))
    for plan in plans:
        require_valid(plan, SIZE)


def at_least_one_sample_is_trained(method: Method) -> None:
    for size in (1, 2, 3):
        _, plans = run(method, losses(size))
        for plan in plans:
            require_valid(plan, size)


def same_seed_same_plans(method: Method) -> None:
    first, second = (run(method, losses(SIZE), seed=3)[1] for _ in range(2))
    assert [plan.checksum() for plan in first] == [plan.checksum() for plan in second]


def other_seed_other_choice(method: Method) -> None:
    """For a method that draws: its sets of samples depend on the seed, not their order alone.

    Of small losses in coarse steps: one that draws only between equal scores has to, and one that
    leaves out what a model is sure of has to choose.
    """
    asked.clear()
    table = losses(SIZE).mul(2).round().div(50)
    ByHand(method, table, lambda epoch: CountedDraws(0, epoch)).select()
    if not asked:
        return
    first, second = (run(method, table, seed=seed)[1] for seed in (3, 4))
    chosen = [[set(plan.ids.tolist()) for plan in plans] for plans in (first, second)]
    prunes = any(len(ids) < SIZE for ids in chosen[0])
    assert not prunes or chosen[0] != chosen[1]


def a_plan_is_a_pure_function_of_the_ledger(method: Method) -> None:
    hand = ByHand(method, losses(SIZE))
    for _ in range(4):
        before = hand.ledger.copy()
        first, second = hand.plan(), hand.plan()
        require_equal_ledgers(before, hand.ledger)
        assert first.checksum() == second.checksum()
        hand.train()


def relabelling_samples_relabels_plans(method: Method) -> None:
    """With the draws relabelled too; a rule that draws nothing needs no relabelled draws."""
    table = losses(SIZE)
    new_id = torch.randperm(SIZE, generator=torch.Generator().manual_seed(5))
    moved = torch.stack([relabelled(row, new_id) for row in table])
    ours = ByHand(method, table)
    theirs = ByHand(method, moved, lambda epoch: RelabelledDraws(0, epoch, new_id=new_id))
    for _ in range(5):
        plan, other = ours.train(), theirs.train()
        assert torch.equal(new_id[plan.ids], other.ids)
        assert torch.allclose(plan.weights, other.weights, rtol=1e-6, atol=0)
        for name, column in ours.ledger.columns.items():
            there = theirs.ledger[name][new_id]
            assert torch.allclose(
                column.double(), there.double(), rtol=1e-6, atol=0, equal_nan=True
            )


def a_rule_without_draws_ignores_labels(method: Method) -> None:
    asked.clear()
    table = losses(SIZE)
    new_id = torch.randperm(SIZE, generator=torch.Generator().manual_seed(5))
    moved = torch.stack([relabelled(row, new_id) for row in table])
    ours = ByHand(method, table, lambda epoch: CountedDraws(0, epoch))
    theirs = ByHand(method, moved)
    for number in range(5):
        everyone = Plan(
            epoch=number, ids=torch.arange(SIZE), weights=torch.ones(SIZE), num_samples=SIZE
        )
        asked.clear()
        kept = ours.select().kept
        if asked:
            return
        assert torch.equal(relabelled(kept, new_id), theirs.select().kept)
        for hand in (ours, theirs):
            hand.observe(everyone, hand.table[number], torch.zeros(SIZE, dtype=torch.int32))


def settings_survive_repr_pickle_and_copy(method: Method) -> None:
    kind = type(method)
    assert eval(repr(method), {kind.__name__: kind, **vars(windows)}) == method
    assert pickle.loads(pickle.dumps(method)) == method
    assert copy.deepcopy(method) == method
    assert hash(copy.copy(method)) == hash(method)


def settings_are_frozen(method: Method) -> None:
    for field in dataclasses.fields(method):
        try:
            setattr(method, field.name, getattr(method, field.name))
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"{field.name} can be set")
    assert not vars(method).keys() - {field.name for field in dataclasses.fields(method)}


def a_saved_run_continues_exactly(method: Method) -> None:
    """From between two epochs, and from within one."""
    table = losses(SIZE)
    for scored in (0, 24):
        pruner, _ = run(method, table, epochs=4)
        plan = pruner.plan(4)
        first, rest = plan.ids[:scored].split(8), plan.ids[scored:].split(8)
        for ids in first:
            pruner.observe(ids, named(method, table[4][ids]))
        other = Pruner(method, epochs=EPOCHS, num_samples=SIZE)
        other.load_state_dict(copy.deepcopy(pruner.state_dict()))
        assert other.plan(4).checksum() == plan.checksum()
        for each in (pruner, other):
            for ids in rest:
                each.observe(ids, named(method, table[4][ids]))
        for _ in range(5, EPOCHS):
            assert epoch_of(pruner, table).checksum() == epoch_of(other, table).checksum()


def ratio_zero_trains_on_everything(method: Method) -> None:
    try:
        unpruned = dataclasses.replace(method, prune_ratio=0.0)
    except SettingError:
        return  # a method may refuse a ratio beside its own parameter
    _, plans = run(unpruned, losses(SIZE))
    for plan in plans:
        assert len(plan) == SIZE
        assert bool((plan.weights == 1).all())


def protected_samples_are_in_every_plan(method: Method) -> None:
    protected, table = {0, 7, 60}, losses(SIZE)
    pruner = Pruner(method, epochs=EPOCHS, num_samples=SIZE, always_keep=sorted(protected))
    for _ in range(EPOCHS):
        plan = epoch_of(pruner, table)
        require_valid(plan, SIZE)
        assert protected <= set(plan.ids.tolist())


def threads_do_not_change_plans(method: Method) -> None:
    """Of a data set large enough for torch to split its work."""
    table, before = losses(70_000, epochs=3), torch.get_num_threads()
    sums = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sums.append([plan.checksum() for plan in run(method, table, batch_size=4096)[1]])
    finally:
        torch.set_num_threads(before)
    assert sums[0] == sums[1]


def defaults_of_torch_do_not_change_plans(method: Method) -> None:
    """A user may have made float64, or an accelerator, torch's default."""
    table = losses(SIZE)

    def plans() -> list[tuple[list[int], list[float], torch.dtype]]:
        made = run(method, table, epochs=4)[1]
        return [(plan.ids.tolist(), plan.weights.tolist(), plan.weights.dtype) for plan in made]

    expected = plans()
    torch.set_default_dtype(torch.float64)
    try:
        assert plans() == expected
    finally:
        torch.set_default_dtype(torch.float32)
    # Whatever is made on the meta device by mistake has no data and cannot be read.
    with torch.device("meta"):
        assert plans() == expected


def nobody_leaves_out_more_than_asked(method: Method) -> None:
    """An epoch's target is a share of all samples, met on average over the draws."""
    for target in (0.0, 0.2, 0.5):
        left_out = []
        for seed in range(30):
            hand = ByHand(method, losses(SIZE), lambda epoch, s=seed: Draws(s, epoch), target)
            for _ in range(3):
                hand.train()
            left_out.append(1 - int(hand.select().kept.sum()) / SIZE)
        mean = sum(left_out) / len(left_out)
        spread = math.sqrt(0.25 / SIZE / len(left_out))
        assert mean <= target + 4 * spread + 1 / SIZE
