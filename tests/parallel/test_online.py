"""Online methods on ranks: each chooses among its own candidates, and all take equal steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from loops import Numbers
from online.found import CLASSES, short
from parallel.processes import Raised, on_ranks, succeed
from small_runs import copied, differences
from thresher import Pruner
from thresher.errors import ThresherWarning
from thresher.online import OnlineMethod, OrderedTopQ, SelectiveBackprop

SIZE, BATCH, EPOCHS = 47, 3, 4
METHODS: list[OnlineMethod] = [kind() for kind in CLASSES]
SOME: list[OnlineMethod] = [
    SelectiveBackprop(prune_ratio=0.5, warmup_epochs=1),
    OrderedTopQ(prune_ratio=0.4, delta=0.8),
]


class Scores:
    """A score_fn by sample id, which notes the candidates it saw."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, ids: Tensor) -> dict[str, Tensor]:
        self.seen.append(ids.tolist())
        score = torch.frac((ids + 1) * 0.618034).float() + 0.01
        return {"loss": score, "logit_grad_norm": score**3}


def started(
    method: OnlineMethod, size: int = SIZE, state: Any = None, **options: Any
) -> tuple[Pruner, Any, Scores]:
    pruner, data, scores = Pruner(method, epochs=EPOCHS), Numbers(size), Scores()
    if dist.is_initialized():
        plain = DataLoader(data, BATCH, sampler=DistributedSampler(data), **options)
    else:
        plain = DataLoader(data, BATCH, shuffle=True, **options)
    loader = pruner.wrap(plain, score_fn=scores)
    if state is not None:
        pruner.load_state_dict(copied(state))
    return pruner, loader, scores


def runs(rank: int, methods: list[OnlineMethod], size: int, options: dict[str, Any]) -> list[Any]:
    """Whole runs: the batches of each epoch, what was scored, the report's rows, and the length."""
    found = []
    for method in methods:
        pruner, loader, scores = started(method, size, **options)
        epochs, lengths = [], []
        for _ in range(EPOCHS):
            lengths.append(len(loader))
            batches = []
            for ids in loader:
                pruner.reduce((ids + 1).float())
                batches.append(ids.tolist())
            epochs.append(batches)
        rows = pruner.report().rows
        numbers = [(row.planned, row.trained, row.extra_forwards, row.weight_mean) for row in rows]
        found.append((epochs, lengths, scores.seen, numbers))
    return found


@pytest.mark.parametrize(("world_size", "size"), [(2, SIZE), (4, 3)])
def test_every_rank_takes_as_many_steps_as_the_length_says(world_size: int, size: int) -> None:
    found = succeed(runs, world_size, METHODS, size, {})
    for number, method in enumerate(METHODS):
        of_ranks = [each[number] for each in found]
        for epochs, lengths, _, numbers in of_ranks:
            assert [len(batches) for batches in epochs] == lengths == of_ranks[0][1], short(method)
            assert numbers == of_ranks[0][3], "a report is of all ranks"
            for batch in (batch for batches in epochs for batch in batches):
                assert len(set(batch)) == len(batch) >= 1
        for epoch in range(EPOCHS):
            trained = sum(len(batch) for each in of_ranks for batch in each[0][epoch])
            assert of_ranks[0][3][epoch][1] == trained
        scored = sum(len(batch) for each in of_ranks for batch in each[2])
        assert scored == sum(row[2] for row in of_ranks[0][3])


def test_the_first_candidates_of_all_ranks_are_different_samples() -> None:
    found = succeed(runs, 4, [OrderedTopQ(prune_ratio=0.5)], SIZE, {})
    looked = [each[0][2] for each in found]
    rounds = min(len(each) for each in looked)
    assert rounds > 2
    for number in range(rounds):
        together = [id_ for each in looked for id_ in each[number]]
        assert len(set(together)) == len(together)


@pytest.mark.parametrize("options", [{}, {"drop_last": True}], ids=["padded", "drop_last"])
def test_an_epoch_of_all_samples_is_dealt_out_and_padding_does_not_count(
    options: dict[str, Any],
) -> None:
    """47 samples over 4 ranks in batches of 3: three global batches, and 11 samples."""
    found = succeed(runs, 4, [OrderedTopQ(warmup_epochs=1)], SIZE, options)
    trained = [id_ for each in found for batch in each[0][0][0] for id_ in batch]
    whole = 36 if options else 47
    assert len(set(trained)) == whole
    assert len(trained) == (36 if options else 48)
    for each in found:
        assert each[0][3][0][:2] == (47, whole)


def means(rank: int) -> list[float]:
    """The losses of an epoch of 8 samples on 3 ranks, in which the last rank pads the last batch.

    Three samples a batch leave none of the 8 for it but two, so one of its places is a copy.
    """
    pruner, loader, _ = started(OrderedTopQ(warmup_epochs=1), 8)
    found = []
    for ids in loader:
        losses = (ids + 1).float()
        if rank == 2:
            losses[2:] = torch.inf
        found.append(float(pruner.reduce(losses)))
    row = pruner.report().rows[0]
    return [*found, row.trained, row.non_finite]


def test_an_infinite_loss_of_a_padding_copy_reaches_neither_mean_nor_report() -> None:
    found = succeed(means, 3)
    assert [each[1:] for each in found] == [[8, 0]] * 3
    assert sum(each[0] for each in found) / 3 == pytest.approx(36 / 8)


def stopped(rank: int, method: OnlineMethod, stop: int) -> list[Any]:
    """A run that is saved after `stop` batches and goes on: batches after it, and the state."""
    pruner, loader, _ = started(method)
    count, state, own = 0, None, None
    after = []
    for epoch in range(EPOCHS):
        for ids in loader:
            pruner.reduce((ids + 1).float())
            if state is not None:
                after.append((epoch, ids.tolist()))
            count += 1
            if count == stop:
                with pytest.warns(ThresherWarning, match=r"gather=True"):
                    own = copied(pruner.state_dict())
                state = copied(pruner.state_dict(gather=True))
    return [after, state, own]


def continued(rank: int, method: OnlineMethod, state: Any) -> list[Any]:
    pruner, loader, _ = started(method, state=state)
    found = []
    for epoch in range(pruner.epoch, EPOCHS):
        for ids in loader:
            pruner.reduce((ids + 1).float())
            found.append((epoch, ids.tolist()))
    return found


@pytest.mark.parametrize("method", SOME, ids=short)
def test_a_gathered_state_continues_exactly_on_as_many_ranks(method: OnlineMethod) -> None:
    found = succeed(stopped, 2, method, 11)
    state = found[0][1]
    assert not differences(state, found[1][1])
    assert succeed(continued, 2, method, state) == [each[0] for each in found]


def test_another_number_of_ranks_and_an_ungathered_state_are_refused_by_name() -> None:
    _, state, own = succeed(stopped, 2, SOME[0], 11)[0]
    for each in on_ranks(continued, 4, SOME[0], state) + on_ranks(continued, 1, SOME[0], state):
        assert isinstance(each, Raised)
        assert each.kind == "CheckpointError"
        assert "of 2 ranks, each with candidates of its own; expected:" in each.message
    for each in on_ranks(continued, 2, SOME[0], own):
        assert isinstance(each, Raised)
        assert "holds what one of 2 ranks has trained" in each.message
