"""A run saved on some ranks goes on, on any number of them, as if it had never stopped."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch.distributed as dist
from torch import Tensor

from contracts.drive import losses, named
from parallel import jobs
from parallel.processes import Raised, on_ranks, succeed
from small_runs import copied, differences
from thresher import InfoBatch, Method, Omission, Pruner, RePB
from thresher.errors import ThresherWarning

SIZE, EPOCHS, GLOBAL = 45, 5, 8
METHODS: list[Method] = [RePB(rho=0.5, window=2), InfoBatch(), Omission(prune_ratio=0.4)]


class Trail(NamedTuple):
    """What was trained in order: of each micro-batch the epoch, this rank's ids and its loss."""

    steps: list[tuple[int, list[int], float]]
    plans: list[jobs.Digest]


def start(rank: int, method: Method, world_size: int, state: Any, **options: Any) -> Any:
    batch = options.pop("batch_size", GLOBAL // world_size)
    loading = options.pop("loading", {})
    is_loaded_first = options.pop("is_loaded_first", False)
    pruner = Pruner(method, epochs=EPOCHS, **options.pop("settings", {}))
    if state is not None and is_loaded_first:
        pruner.load_state_dict(copied(state), **loading)
        assert pruner.epoch >= 0
    pruner, loader = jobs.wrapped(method, SIZE, batch, epochs=EPOCHS, pruner=pruner, **options)
    if state is not None and not is_loaded_first:
        pruner.load_state_dict(copied(state), **loading)
    return pruner, loader


def walk(pruner: Pruner, loader: Any, table: Tensor, trail: Trail, stop: int | None) -> None:
    """Train up to `stop` micro-batches of the whole run, or to its end."""
    for epoch in range(pruner.epoch, EPOCHS):
        for ids in loader:
            scores = named(pruner.method, table[epoch][ids])
            loss = pruner.reduce(scores["loss"], scores=scores)
            trail.steps.append((epoch, ids.tolist(), float(loss)))
            if len(trail.steps) == stop:
                return
        trail.plans.append(jobs.digest(pruner.plan(epoch)))


def runs(
    rank: int, world_size: int, states: list[Any], stops: list[int | None], **options: Any
) -> list[Any]:
    """Of every method and every stop: the trail, and the state there, gathered."""
    table, found = losses(SIZE, EPOCHS), []
    for method, (state, stop) in itertools.product(METHODS, zip(states, stops, strict=True)):
        own = state[METHODS.index(method)] if state is not None else None
        pruner, loader = start(rank, method, world_size, own, **dict(options))
        trail = Trail([], [])
        walk(pruner, loader, table, trail, stop)
        found.append((trail, copied(pruner.state_dict(gather=True))))
    return found


STOPS = [1, 6, 9]
"""Micro-batches: at the start and at the end of an epoch of 45 samples, and in the next."""

SLOW = [(4, 2), (2, 2), (4, 1), (1, 4)]


def launch(world_size: int, *given: Any) -> list[Any]:
    return (
        [runs(0, 1, *given)] if world_size == 1 else succeed(runs, world_size, world_size, *given)
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, 2), (2, 1), (2, 4), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)],
)
def test_a_run_saved_anywhere_continues_on_another_number_of_ranks(before: int, after: int) -> None:
    (whole,) = launch(1, [None], [None])
    first = launch(before, [None] * len(STOPS), STOPS)
    count = len(STOPS)
    for ranks in first:
        for ours, theirs in zip(first[0], ranks, strict=True):
            assert not differences(ours[1], theirs[1]), "gathered states are equal on all ranks"
    states = [[first[0][m * count + k][1] for m in range(len(METHODS))] for k in range(count)]
    rest = launch(after, states, [None] * count)
    for m, (expected, _) in enumerate(whole):
        for k, stop in enumerate(STOPS):
            for ranks in rest:
                assert (
                    ranks[m * count + k][0].plans
                    == expected.plans[-len(ranks[m * count + k][0].plans) :]
                )
            steps = [ranks[m * count + k][0].steps for ranks in rest]
            assert {len(each) for each in steps} == {len(expected.steps) - stop}
            for number, (epoch, ids, loss) in enumerate(expected.steps[stop:]):
                at = [each[number] for each in steps]
                assert {each[0] for each in at} == {epoch}
                together = [id_ for each in at for id_ in each[1]]
                assert together[: len(ids)] == ids
                mean = sum(each[2] for each in at) / after
                assert mean == pytest.approx(loss, rel=1e-5)


def test_a_gathered_state_is_that_of_one_process() -> None:
    (alone,) = launch(1, [None] * len(STOPS), STOPS)
    many, *_ = launch(4, [None] * len(STOPS), STOPS)
    for (_, ours), (_, theirs) in zip(alone, many, strict=True):
        found = differences(ours, theirs)
        # The rows tell of the bytes that were sent.
        assert {path.split(":")[0] for path in found} <= {
            "/clock/ranks/world_size",
            "/batch_size",
            "/clock/rows",
        }


def between_epochs(rank: int, world_size: int) -> list[Any]:
    """States that nobody gathered: at the end of each epoch, and in the middle of the second."""
    table, found = losses(SIZE, EPOCHS), []
    pruner, loader = start(rank, InfoBatch(), world_size, None)
    for epoch in range(3):
        for number, ids in enumerate(loader):
            pruner.reduce(table[epoch][ids])
            if epoch == 1 and number == 1:
                with pytest.warns(ThresherWarning, match=r"middle of epoch 1 .*gather=True"):
                    found.append(copied(pruner.state_dict()))
        found.append(copied(pruner.state_dict()))
    return found


