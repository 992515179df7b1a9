"""With weights of 1 a planned batch has the loss and gradient of the Trainer, for every head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    PretrainedConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    ViTConfig,
    ViTForImageClassification,
)

from integrations.hf.small import arguments, bert, gpt, llama
from thresher import KAKURENBO, Full, Pruner
from thresher.errors import MissingScoreError, SettingError
from thresher.integrations.transformers import pruned
from thresher.methods import PersistentImportance

LENGTH, SIZE = 6, 8


class Rows(Dataset[dict[str, Tensor]]):
    """The columns of a batch, row by row."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def source() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def tokens() -> Tensor:
    return torch.randint(1, 20, (SIZE, LENGTH), generator=source())


def ignoring(labels: Tensor) -> Tensor:
    """Row i has i labels that do not count, so samples have different numbers of them."""
    return labels.masked_fill(
        torch.arange(LENGTH) >= LENGTH - torch.arange(SIZE)[:, None] % 5, -100
    )


def small_bert(kind: type[nn.Module], **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    drops = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return kind(BertConfig(vocab_size=20, intermediate_size=16, **sizes, **drops, **settings))


def t5() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=20, dropout_rate=0.0, decoder_start_token_id=0, **sizes)
    return T5ForConditionalGeneration(config)


def vit() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(image_size=8, patch_size=4, intermediate_size=16, num_labels=3, **sizes)
    return ViTForImageClassification(config)


def classes(many: int = 3) -> Tensor:
    return torch.randint(0, many, (SIZE,), generator=source())


HEADS: dict[str, tuple[Any, Any]] = {
    "sequence": (bert, lambda: {"input_ids": tokens(), "labels": classes()}),
    "regression": (
        lambda: bert(num_labels=1),
        lambda: {"input_ids": tokens(), "labels": torch.randn(SIZE, generator=source())},
    ),
    "several targets": (
        lambda: bert(problem_type="regression"),
        lambda: {"input_ids": tokens(), "labels": torch.randn(SIZE, 3, generator=source())},
    ),
    "several labels": (
        bert,
        lambda: {
            "input_ids": tokens(),
            "labels": (torch.rand(SIZE, 3, generator=source()) > 0.5) * 1.0,
        },
    ),
    "image": (
        vit,
        lambda: {
            "pixel_values": torch.randn(SIZE, 3, 8, 8, generator=source()),
            "labels": classes(),
        },
    ),
    "token": (
        lambda: small_bert(BertForTokenClassification, num_labels=4),
        lambda: {"input_ids": tokens(), "labels": ignoring(tokens() % 4)},
    ),
    "masked": (
        lambda: small_bert(BertForMaskedLM),
        lambda: {"input_ids": tokens(), "labels": ignoring(tokens())},
    ),
    "causal": (llama, lambda: {"input_ids": tokens(), "labels": ignoring(tokens())}),
    "causal, miscounted by the Trainer": (
        gpt,
        lambda: {"input_ids": tokens(), "labels": ignoring(tokens())},
    ),
    "encoder-decoder": (t5, lambda: {"input_ids": tokens(), "labels": ignoring(tokens())}),
}


