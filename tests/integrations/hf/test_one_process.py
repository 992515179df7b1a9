"""In one process the real Trainer trains what a loop of one's own would, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from integrations.hf.small import (
    BATCH,
    EPOCHS,
    RATE,
    SIZE,
    PrunedTrainer,
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
from thresher import InfoBatch, Method, OrderDP, Pruner, RandomPruning, RePB

METHODS = [RePB(rho=0.5), InfoBatch(r=0.6), OrderDP(prune_ratio=0.4)]


def steps_of(planned: list[int], micro: int) -> int:
    return -(-len(planned) // (BATCH * micro))


@pytest.mark.parametrize(("micro", "workers"), [(1, 0), (3, 0), (3, 1)])
def test_each_epoch_trains_its_plan_in_order(tmp_path: Path, micro: int, workers: int) -> None:
    trainer, seen = run(
        RePB(rho=0.5),
        tmp_path,
        gradient_accumulation_steps=micro,
        dataloader_num_workers=workers,
    )
    assert seen.flat() == [epoch.planned for epoch in seen.epochs]
    sizes = [len(epoch.planned) for epoch in seen.epochs]
    assert sizes[0] == SIZE
    assert max(sizes[1:]) < SIZE
    assert [row.trained for row in trainer.pruner.report().rows] == sizes
    assert trainer.state.global_step == sum(steps_of(each.planned, micro) for each in seen.epochs)
    assert [each.fraction for each in seen.epochs] == [1, 2, 3, 4]


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_final_weights_are_those_of_a_loop_by_hand(
    method: Method, micro: int, tmp_path: Path
) -> None:
    trainer, seen = run(method, tmp_path, gradient_accumulation_steps=micro)
    expected, trained = by_hand(method, bert(), Sentences(), micro)
    assert seen.flat() == trained
    assert torch.equal(weights_of(trainer.model), expected)
    assert not torch.allclose(expected, weights_of(bert()), atol=1e-3), "something was learned"


@pytest.mark.parametrize("micro", [1, 3])
def test_a_language_model_is_weighted_by_the_sample_and_divided_by_the_tokens(
    micro: int, tmp_path: Path
) -> None:
    """Windows with texts of 3 to 7 predicted tokens: each token counts as in any other text."""
    trainer, seen = run(
        RePB(rho=0.5), tmp_path, model=llama(), dataset=Texts(), gradient_accumulation_steps=micro
    )
    expected, trained = by_hand(RePB(rho=0.5), llama(), Texts(), micro)
    assert seen.flat() == trained
    assert torch.allclose(weights_of(trainer.model), expected, rtol=0, atol=1e-6)


def test_weights_matter(tmp_path: Path) -> None:
    """The test above can fail: without the weights the same plans lead elsewhere."""

    class Unweighted(PrunedTrainer):  # type: ignore[misc, valid-type]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            super().compute_loss(model, dict(inputs), *args, **kwargs)  # only recorded
            tag = inputs.pop("_thresher")
            assert len(tag.ids) == len(inputs["labels"])
            return model(**inputs).loss

    trainer, _ = run(InfoBatch(r=0.6), tmp_path, kind=Unweighted)
    expected, _ = by_hand(InfoBatch(r=0.6), bert(), Sentences())
    assert not torch.allclose(weights_of(trainer.model), expected, atol=1e-3)


@pytest.mark.parametrize("micro", [2, 3, 5])
def test_accumulation_leaves_no_gradient_behind(micro: int, tmp_path: Path) -> None:
    _, seen = run(RePB(rho=0.5), tmp_path, gradient_accumulation_steps=micro)
    partial = [-(-len(each.planned) // BATCH) % micro for each in seen.epochs]
    assert any(partial), "an epoch ends in the middle of a window"
    assert not any(each.left_over for each in seen.epochs)


@pytest.mark.parametrize("micro", [1, 3])
def test_the_learning_rate_at_each_epochs_end_is_the_unpruned_one(
    micro: int, tmp_path: Path
) -> None:
    plain = Trainer(
        model=bert(),
        args=arguments(tmp_path, gradient_accumulation_steps=micro, warmup_steps=0.3),
        train_dataset=Sentences(),
    )
    unpruned = Recorder(plain)
    plain.train()
    _, seen = run(RePB(rho=0.5), tmp_path, gradient_accumulation_steps=micro, warmup_steps=0.3)
    assert [each.rate for each in seen.epochs] == [each.rate for each in unpruned.epochs]
    assert len(seen.fractions) < len(unpruned.fractions)
    assert 0 < seen.epochs[1].rate < RATE


def test_a_budget_of_steps_is_spent_to_the_last(tmp_path: Path) -> None:
    trainer, seen = run(RandomPruning(prune_ratio=0.5), tmp_path, max_steps=31)
    assert trainer.state.global_step == 31
    assert trainer.pruner.finished
    assert sum(len(batch) for batch in seen.flat()) == trainer.pruner.report().trained
    assert seen.epochs[-1].rate == pytest.approx(0, abs=1e-9)


def test_what_waits_for_the_last_step_finds_it(tmp_path: Path) -> None:
    """The number of steps is known when the last epoch begins; the Trainer saves at its end."""
    trainer, seen = run(RePB(rho=0.5), tmp_path, save_strategy="steps", save_steps=1000)
    steps = trainer.state.global_step
    assert trainer.state.max_steps == steps == sum(steps_of(e.planned, 1) for e in seen.epochs)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{steps}"]


def test_the_log_tells_of_each_epoch_and_of_the_run(tmp_path: Path) -> None:
    trainer, seen = run(RePB(rho=0.5), tmp_path)
    told = [
        log["pruner_trained_ratio"]
        for log in trainer.state.log_history
        if "pruner_trained_ratio" in log
    ]
    assert told == [len(each.planned) / SIZE for each in seen.epochs]
    (end,) = [log for log in trainer.state.log_history if "pruner_prune_rate" in log]
    assert end["pruner_samples"] == trainer.pruner.report().trained
    (last,) = [log for log in trainer.state.log_history if "train_runtime" in log]
    rate = last["train_samples_per_second"] * last["train_runtime"]
    assert rate == pytest.approx(end["pruner_samples"], rel=0.01)


def test_evaluation_within_training_is_the_trainers_own(tmp_path: Path) -> None:
    args = arguments(tmp_path, eval_strategy="epoch")
    pruner = Pruner(RePB(rho=0.5), epochs=EPOCHS)
    held_out = Sentences(40)
    trainer = PrunedTrainer(
        model=bert(), args=args, train_dataset=Sentences(), eval_dataset=held_out, pruner=pruner
    )
    trainer.train()
    told = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    plain = Trainer(model=trainer.model, args=args, eval_dataset=held_out)
    assert len(told) == EPOCHS
    assert told[-1] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)
