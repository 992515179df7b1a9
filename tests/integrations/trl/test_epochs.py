"""Every epoch of SFTTrainer trains its plan once, at the unpruned rate, stopped or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from trl import SFTTrainer

from integrations.hf.ranks import succeed
from integrations.hf.small import Epoch, Recorder
from integrations.trl.test_sft import (
    BATCH,
    EPOCHS,
    METHOD,
    SIZE,
    built,
    documents,
    llama,
    weights_of,
)
from thresher import Pruner

_MICRO = 2
_IDS = {tuple(document): id_ for id_, document in enumerate(documents())}


class DocumentRecorder(Recorder):
    """Knows documents by their tokens, in rows of their own or joined into one."""

    def _see(self, model: nn.Module, _: Any, inputs: dict[str, Any]) -> None:
        if not model.training:
            return
        tokens, positions = inputs["input_ids"], inputs.get("position_ids")
        if positions is None:
            rows = [row[row != 0] for row in tokens]
        else:
            starts = torch.nonzero(positions[0] == 0).flatten().tolist()
            rows = list(torch.tensor_split(tokens[0], starts[1:]))
        self.trained[-1].append([_IDS[tuple(row.tolist())] for row in rows])


class Seen(NamedTuple):
    """What one rank has to tell."""

    trained: list[list[list[int]]]
    epochs: list[Epoch]
    weights: Tensor


def fit(
    rank: int,
    folder: str,
    size: int,
    free: bool,
    is_pruned: bool = True,
    resume: int | None = None,
    stop_at: int | None = None,
) -> Seen:
    """Train with a falling rate, saving after each step."""
    settings = {
        "padding_free": free,
        "per_device_train_batch_size": BATCH // size,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 3,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    pruner = Pruner(METHOD, epochs=EPOCHS, accumulation_steps=_MICRO) if is_pruned else None
    kind = None if is_pruned else SFTTrainer
    trainer = built(Path(folder), llama(), _MICRO, kind, pruner, **settings)
    seen = DocumentRecorder(trainer, stop_at)
    trainer.train(resume_from_checkpoint=resume and f"{folder}/checkpoint-{resume}")
    return Seen(seen.trained, seen.epochs, weights_of(trainer.model))


def fits(size: int, folder: Path, free: bool, *options: Any) -> list[Seen]:
    if size == 1:
        return [fit(0, str(folder), 1, free, *options)]
    return succeed(fit, str(folder), size, free, *options)


@pytest.mark.parametrize("free", [False, True], ids=["padded", "padding-free"])
@pytest.mark.parametrize("size", [1, 2])
def test_each_epoch_trains_its_plan_once_at_the_unpruned_rate(
    tmp_path: Path, size: int, free: bool
) -> None:
    ranks = fits(size, tmp_path / "pruned", free)
    plain = fits(size, tmp_path / "plain", free, False)
    assert len(ranks[0].epochs[1].planned) < SIZE
    for epoch, of in enumerate(ranks[0].epochs):
        together = Counter(id_ for seen in ranks for batch in seen.trained[epoch] for id_ in batch)
        assert set(together) == set(of.planned)
        assert together.total() - len(of.planned) < size, "copies only fill the last batch"
    for seen in ranks:
        assert [of.rate for of in seen.epochs] == [of.rate for of in plain[0].epochs]
        assert not any(of.left_over for of in seen.epochs)
    assert plain[0].epochs[0].rate > plain[0].epochs[-1].rate


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_stopped_in_epoch_2_goes_on_as_if_it_had_not(tmp_path: Path, size: int) -> None:
    whole = fits(size, tmp_path / "whole", False)
    done = sum(-(-len(epoch) // _MICRO) for epoch in whole[0].trained[:2]) + 1
    before = fits(size, tmp_path / "part", False, True, None, done)
    after = fits(size, tmp_path / "part", False, True, done)
    for all_, old, new in zip(whole, before, after, strict=True):
        assert len(old.trained[2]) == _MICRO
        assert new.trained[0], "the stop was within the epoch"
        assert [*old.trained[:2], old.trained[2] + new.trained[0]] == all_.trained
        assert torch.equal(new.weights, all_.weights)
