"""A run that was stopped and resumed is the uninterrupted one: samples, rates, log, weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from integrations.hf.small import Texts, bert, llama, run, weights_of
from thresher import OrderDP, RePB
from thresher.errors import CheckpointError, SettingError

# Dropout, so that the random streams have to go on where they stopped, too.
METHOD = RePB(rho=0.5)
# Each step is logged: a mean since the last log is not resumed by the Trainer itself.
SETTINGS: dict[str, Any] = {
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_strategy": "steps",
    "logging_steps": 1,
}


def told(trainer: Any) -> list[dict[str, Any]]:
    """The log without its end, which depends on the clock on the wall, and on what was stopped."""
    timed = ("train_runtime", "pruner_prune_rate")
    return [log for log in trainer.state.log_history if not any(name in log for name in timed)]


@pytest.mark.parametrize("micro", [1, 2])
def test_a_run_stopped_in_epoch_2_goes_on_as_if_it_had_not(tmp_path: Path, micro: int) -> None:
    settings = {**SETTINGS, "gradient_accumulation_steps": micro}
    whole, seen = run(METHOD, tmp_path / "whole", model=bert(0.1), **settings)
    updates = [len(epoch) // micro + (len(epoch) % micro > 0) for epoch in seen.trained]
    stop_at = sum(updates[:2]) + 3
    part, before = run(METHOD, tmp_path / "part", model=bert(0.1), stop_at=stop_at, **settings)
    assert part.pruner.epoch == 2
    assert part.pruner.position == 3 * micro * 8
    again, after = run(
        METHOD,
        tmp_path / "part",
        model=bert(0.1),
        resume=str(tmp_path / "part" / f"checkpoint-{stop_at}"),
        **settings,
    )
    joined = [*before.flat()[:2], before.flat()[2] + after.flat()[0], *after.flat()[1:]]
    assert joined == seen.flat()
    assert torch.equal(weights_of(again.model), weights_of(whole.model))
    assert before.fractions + after.fractions == seen.fractions
    assert told(again) == told(whole)
    assert (
        str(again.pruner.report()).splitlines()[4:] == str(whole.pruner.report()).splitlines()[4:]
    )


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_so_does_one_that_stopped_between_epochs(tmp_path: Path, strategy: str) -> None:
    settings = {"save_strategy": strategy, "save_steps": 1, "gradient_accumulation_steps": 3}
    whole, seen = run(METHOD, tmp_path, model=bert(0.1), **settings)
    stop = sum(-(-len(epoch) // 3) for epoch in seen.trained[:2])
    resume = str(tmp_path / f"checkpoint-{stop}")
    again, after = run(METHOD, tmp_path / "again", model=bert(0.1), resume=resume, **settings)
    assert after.flat() == seen.flat()[2:]
    assert torch.equal(weights_of(again.model), weights_of(whole.model))


def test_a_language_model_with_workers_and_ignored_skips_resumes_too(tmp_path: Path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 10, "dataloader_num_workers": 1}
    texts = Texts()
    method = OrderDP(prune_ratio=0.4)
    whole, seen = run(method, tmp_path, model=llama(0.1), dataset=texts, **settings)
    resume = str(tmp_path / "checkpoint-20")
    again, after = run(
        method,
        tmp_path / "again",
        model=llama(0.1),
        dataset=texts,
        resume=resume,
        ignore_data_skip=True,
        **settings,
    )
    old, new = ([id_ for epoch in each.flat() for id_ in epoch] for each in (seen, after))
    assert new == old[-len(new) :]
    assert len(after.trained) < len(seen.trained)
    assert torch.equal(weights_of(again.model), weights_of(whole.model))


def test_a_checkpoint_without_the_pruner_is_refused_by_name(tmp_path: Path) -> None:
    run(METHOD, tmp_path, save_strategy="epoch")
    checkpoint = min(tmp_path.glob("checkpoint-*"))
    (checkpoint / "pruner.pt").unlink()
    with pytest.raises(
        CheckpointError, match=r"checkpoint-\d+ has no pruner.pt; expected: a check"
    ):
        run(METHOD, tmp_path, resume=str(checkpoint))


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    run(METHOD, tmp_path, save_strategy="epoch")
    checkpoint = min(tmp_path.glob("checkpoint-*"))
    with pytest.raises(CheckpointError, match="OrderDP"):
        run(OrderDP(prune_ratio=0.4), tmp_path, resume=str(checkpoint))


def test_training_twice_with_one_pruner_is_refused(tmp_path: Path) -> None:
    trainer, _ = run(METHOD, tmp_path)
    with pytest.raises(SettingError, match="a pruner that is in epoch 4 already"):
        trainer.train()


def test_the_last_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    """`resume_from_checkpoint=True` looks for it in the folder."""
    settings = {"save_strategy": "epoch", "model": None}
    whole, _ = run(METHOD, tmp_path, **settings)
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)
    again, after = run(METHOD, tmp_path, resume=True, **settings)  # type: ignore[arg-type]
    assert len(after.trained) == 1
    assert torch.equal(weights_of(again.model), weights_of(whole.model))