def gradient(trainer: Any, model: nn.Module, batch: Any, items: Any) -> tuple[float, Tensor]:
    model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, trainer._prepare_inputs(batch), num_items_in_batch=items)
    loss.backward()
    grads = [p.grad.reshape(-1) for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(grads)


def both(
    folder: Path, model: nn.Module, columns: dict[str, Tensor], counts: bool = True, **settings: Any
) -> list[tuple[float, Tensor]]:
    """Loss and gradient of the pruned and of the plain Trainer on one batch."""
    chosen = {"num_train_epochs": 4, "train_sampling_strategy": "sequential", **settings}
    args = arguments(folder, **chosen)
    common = {"model": model, "args": args, "train_dataset": Rows(**columns)}
    trainer = pruned(Trainer)(pruner=Pruner(Full(), epochs=4), **common)
    plain = Trainer(**common)
    (batch,) = trainer.get_train_dataloader()
    own = {name: value for name, value in batch.items() if name in columns}
    assert {name: value.tolist() for name, value in own.items()} == {
        name: value.tolist() for name, value in columns.items()
    }
    found = []
    for each, inputs in ((trainer, batch), (plain, own)):
        each.model_accepts_loss_kwargs = counts and each.model_accepts_loss_kwargs
        items = each._get_num_items_in_batch([inputs], "cpu")
        assert (items is not None) == each.model_accepts_loss_kwargs
        found.append(gradient(each, model, inputs, items))
    return found


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("head", HEADS)
def test_loss_and_gradient_are_the_trainers(tmp_path: Path, head: str, counts: bool) -> None:
    make, columns = HEADS[head]
    (loss, mine), (expected, theirs) = both(tmp_path, make(), columns(), counts)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert theirs.abs().max() > 1e-4
    assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def found_items(folder: Path, model: nn.Module, labels: Tensor) -> int:
    trainer = Trainer(model=model, args=arguments(folder))
    return int(trainer._get_num_items_in_batch([{"labels": labels}], "cpu"))


@pytest.mark.parametrize("head", ["sequence", "token", "masked", "causal"])
def test_labels_are_smoothed_as_the_trainer_does(tmp_path: Path, head: str) -> None:
    make, columns = HEADS[head]
    found = both(tmp_path, make(), columns(), label_smoothing_factor=0.2)
    (_, hard), _ = both(tmp_path, make(), columns())
    (loss, mine), (expected, theirs) = found
    if head == "causal":
        # Before 5.16 transformers counted the first label, too, and smoothed without the count.
        labels = columns()["labels"]
        counted = found_items(tmp_path, make(), labels)
        share = labels[:, 1:].ne(-100).sum().item() / counted
        expected, theirs = expected * share, theirs * share
    assert loss == pytest.approx(expected, rel=1e-5)
    assert not torch.allclose(mine, hard, rtol=1e-2, atol=1e-3)
    assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_sequence_to_sequence_trainer_is_pruned_like_any_other(tmp_path: Path) -> None:
    args = Seq2SeqTrainingArguments(
        str(tmp_path), num_train_epochs=3, use_cpu=True, report_to=[], save_strategy="no"
    )
    columns = HEADS["encoder-decoder"][1]()
    trainer = pruned(Seq2SeqTrainer)(
        model=t5(), args=args, train_dataset=Rows(**columns), pruner=Pruner(Full(), epochs=3)
    )
    trainer.train()
    assert trainer.pruner.report().trained == 3 * SIZE


@pytest.mark.parametrize("method", [KAKURENBO(tau=0.0, max_fraction=0.5), PersistentImportance()])
def test_methods_get_the_scores_they_need(tmp_path: Path, method: Any) -> None:
    """KAKURENBO also has what it left out scored anew, with the model that is trained."""
    epochs = 4
    trainer = pruned(Trainer)(
        model=bert(),
        args=arguments(tmp_path, num_train_epochs=epochs, per_device_train_batch_size=2),
        train_dataset=Rows(**HEADS["sequence"][1]()),
        pruner=Pruner(method, epochs=epochs),
    )
    trainer.train()
    report = trainer.pruner.report()
    assert len(report.rows) == epochs
    assert report.trained < epochs * SIZE
    assert (report.extra_forwards > 0) == isinstance(method, KAKURENBO)
    assert sum(row.non_finite for row in report.rows) == 0


class Bilinear(nn.Module):
    """A model that is none of transformers' own, and returns its loss as one number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = PretrainedConfig()
        self.linear = nn.Linear(LENGTH, 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        found = self.linear(x).squeeze(1)
        loss = {} if labels is None else {"loss": (found - labels).abs().mean()}
        return {**loss, "logits": found}


class Absolute(Trainer):
    """A Trainer of a user's, with a loss of its own."""

    def per_sample_loss(self, outputs: Any, labels: Tensor, inputs: Any) -> Tensor:
        assert "x" in inputs
        return (outputs["logits"] - labels).abs()

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if True in args else outputs["loss"]


@pytest.mark.parametrize("base", [Trainer, Absolute])
def test_a_hook_gives_the_losses_of_any_other_model(tmp_path: Path, base: Any) -> None:
    class Mine(pruned(base)):  # type: ignore[misc]
        per_sample_loss = Absolute.per_sample_loss

    columns = {"x": tokens().float(), "labels": torch.randn(SIZE, generator=source())}
    kind = pruned(Absolute) if base is Absolute else Mine
    common = {"model": Bilinear(), "args": arguments(tmp_path), "train_dataset": Rows(**columns)}
    trainer = kind(pruner=Pruner(Full(), epochs=4), **common)
    (batch,) = trainer.get_train_dataloader()
    loss, _ = gradient(trainer, trainer.model, batch, None)
    model = trainer.model
    assert loss == pytest.approx(model(**{n: batch[n] for n in columns})["loss"].item(), rel=1e-6)
    trainer_loss = trainer.prediction_step(model, dict(columns), prediction_loss_only=True)[0]
    assert trainer_loss.item() == pytest.approx(model(**columns)["loss"].item(), rel=1e-6)


def test_an_unusual_model_without_the_hook_is_refused_by_name(tmp_path: Path) -> None:
    columns = {"x": tokens().float(), "labels": torch.randn(SIZE, generator=source())}
    trainer = pruned(Trainer)(
        model=Bilinear(),
        args=arguments(tmp_path),
        train_dataset=Rows(**columns),
        pruner=Pruner(Full(), epochs=4),
    )
    with pytest.raises(SettingError, match=r"How Bilinear reduces its loss.*per_sample_loss\(self"):
        trainer.train()


def test_a_score_that_cannot_be_made_is_missed_by_name(tmp_path: Path) -> None:
    columns = {"input_ids": tokens(), "labels": torch.randn(SIZE, generator=source())}
    trainer = pruned(Trainer)(
        model=bert(num_labels=1),
        args=arguments(tmp_path),
        train_dataset=Rows(**columns),
        pruner=Pruner(PersistentImportance(), epochs=4),
    )
    with pytest.raises(MissingScoreError, match="logit_grad_norm"):
        trainer.train()
