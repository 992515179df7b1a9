"""An Accelerate loop trains the planned samples with their weights, or is told why not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from integrations import by_hand
from integrations.accelerate.runs import accelerator_of, fit, on_rank
from integrations.by_hand import BATCH, EPOCHS, Trained, designed, require_same
from parallel.processes import Raised, on_ranks, preload, succeed
from streams.streams import Numbers, Scores
from thresher import InfoBatch, Pruner
from thresher.errors import (
    AlreadyWrappedError,
    IterableDatasetError,
    LoaderReplacedError,
    SettingError,
)
from thresher.integrations.accelerate import pace, wrap
from thresher.online import OrderedTopQ

preload("accelerate")

MODES: dict[str, dict[str, Any]] = {
    "even": {},
    "uneven": {"even_batches": False},
    "split": {"split_batches": True},
    "seedable": {"use_seedable_sampler": True},
    "dispatched": {"dispatch_batches": True},
    "dispatched split": {"dispatch_batches": True, "split_batches": True},
}


def fits(size: int, *runs: dict[str, Any]) -> list[list[Trained]]:
    """The ranks of each run."""
    if size == 1:
        return [[fit(**arguments)] for arguments in runs]
    return [list(ranks) for ranks in zip(*succeed(on_rank, size, list(runs)), strict=True)]


@pytest.mark.parametrize("size", [1, 2])
def test_it_trains_what_a_hand_written_loop_does_in_every_mode(size: int) -> None:
    cases = [(mode, accumulation) for mode in MODES for accumulation in (1, 3)]
    runs = fits(size, *[{"accumulation": many, **MODES[mode]} for mode, many in cases])
    for (mode, accumulation), ranks in zip(cases, runs, strict=True):
        total, calls = (BATCH, 1) if "split" in mode else (BATCH * size, size)
        whole = by_hand.by_hand(total, accumulation, calls=calls)
        require_same(ranks, whole, rates=designed(total, accumulation), exact=size == 1)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("mode", ["even", "dispatched"])
def test_a_run_saved_anywhere_continues_with_the_very_next_batch(
    mode: str, size: int, tmp_path: Path
) -> None:
    folder, options = str(tmp_path), MODES[mode]
    places = [(2, 1), (2, 2), (3, 3)] if size == 1 else [(2, 1), (3, 2)]
    (whole,) = fits(size, {"folder": folder, "saves": places, **options})
    resumed = fits(
        size,
        *[{"resumed": f"{folder}/{epoch}-{number}", **options} for epoch, number in places],
    )
    for (epoch, number), late in zip(places, resumed, strict=True):
        for ours, theirs in zip(late, whole, strict=True):
            assert ours.batches[epoch] == theirs.batches[epoch][number:]
            for later in range(epoch + 1, EPOCHS):
                assert ours.batches[later] == theirs.batches[later]
            assert ours.planned == theirs.planned
            assert ours.rates == theirs.rates[epoch:]
            assert torch.equal(ours.weights, theirs.weights)


def gathered(rank: int) -> list[tuple[list[int], list[int]]]:
    """What `gather_for_metrics` makes of every step, and what this rank trained."""
    accelerator, pruner = accelerator_of(), by_hand.pruner_of()
    loader = wrap(accelerator, pruner, DataLoader(by_hand.data(), BATCH, shuffle=True))
    found = []
    for ids, *_ in loader:
        pruner.reduce(ids.float())
        found.append((accelerator.gather_for_metrics(ids).tolist(), ids.tolist()))
    return found


def test_metrics_of_training_batches_count_no_copies() -> None:
    ranks = succeed(gathered, 2)
    everyone = [id_ for ids, _ in ranks[0] for id_ in ids]
    assert sorted(everyone) == list(range(by_hand.SIZE)), "an odd number"
    assert sum(len(ids) for rank in ranks for _, ids in rank) == by_hand.SIZE + 1


def budgeted(rank: int) -> list[tuple[list[int], list[int]]]:
    accelerator, pruner = accelerator_of(), Pruner(InfoBatch(prune_ratio=0.0), steps=3)
    loader = wrap(accelerator, pruner, DataLoader(by_hand.data(), BATCH, shuffle=True))
    found = []
    for ids, *_ in loader:
        pruner.reduce(ids.float())
        found.append((accelerator.gather_for_metrics(ids).tolist(), ids.tolist()))
    return found


def test_nothing_is_left_out_of_metrics_where_a_budget_ends_the_pass_before_the_last_batch() -> (
    None
):
    ranks = succeed(budgeted, 2)
    for step, (together, _) in enumerate(ranks[0]):
        assert together == [id_ for rank in ranks for id_ in rank[step][1]]
    assert len(ranks[0]) == 3


def doubly(rank: int) -> None:
    accelerator = accelerator_of()
    pruner = by_hand.pruner_of()
    loader = pruner.wrap(DataLoader(by_hand.data(), BATCH, shuffle=True))
    loader = accelerator.prepare(loader)
    for ids, *_ in loader:
        pruner.reduce(ids.float())


def test_a_loader_that_accelerate_would_shard_once_more_is_refused_with_the_cure() -> None:
    with pytest.raises(LoaderReplacedError, match=r"Accelerate put.*accelerate\.wrap\(accel"):
        doubly(0)
    for each in on_ranks(doubly, 2):
        assert isinstance(each, Raised)
        assert each.kind == "LoaderReplacedError"
        assert "Accelerate put the sampler of the wrapped loader into" in each.message


def test_skipping_batches_of_a_wrapped_loader_is_refused() -> None:
    accelerator, pruner = accelerator_of(), by_hand.pruner_of()
    loader = wrap(accelerator, pruner, DataLoader(by_hand.data(), BATCH))
    with pytest.raises(LoaderReplacedError, match="skip_first_batches is not needed"):
        next(iter(accelerator.skip_first_batches(loader, 2)))


def test_what_is_prepared_already_is_refused() -> None:
    accelerator, pruner = accelerator_of(), by_hand.pruner_of()
    optimizer, schedule = by_hand.optimizer_of(by_hand.network(), 10)
    _, prepared, loader = accelerator.prepare(
        optimizer, schedule, DataLoader(by_hand.data(), BATCH)
    )
    with pytest.raises(SettingError, match="the scheduler you built"):
        pace(accelerator, pruner, prepared)
    with pytest.raises(SettingError, match="the loader you built"):
        wrap(accelerator, pruner, loader)
    wrapped = pruner.wrap(DataLoader(by_hand.data(), BATCH))
    with pytest.raises(AlreadyWrappedError):
        wrap(accelerator, by_hand.pruner_of(), wrapped)


def test_a_stream_is_refused() -> None:
    stream = DataLoader(Numbers(range(9)), BATCH)
    pruner = Pruner(OrderedTopQ(), epochs=3)
    with pytest.raises(IterableDatasetError, match=r"no sample ids.*in Accelerate.*your own"):
        wrap(accelerator_of(), pruner, stream, score_fn=Scores())


def test_another_number_of_accumulated_batches_is_refused() -> None:
    with pytest.raises(SettingError, match=r"Set Pruner\(accumulation_steps=3\)"):
        fit(3, pruner=by_hand.pruner_of(1))


def test_a_batch_that_ranks_cannot_split_is_refused() -> None:
    for each in on_ranks(on_rank, 2, [{"split_batches": True, "batch_size": 5}]):
        assert isinstance(each, Raised)
        assert "a multiple of the number of ranks" in each.message


def test_a_loop_that_is_left_early_leaves_accelerate_as_it_was() -> None:
    accelerator, pruner = accelerator_of(), by_hand.pruner_of()
    loader = wrap(accelerator, pruner, DataLoader(by_hand.data(), BATCH, shuffle=True))
    for ids, *_ in loader:
        assert accelerator.gradient_state.in_dataloader
        pruner.reduce(ids.float())
        break
    assert not accelerator.gradient_state.in_dataloader
    ends = []
    for ids, *_ in loader:
        ends.append(accelerator.gradient_state.end_of_dataloader)
        pruner.reduce(ids.float())
    assert ends.count(True) == 1
    assert not any(earlier and not later for earlier, later in pairwise(ends))
