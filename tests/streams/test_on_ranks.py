"""Streams on ranks: each chooses among what it reads itself, and all take equal steps."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from online.found import short
from parallel.processes import Raised, on_ranks, succeed
from small_runs import copied, differences
from streams.streams import Numbers, Scores, ids_of, loss_of, run
from thresher import InfoBatch
from thresher.online import OnlineMethod, OrderedTopQ, SelectiveBackprop

B, T, EPOCHS = 3, 5, 3
METHODS: list[OnlineMethod] = [SelectiveBackprop(prune_ratio=0.5), OrderedTopQ(warmup_epochs=1)]


def started(method: OnlineMethod) -> tuple[Any, Any, Scores]:
    """The numbers of this rank: fewer on one than on the other."""
    size = 31 if dist.get_rank() else 47
    order = range(dist.get_rank(), dist.get_world_size() * size, dist.get_world_size())
    return run(method, Numbers(order), B, epochs=EPOCHS, steps_per_epoch=T)


def step(pruner: Any, batch: Any, scores: Scores, epoch: int) -> list[int]:
    pruner.reduce(loss_of(ids_of(batch), epoch))
    scores.time += 1
    return ids_of(batch).tolist()


def whole_runs(rank: int) -> list[Any]:
    """Of each method the batches, the report, and how runs resumed in mid-epoch differ."""
    found = []
    for method in METHODS:
        pruner, loader, scores = started(method)
        trail, states = [], []
        for epoch in range(EPOCHS):
            assert len(loader) == T
            for batch in loader:
                trail.append(step(pruner, batch, scores, epoch))
                states.append((copied(pruner.state_dict(gather=True)), scores.time, epoch))
        wrong = []
        for cursor in (1, T + 1, 2 * T + 2):
            state, time, epoch = states[cursor]
            other, others, their = started(method)
            other.load_state_dict(state)
            their.time = time
            rest = [step(other, batch, their, epoch) for batch in others]
            end = (epoch + 1) * T
            wrong += [] if rest == trail[cursor + 1 : end] else [(short(method), cursor)]
            # Sums of what was trained before and since are rounded once more.
            kept = copied(other.state_dict(gather=True)), states[end - 1][0]
            for each in kept:
                del each["clock"]["progress"]["tally"]
            wrong += differences(*kept)
        report = pruner.report()
        found.append((trail, report.trained, report.passed, wrong))
    return found


def test_ranks_take_equal_steps_of_their_own_and_resume() -> None:
    first, second = succeed(whole_runs, 2)
    for (mine, trained, passed, wrong), (theirs, *numbers, also_wrong) in zip(
        first, second, strict=True
    ):
        assert len(mine) == len(theirs) == T * EPOCHS
        assert not {id_ for batch in mine for id_ in batch} & {
            id_ for batch in theirs for id_ in batch
        }
        assert [trained, passed] == numbers
        assert trained == sum(map(len, mine + theirs))
        assert passed > trained
        assert not wrong
        assert not also_wrong


def refused(rank: int) -> list[str]:
    dist.barrier()  # nothing below waits for the other, and nobody may leave while it arrives
    texts = []
    for method, asked in ((OrderedTopQ(), {}), (InfoBatch(), {"ids": "id", "num_samples": 9})):
        try:
            run(method, Numbers(range(9)), B, **asked)
        except Exception as error:
            texts.append(str(error))
    dist.barrier()
    return texts


def test_passes_and_ids_are_refused_by_name() -> None:
    for found in on_ranks(refused, 2):
        assert not isinstance(found, Raised)
        passes, ids = found
        assert "on 2 ranks" in passes
        assert "steps_per_epoch=...)" in passes
        assert "ids= on 2 ranks" in ids
        assert "pruner.plan(epoch)" in ids
