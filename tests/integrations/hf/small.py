"""Small models and data for the real Trainer, and the same training by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_cosine_schedule_with_warmup,
)

from thresher import Method, Pruner
from thresher.integrations.transformers import pruned
from thresher.scores import per_sample

PrunedTrainer = pruned(Trainer)
SIZE, BATCH, EPOCHS, RATE = 103, 8, 4, 0.1


class Sentences(Dataset[dict[str, Tensor]]):
    """Tokens whose first two spell the sample's id, so that a model can be asked what it saw."""

    def __init__(self, size: int = SIZE) -> None:
        source = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, 20, (size, 8), generator=source)
        ids = torch.arange(size)
        self.tokens[:, 0], self.tokens[:, 1] = ids // 20, ids % 20
        self.labels = torch.randint(0, 3, (size,), generator=source)
        self.lengths = torch.randint(4, 9, (size,), generator=source)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index], "extra": index}  # type: ignore[dict-item]


class Texts(Sentences):
    """The same for a language model; each text is ignored from its length on."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = self.tokens[index]
        ignored = torch.arange(len(tokens)) >= self.lengths[index]
        return {"input_ids": tokens, "labels": tokens.masked_fill(ignored, -100)}


def ids_of(tokens: Tensor) -> list[int]:
    return (tokens[:, 0] * 20 + tokens[:, 1]).tolist()


def bert(dropout: float = 0.0, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=settings.pop("num_labels", 3),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **settings,
    )
    return BertForSequenceClassification(config)


SHAPE: dict[str, Any] = {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 0}


def gpt() -> nn.Module:
    torch.manual_seed(0)
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, **SHAPE, **drops))


def llama(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        attention_dropout=dropout,
        **SHAPE,
    )
    return LlamaForCausalLM(config)


def arguments(folder: Path | str, **settings: Any) -> TrainingArguments:
    chosen: dict[str, Any] = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "optim": "sgd",
        "learning_rate": RATE,
        "max_grad_norm": 0.0,
        "disable_tqdm": True,
        "logging_strategy": "epoch",
        "lr_scheduler_type": "cosine",
        **settings,
    }
    return TrainingArguments(str(folder), **chosen)


class Epoch(NamedTuple):
    """What a recorder saw of one epoch."""

    planned: list[int]
    rate: float
    left_over: bool
    fraction: float


class Recorder(TrainerCallback):
    """Looks at what the model is trained on, from outside of the integration.

    Attributes:
        trained: the ids of each forward pass in training, by epoch.
        epochs: what there was to see when each ended.
        fractions: `state.epoch` after each optimizer step.
    """

    def __init__(self, trainer: Any, stop_at: int | None = None) -> None:
        self.trained: list[list[list[int]]] = []
        self.epochs: list[Epoch] = []
        self.fractions: list[float] = []
        self.trainer, self._stop_at = trainer, stop_at
        trainer.model.register_forward_pre_hook(self._see, with_kwargs=True)
        trainer.add_callback(self)

    def _see(self, model: nn.Module, _: Any, inputs: dict[str, Any]) -> None:
        if model.training:
            self.trained[-1].append(ids_of(inputs["input_ids"]))

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.trained.append([])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.fractions.append(state.epoch)
        control.should_training_stop |= state.global_step == self._stop_at

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        grads = [p.grad for p in self.trainer.model.parameters() if p.grad is not None]
        pruner = getattr(self.trainer, "pruner", None)
        planned = [] if pruner is None else pruner.plan(len(pruner.report().rows) - 1).ids.tolist()
        self.epochs.append(
            Epoch(
                planned=planned,
                rate=self.trainer.optimizer.param_groups[0]["lr"],
                left_over=any(bool(grad.any()) for grad in grads),
                fraction=state.epoch,
            )
        )

    def flat(self) -> list[list[int]]:
        return [[id_ for batch in epoch for id_ in batch] for epoch in self.trained]


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def run(
    method: Method,
    folder: Path | str,
    *,
    model: nn.Module | None = None,
    dataset: Dataset[Any] | None = None,
    resume: str | None = None,
    stop_at: int | None = None,
    kind: type[Any] = PrunedTrainer,
    **settings: Any,
) -> tuple[Any, Recorder]:
    """Train a model with the real Trainer; return the trainer and what was seen."""
    args = arguments(folder, **settings)
    steps = args.max_steps if args.max_steps > 0 else None
    pruner = Pruner(
        method,
        epochs=None if steps else int(args.num_train_epochs),
        steps=steps,
        accumulation_steps=args.gradient_accumulation_steps,
    )
    trainer = kind(
        model=bert() if model is None else model,
        args=args,
        train_dataset=Sentences() if dataset is None else dataset,
        pruner=pruner,
    )
    recorder = Recorder(trainer, stop_at)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, recorder


def by_hand(
    method: Method, model: nn.Module, dataset: Dataset[Any], micro: int = 1, batch: int = BATCH
) -> tuple[Tensor, list[list[int]]]:
    """Train by a loop of one's own; return the weights and the ids of each epoch."""
    pruner = Pruner(method, epochs=EPOCHS, accumulation_steps=micro)
    plain = DataLoader(dataset, batch, shuffle=True)
    counting = Trainer(model=model, args=arguments(Path(tempfile.gettempdir()) / "counting"))
    full = EPOCHS * -(-len(plain) // micro)
    loader = pruner.wrap(plain)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    scheduler = pruner.pace(get_cosine_schedule_with_warmup(optimizer, 0, full))
    trained: list[list[int]] = []
    for _ in range(EPOCHS):
        batches = [(inputs, loader.batch_ids) for inputs in loader]
        trained.append([int(id_) for _, ids in batches for id_ in ids])
        for start in range(0, len(batches), micro):
            window = batches[start : start + micro]
            # Which labels count differs between versions of transformers.
            items = counting._get_num_items_in_batch([inputs for inputs, _ in window], "cpu")
            for inputs, ids in window:
                logits, targets = model(input_ids=inputs["input_ids"]).logits, _targets(inputs)
                each = F.cross_entropy(
                    logits.flatten(0, -2), targets.flatten(), reduction="none"
                ).view(targets.shape)
                counts = targets.ne(-100).sum(1)
                means = per_sample(each, targets.ne(-100))
                if items is None:
                    loss = pruner.reduce(means, ids=ids) / len(window)
                else:
                    loss = pruner.reduce(means * counts, scores=means, ids=ids) * (len(ids) / items)
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    return weights_of(model), trained


def _targets(inputs: dict[str, Tensor]) -> Tensor:
    """Labels in the places of the logits, (B, T) or (B, 1)."""
    labels = inputs["labels"]
    if labels.dim() == 1:
        return labels.unsqueeze(1)
    return F.pad(labels, (0, 1), value=-100)[:, 1:]
