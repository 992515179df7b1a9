"""Two ranks under the real Trainer train, together, what one process with their batches would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import Trainer

from integrations.hf.ranks import succeed
from integrations.hf.small import (
    BATCH,
    SIZE,
    Epoch,
    Recorder,
    Sentences,
    Texts,
    arguments,
    bert,
    by_hand,
    llama,
    run,
    weights_of,
)
from thresher import InfoBatch, Method, RePB

HALF = BATCH // 2


class Seen(NamedTuple):
    """What one rank has to tell."""

    trained: list[list[list[int]]]
    epochs: list[Epoch]
    weights: Tensor
    told: list[int]
    world: int
    steps: int


def train(rank: int, method: Method, folder: str, which: str, settings: dict[str, Any]) -> Seen:
    """What one rank does."""
    model, dataset = (llama(), Texts()) if which == "text" else (bert(0.0), Sentences())
    chosen = {"per_device_train_batch_size": HALF, **settings}
    trainer, seen = run(method, folder, model=model, dataset=dataset, **chosen)
    told = [row.trained for row in trainer.pruner.report().rows]
    args, steps = trainer.args, trainer.state.global_step
    return Seen(seen.trained, seen.epochs, weights_of(trainer.model), told, args.world_size, steps)


def together(ranks: list[Seen], epoch: int) -> list[int]:
    """The ids of both ranks in an epoch, global batch by global batch."""
    both = zip(*(seen.trained[epoch] for seen in ranks), strict=True)
    return [id_ for parts in both for part in parts for id_ in part]


@pytest.mark.parametrize(("micro", "workers"), [(1, 0), (3, 1)])
def test_each_epoch_trains_its_plan_once(tmp_path: Path, micro: int, workers: int) -> None:
    """Accelerate alone would give each rank all of it, or repeat the first samples at the end."""
    settings = {"gradient_accumulation_steps": micro, "dataloader_num_workers": workers}
    ranks = succeed(train, RePB(rho=0.5), str(tmp_path), "sentence", settings)
    assert [seen.world for seen in ranks] == [2, 2]
    for epoch, of in enumerate(ranks[0].epochs):
        assert of.planned == ranks[1].epochs[epoch].planned
        ids = together(ranks, epoch)
        assert set(ids) == set(of.planned)
        whole = len(of.planned) - len(of.planned) % BATCH
        assert ids[:whole] == of.planned[:whole], "block r of every global batch"
        copies = Counter(ids[whole:]) - Counter(of.planned[whole:])
        assert copies.total() < 2, "at most one copy, where a rank would be one short"
    sizes = [len(of.planned) for of in ranks[0].epochs]
    assert sizes[0] == SIZE
    assert max(sizes[1:]) < SIZE
    for seen in ranks:
        assert seen.told == sizes
        assert seen.steps == sum(-(-len(epoch) // micro) for epoch in seen.trained)
        assert [len(epoch) for epoch in seen.trained] == [-(-size // BATCH) for size in sizes]
        assert not any(of.left_over for of in seen.epochs)
        assert [of.fraction for of in seen.epochs] == [1, 2, 3, 4]


@pytest.mark.parametrize(("which", "micro"), [("sentence", 1), ("sentence", 3), ("text", 3)])
def test_final_weights_are_those_of_one_process(tmp_path: Path, which: str, micro: int) -> None:
    """The last global batches of 103 samples and of pruned plans have a copy: it must not count."""
    settings, method = {"gradient_accumulation_steps": micro}, InfoBatch(r=0.6)
    ranks = succeed(train, method, str(tmp_path), which, settings)
    model, dataset = (llama(), Texts()) if which == "text" else (bert(), Sentences())
    expected, trained = by_hand(method, model, dataset, micro)
    assert [sorted(set(together(ranks, epoch))) for epoch in range(4)] == [*map(sorted, trained)]
    assert any(len(each) % BATCH % 2 for each in trained), "a copy was trained"
    assert torch.equal(ranks[0].weights, ranks[1].weights)
    assert torch.allclose(ranks[0].weights, expected, rtol=0, atol=1e-6)


def unpruned(rank: int, folder: str, settings: dict[str, Any]) -> list[float]:
    chosen = {"per_device_train_batch_size": HALF, **settings}
    trainer = Trainer(model=bert(), args=arguments(folder, **chosen), train_dataset=Sentences())
    seen = Recorder(trainer)
    trainer.train()
    return [of.rate for of in seen.epochs]


def test_the_learning_rate_at_each_epochs_end_is_the_unpruned_one(tmp_path: Path) -> None:
    settings = {"gradient_accumulation_steps": 2, "warmup_steps": 5}
    expected = succeed(unpruned, str(tmp_path), settings)[0]
    ranks = succeed(train, RePB(rho=0.5), str(tmp_path), "sentence", settings)
    for seen in ranks:
        assert [of.rate for of in seen.epochs] == expected
    assert expected[0] > expected[-1] >= 0


def stopped(rank: int, folder: str, resume: str | None, stop_at: int | None) -> Seen:
    settings = {
        "per_device_train_batch_size": HALF,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    trainer, seen = run(
        RePB(rho=0.5), folder, model=bert(0.1), resume=resume, stop_at=stop_at, **settings
    )
    told = [row.trained for row in trainer.pruner.report().rows]
    steps = trainer.state.global_step
    return Seen(seen.trained, seen.epochs, weights_of(trainer.model), told, 2, steps)


def test_a_run_stopped_in_epoch_2_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = succeed(stopped, str(tmp_path / "whole"), None, None)
    done = sum(-(-len(epoch) // 2) for epoch in whole[0].trained[:2]) + 2
    before = succeed(stopped, str(tmp_path / "part"), None, done)
    resume = str(tmp_path / "part" / f"checkpoint-{done}")
    after = succeed(stopped, str(tmp_path / "part"), resume, None)
    for all_, old, new in zip(whole, before, after, strict=True):
        joined = [*old.trained[:2], old.trained[2] + new.trained[0], *new.trained[1:]]
        assert joined == all_.trained
        assert new.trained[0], "the stop was within the epoch"
        assert len(old.trained[2]) == 4
        assert torch.equal(new.weights, all_.weights)
        assert (new.told, new.steps) == (all_.told, all_.steps)
