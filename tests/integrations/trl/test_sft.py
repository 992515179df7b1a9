"""SFTTrainer under plans trains, in every layout, what a loop by hand would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from integrations.hf.ranks import succeed
from thresher import Full, InfoBatch, Method, Pruner
from thresher.errors import SettingError
from thresher.integrations import transformers
from thresher.integrations.trl import pruned
from thresher.integrations.trl._sft import owners_of
from thresher.scores import per_sample

SIZE, BATCH, EPOCHS, RATE = 43, 4, 3, 0.5
METHOD = InfoBatch(r=0.6)


def documents() -> list[list[int]]:
    source = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 11, (SIZE,), generator=source).tolist()
    return [torch.randint(3, 30, (length,), generator=source).tolist() for length in lengths]


def llama() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(vocab_size=30, num_attention_heads=2, **sizes, **special))


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{number}": number for number in range(3, 30)}}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )


def arguments(folder: Path, **settings: Any) -> SFTConfig:
    chosen: dict[str, Any] = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "disable_tqdm": True,
        "max_length": None,
        **settings,
    }
    return SFTConfig(str(folder), **chosen)


def built(
    folder: Path,
    model: nn.Module,
    micro: int = 1,
    kind: Any = None,
    pruner: Any = None,
    **settings: Any,
) -> Any:
    return (kind or pruned(SFTTrainer))(
        model=model,
        args=arguments(folder, gradient_accumulation_steps=micro, **settings),
        train_dataset=Dataset.from_list([{"input_ids": each} for each in documents()]),
        processing_class=tokenizer(),
        **({} if pruner is None else {"pruner": pruner}),
    )


def trained(
    folder: Path,
    model: nn.Module,
    micro: int = 1,
    method: Method = METHOD,
    resume: str | None = None,
    **settings: Any,
) -> Any:
    pruner = Pruner(method, epochs=EPOCHS, accumulation_steps=micro)
    trainer = built(folder, model, micro, pruner=pruner, **settings)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def by_hand(model: nn.Module, rows: list[list[int]], micro: int) -> tuple[Tensor, list[int]]:
    """A loop of one's own, every document in a row of its own; weights and epoch sizes."""
    pruner = Pruner(METHOD, epochs=EPOCHS, accumulation_steps=micro)
    loader = pruner.wrap(DataLoader(rows, BATCH, shuffle=True, collate_fn=list))
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    for _ in range(EPOCHS):
        batches = [(batch, loader.batch_ids) for batch in loader]
        for start in range(0, len(batches), micro):
            window = batches[start : start + micro]
            items = sum(len(row) - 1 for batch, _ in window for row in batch)
            for batch, ids in window:
                sums, means = [], []
                for row in batch:
                    tokens = torch.tensor([row])
                    logits = model(input_ids=tokens).logits[:, :-1]
                    each = F.cross_entropy(logits[0], tokens[0, 1:], reduction="none")
                    sums.append(each.sum())
                    means.append(per_sample(each[None])[0])
                loss = pruner.reduce(torch.stack(sums), scores=torch.stack(means), ids=ids)
                (loss * (len(ids) / items)).backward()
            optimizer.step()
            optimizer.zero_grad()
    sizes = [row.trained for row in pruner.report().rows]
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]), sizes


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def sizes_of(trainer: Any) -> list[int]:
    return [row.trained for row in trainer.pruner.report().rows]


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("free", [False, True], ids=["padded", "padding-free"])
def test_final_weights_are_those_of_a_loop_by_hand(tmp_path: Path, free: bool, micro: int) -> None:
    trainer = trained(tmp_path, llama(), micro, padding_free=free)
    expected, sizes = by_hand(llama(), documents(), micro)
    assert sizes_of(trainer) == sizes
    assert sizes[1] < SIZE
    assert torch.allclose(weights_of(trainer.model), expected, rtol=0, atol=1e-6)
    assert "entropy" in trainer.state.log_history[0], "TRL's own metrics"


def job(rank: int, folder: str, free: bool) -> tuple[list[int], Tensor]:
    settings = {"padding_free": free, "per_device_train_batch_size": BATCH // 2}
    trainer = trained(Path(folder), llama(), 2, **settings)
    return sizes_of(trainer), weights_of(trainer.model)


@pytest.mark.parametrize("free", [False, True], ids=["padded", "padding-free"])
def test_so_are_those_of_two_ranks(tmp_path: Path, free: bool) -> None:
    """43 documents: one rank's last batch is filled up with a copy, which must not count."""
    expected, sizes = by_hand(llama(), documents(), 2)
    for found, weights in succeed(job, str(tmp_path), free):
        assert found == sizes
        assert torch.allclose(weights, expected, rtol=0, atol=1e-6)


LAYOUTS: dict[str, dict[str, Any]] = {
    "padded": {},
    "padding-free": {"padding_free": True},
    "packed": {"packing": True, "packing_strategy": "bfd", "max_length": 24},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_with_weights_of_1_it_is_trls_own_run(tmp_path: Path, layout: str) -> None:
    """Packed rows are the samples where documents are packed."""
    settings = {**LAYOUTS[layout], "train_sampling_strategy": "sequential"}
    mine = trained(tmp_path, llama(), 2, method=Full(), **settings)
    plain = built(tmp_path, llama(), 2, SFTTrainer, **settings)
    plain.train()
    assert torch.allclose(weights_of(mine.model), weights_of(plain.model), rtol=0, atol=1e-6)
    rows = mine.pruner.report().num_samples
    assert rows < SIZE / 2 if layout == "packed" else rows == SIZE
    logs = zip(mine.state.log_history[::2], plain.state.log_history, strict=False)
    for one, other in logs:
        for name in ("loss", "entropy", "mean_token_accuracy", "num_tokens"):
            if name in other:
                assert one[name] == pytest.approx(other[name], rel=1e-4)


# PEFT reads an attribute of models that transformers has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
# Old ones also say that a model which was never saved has no file of its settings.
@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_adapters_are_trained_and_resumed(tmp_path: Path) -> None:
    """LoRA, stopped in epoch 1 and resumed in an empty process's place."""

    def lora() -> nn.Module:
        return get_peft_model(llama(), LoraConfig(task_type="CAUSAL_LM", r=2))

    settings = {"save_strategy": "steps", "save_steps": 1}
    whole = trained(tmp_path, lora(), 2, **settings)
    first = -(-SIZE // (2 * BATCH))
    resume = str(tmp_path / f"checkpoint-{first + 1}")
    again = trained(tmp_path / "again", lora(), 2, resume=resume, **settings)
    assert torch.equal(weights_of(again.model), weights_of(whole.model))
    assert not torch.equal(weights_of(whole.model), weights_of(lora()))
    assert sizes_of(again) == sizes_of(whole)


def test_a_label_is_of_the_document_of_the_next_token() -> None:
    lengths = np.array([3, 2, 1])
    assert owners_of(lengths, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert owners_of(lengths, 8).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


@pytest.mark.filterwarnings("ignore:`label_smoothing_factor` is deprecated:FutureWarning")
def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"SFTTrainer is TRL's.*thresher\.integrations\.trl"):
        transformers.pruned(SFTTrainer)
    with pytest.raises(SettingError, match=r"trl\.SFTTrainer or a subclass"):
        pruned(dict)
    for settings in ({"loss_type": "dft"}, {"label_smoothing_factor": 0.1}):
        with pytest.raises(SettingError, match=f"{next(iter(settings))}=.*[Ll]eave"):
            built(tmp_path, llama(), pruner=Pruner(METHOD, epochs=EPOCHS), **settings)