def resumed(rank: int, state: Any, world_size: int, options: dict[str, Any]) -> Trail:
    pruner, loader = start(rank, InfoBatch(), world_size, state, **options)
    trail = Trail([], [])
    walk(pruner, loader, losses(SIZE, EPOCHS), trail, None)
    return trail


@pytest.fixture(scope="module")
def states() -> list[list[Any]]:
    """What `between_epochs` saves, on each of two ranks."""
    return succeed(between_epochs, 2, 2)


def test_states_at_the_end_of_an_epoch_are_equal_and_load_without_gathering(
    states: list[list[Any]],
) -> None:
    first, middle, second, third = range(4)
    for place in (first, second, third):
        assert not differences(states[0][place], states[1][place])
        trail = resumed(0, states[1][place], 1, {})
        assert trail.steps[0][0] == [0, 1, 1, 2][place] + 1
    assert differences(states[0][middle], states[1][middle])


def test_the_state_of_one_rank_in_the_middle_of_an_epoch_is_refused_by_name(
    states: list[list[Any]],
) -> None:
    state = states[0][1]
    for each in on_ranks(resumed, 2, state, 2, {}):
        assert isinstance(each, Raised)
        assert each.kind == "CheckpointError"
        assert "what one of 2 ranks has trained of an epoch" in each.message
        assert "state_dict(gather=True) on every rank" in each.message


def middle_of_an_epoch(rank: int, world_size: int, options: dict[str, Any]) -> Any:
    pruner, loader = start(rank, InfoBatch(), world_size, None, **options)
    walk(pruner, loader, losses(SIZE, EPOCHS), Trail([], []), 9)
    return copied(pruner.state_dict(gather=True))


@pytest.mark.parametrize(("world_size", "is_loaded_first"), [(1, False), (2, True)])
def test_other_global_batches_are_refused_unless_told_to_cut_anew(
    world_size: int, is_loaded_first: bool
) -> None:
    state = succeed(middle_of_an_epoch, 2, 2, {})[0]
    given: dict[str, Any] = {"batch_size": 3, "is_loaded_first": is_loaded_first}
    for each in on_ranks(resumed, world_size, state, world_size, given):
        assert isinstance(each, Raised)
        assert each.kind == "CheckpointError"
        now = f"batches of {3 * world_size} over {world_size}"
        assert f"batches of 8 samples over 2 ranks; expected: {now}" in each.message
        assert "resplit=True" in each.message
    given["loading"] = {"resplit": True}
    trails = succeed(resumed, world_size, state, world_size, given)
    trained = [step[1] for trail in trails for step in trail.steps if step[0] == 1]
    step = state["clock"]["progress"]["step"]
    left = set((step < 0).nonzero().flatten().tolist())
    ids = [id_ for batch in trained for id_ in batch]
    assert not set(ids) & set((step >= 0).nonzero().flatten().tolist()), "nobody is trained again"
    assert set(ids) <= left
    assert len(ids) < len(set(ids)) + world_size, "copies only pad"
    assert len({trail.plans[0] for trail in trails}) == 1
    assert trails[0].plans[0][1] == len(set(ids)) + int((step >= 0).sum()), "all of the plan"


def test_a_dropped_remainder_is_refused_on_other_ranks() -> None:
    state = succeed(middle_of_an_epoch, 2, 2, {"remainder": "drop"})[0]
    for each in on_ranks(resumed, 4, state, 4, {"remainder": "drop"}):
        assert isinstance(each, Raised)
        assert "over 2 ranks, without the remainder; expected: batches of 8 over 4" in each.message
    assert succeed(resumed, 2, state, 2, {"remainder": "drop"})


def below(rank: int, world_size: int, state: Any, stop: int | None) -> list[Any]:
    """A loop by `plan.share`, stopped after some steps, or continued to the end."""
    table, plans, taken = losses(SIZE, EPOCHS), list[jobs.Digest](), 0
    pruner = Pruner(RePB(rho=0.5, window=2), epochs=EPOCHS, num_samples=SIZE)
    if state is not None:
        pruner.load_state_dict(copied(state))
    for epoch in range(pruner.epoch, EPOCHS):
        plan = pruner.plan(epoch)
        share = plan.share(rank, world_size, GLOBAL // world_size)
        done = -(-pruner.position // world_size)
        for ids in share.ids[done:].split(GLOBAL // world_size):
            pruner.observe(ids, table[epoch][ids])
            taken += 1
            if taken == stop:
                return [plans, copied(pruner.state_dict(gather=True))]
        plans.append(jobs.digest(plan))
    return [plans, None]


@pytest.mark.parametrize("stop", [2, 6])
def test_below_the_loop_a_gathered_state_continues_on_another_number_of_ranks(stop: int) -> None:
    whole = below(0, 1, None, None)[0]
    (early, state), (_, same) = succeed(below, 2, 2, None, stop)
    assert not differences(state, same)
    for late, _ in [below(0, 1, state, None), *succeed(below, 4, 4, state, None)]:
        assert whole[-len(late) :] == late
        assert len(late) in (len(whole) - len(early), len(whole) - len(early) - 1)


def saves(rank: int, folder: str) -> int:
    pruner, loader = start(rank, InfoBatch(), 2, None)
    walk(pruner, loader, losses(SIZE, EPOCHS), Trail([], []), 6)
    path = Path(folder) / "state.pt"
    if rank == 0:
        pruner.save(path)
    dist.barrier()
    other, _ = start(rank, InfoBatch(), 2, None)
    other.load(path)
    return other.epoch


def test_one_rank_saves_a_file_and_all_load_it(tmp_path: Path) -> None:
    assert succeed(saves, 2, str(tmp_path)) == [1, 1]
