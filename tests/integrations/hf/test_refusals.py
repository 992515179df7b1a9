"""What a Trainer may be told that pruning cannot honour is refused by name, before it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler
from transformers import Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from integrations.hf.small import (
    EPOCHS,
    PrunedTrainer,
    Sentences,
    arguments,
    bert,
    run,
    weights_of,
)
from thresher import Pruner, RandomPruning, RePB
from thresher.errors import (
    BatchMismatchError,
    IterableDatasetError,
    SamplerError,
    SettingError,
)
from thresher.integrations.transformers import pruned
from thresher.integrations.transformers._refusals import require_fitting
from thresher.online import SelectiveBackprop

METHOD = RePB(rho=0.5)


def build(folder: Path, pruner: Any = None, kind: Any = PrunedTrainer, **given: Any) -> Any:
    trainer = {name: given.pop(name) for name in ("compute_loss_func",) if name in given}
    return kind(
        model=bert(),
        args=arguments(folder, **given),
        train_dataset=Sentences(),
        pruner=Pruner(METHOD, epochs=EPOCHS) if pruner is None else pruner,
        **trainer,
    )


@pytest.mark.parametrize(
    ("given", "came", "cure"),
    [
        ({"num_train_epochs": 5}, "num_train_epochs=5 beside Pruner.epochs=4", "epochs=5"),
        ({"num_train_epochs": 2.5}, "num_train_epochs=2.5 beside", "round num_train_epochs"),
        ({"max_steps": 30}, "max_steps=30 beside Pruner.epochs=4", "Pruner.method, steps=30"),
        (
            {"gradient_accumulation_steps": 3},
            "gradient_accumulation_steps=3 beside Pruner.accumulation_steps=1",
            "accumulation_steps=3",
        ),
        ({"data_seed": 7}, "data_seed=7 beside Pruner.seed=0", "seed=7"),
        (
            {"train_sampling_strategy": "group_by_length"},
            "train_sampling_strategy='group_by_length'",
            "leave the strategy out",
        ),
        ({"train_sampling_strategy": "batch_rebalance"}, "'batch_rebalance'", "leave the strat"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size", "per_device_train_batch_size"),
        (
            {"accelerator_config": {"dispatch_batches": True}},
            "'dispatch_batches': True",
            "Leave dispatch_batches out",
        ),
        (
            {"accelerator_config": {"split_batches": True}},
            "'split_batches': True",
            "divide per_device_train_batch_size",
        ),
        (
            {"compute_loss_func": lambda outputs, labels, num_items_in_batch: outputs.loss},
            "compute_loss_func",
            "per_sample_loss.self, outputs, labels, inputs.",
        ),
    ],
    ids=lambda each: str(each)[:40] if isinstance(each, str) else "",
)
def test_settings_that_do_not_fit(
    tmp_path: Path, given: dict[str, Any], came: str, cure: str
) -> None:
    with pytest.raises(SettingError, match=rf"{came}.*; expected: .*{cure}"):
        build(tmp_path, **given)


def test_settings_that_were_changed_after_the_trainer_was_built(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.args.num_train_epochs = 7
    with pytest.raises(SettingError, match="num_train_epochs=7 beside"):
        trainer.train()


def test_a_fused_loss_of_liger(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.args.use_liger_kernel = True  # liger_kernel itself need not be installed
    with pytest.raises(SettingError, match=r"use_liger_kernel=True.*Leave use_liger_kernel out"):
        require_fitting(trainer, trainer.pruner)


def test_ranks_that_share_their_samples(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.get_tp_size = lambda: 2
    with pytest.raises(SettingError, match=r"share their samples \(tp_size=2\)"):
        require_fitting(trainer, trainer.pruner)


def test_an_online_method_and_what_is_no_pruner(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="SelectiveBackprop chooses within batches"):
        build(tmp_path, Pruner(SelectiveBackprop(prune_ratio=0.5), epochs=EPOCHS))
    with pytest.raises(SettingError, match=r"shard=True.*Leave shard out"):
        build(tmp_path, Pruner(METHOD, epochs=EPOCHS, shard=True))
    with pytest.raises(SettingError, match=r"pruner=RePB.*Pruner.method, epochs"):
        build(tmp_path, METHOD)


def test_a_class_that_is_no_trainer_or_has_one_loss_a_batch() -> None:
    class Own(Trainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError

    with pytest.raises(SettingError, match=r"Own has a compute_loss of its own.*per_sample_loss"):
        pruned(Own)
    with pytest.raises(SettingError, match=r"transformers\.Trainer or a subclass"):
        pruned(dict)
    assert pruned(Trainer) is PrunedTrainer
    assert PrunedTrainer.__name__ == "PrunedTrainer"


def test_outputs_without_logits_or_with_a_loss_of_the_batch(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(SettingError, match="no logits, as with a fused loss"):
        trainer.per_sample_loss(SequenceClassifierOutput(loss=torch.ones(())), labels, {})
    outputs = {"logits": torch.zeros(2, 3), "aux_loss": torch.ones(())}
    with pytest.raises(SettingError, match="output_router_logits = False"):
        trainer.per_sample_loss(outputs, labels, {})
    with pytest.raises(SettingError, match="A batch without labels, only input_ids"):
        trainer.per_sample_loss(outputs, None, {"input_ids": labels})


def test_a_collator_that_concatenates_samples(tmp_path: Path) -> None:
    def flat(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        tokens = torch.cat([row["input_ids"] for row in rows])[None]
        return {"input_ids": tokens, "labels": tokens}

    trainer = build(tmp_path)
    trainer.data_collator = flat
    with pytest.raises(BatchMismatchError, match="1 rows of labels for 8 samples"):
        trainer.train()
    trainer.data_collator = lambda rows: (torch.zeros(len(rows)),)
    with pytest.raises(BatchMismatchError, match="The data collator made a tuple"):
        next(iter(trainer.get_train_dataloader()))


def test_a_sampler_of_the_users(tmp_path: Path) -> None:
    class Weighted(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return WeightedRandomSampler([1.0] * 103, 103)

    trainer = build(tmp_path, kind=pruned(Weighted))
    with pytest.raises(SamplerError, match="WeightedRandomSampler"):
        trainer.train()


def test_an_iterable_data_set(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(Sentences())

    args = arguments(tmp_path, max_steps=4)
    pruner = Pruner(METHOD, steps=4)
    trainer = PrunedTrainer(model=bert(), args=args, train_dataset=Stream(), pruner=pruner)
    with pytest.raises(IterableDatasetError, match=r"Stream has no sample ids.*in a Trainer"):
        trainer.train()


def test_a_loader_that_took_the_planned_ones_place(tmp_path: Path) -> None:
    """The silent un-pruning that samplers fall victim to elsewhere."""

    class Replacing(PrunedTrainer):  # type: ignore[misc, valid-type]
        def _prepare_for_training(self, max_steps: int, loader: Any, resume: Any) -> Any:
            model, loader = super()._prepare_for_training(max_steps, loader, resume)
            loader = DataLoader(loader.dataset, 8)
            self.callback_handler.train_dataloader = loader
            return model, loader

    trainer = build(tmp_path, kind=Replacing)
    before = weights_of(trainer.model)
    with pytest.raises(SamplerError, match="a batch of no plan: it comes from a DataLoader that"):
        trainer.train()
    assert torch.equal(weights_of(trainer.model), before)


def test_a_loader_of_the_users_own_is_planned(tmp_path: Path) -> None:
    """Whether it was prepared by accelerate or not; its batch size and collator stay."""
    made: list[int] = []

    def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        made.append(len(rows))
        return {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "labels")}

    class Own(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(self.train_dataset, 13, shuffle=True, collate_fn=collate)

    trainer, seen = run(RandomPruning(prune_ratio=0.5), tmp_path, kind=pruned(Own))
    assert seen.flat() == [each.planned for each in seen.epochs]
    assert max(made) == 13
    assert trainer.pruner.report().prune_rate == pytest.approx(0.5, abs=0.03)


def test_sequential_is_an_order_a_plan_can_have(tmp_path: Path) -> None:
    _, seen = run(METHOD, tmp_path, train_sampling_strategy="sequential")
    for trained in seen.flat():
        assert trained == sorted(trained)
