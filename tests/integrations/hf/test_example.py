"""The example fine-tunes a real checkpoint folder, and adds to the plain script what it says."""

from __future__ import annotations

import json
import lzma
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from integrations.example_scripts import EXAMPLES, changes

PLAIN, PRUNED = "hf_text_classification_plain.py", "hf_text_classification.py"


def test_the_pruned_example_differs_from_the_plain_one_in_seven_lines() -> None:
    diff = changes(PLAIN, PRUNED)
    settings = "thresher.RePB(prune_ratio=0.4), epochs=args.epochs, seed=args.seed"
    assert diff == [
        "+ import thresher",
        "+ from thresher.integrations.transformers import pruned",
        f"+ pruner = thresher.Pruner({settings})",
        "- trainer = Trainer(",
        "+ trainer = pruned(Trainer)(",
        "+     pruner=pruner,",
        "+     print(pruner.report())",
    ]
    assert len(diff) <= 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and data in the form of the real ones: the label is the first letter's."""
    folder = tmp_path_factory.mktemp("example")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder / "encoder")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=32, **sizes)
    BertModel(config).save_pretrained(folder / "encoder")
    letters = string.ascii_lowercase
    for name, many in (("ag_news_train15k", 210), ("ag_news_test", 60)):
        rows = []
        for number in range(many):
            text = " ".join(letters[number * step % 26] for step in (1, 3, 5)[: 1 + number % 3])
            rows.append({"text": text, "label": number % 26 % 4})
        with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def run(folder: Path, *command: str) -> str:
    settings = ["--cpu", "--epochs", "5", "--encoder", str(folder / "encoder")]
    done = subprocess.run(
        [sys.executable, *command, str(folder), *settings, "--output", str(folder / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"[\d.]+% right on 60", done.stdout)) == 1, "one rank prints"
    return done.stdout


def test_the_plain_example_trains(folder: Path) -> None:
    assert "saved" not in run(folder, str(EXAMPLES / PLAIN))


def test_the_pruned_example_trains_on_two_ranks_under_torchrun(folder: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    output = run(folder, *torchrun, str(EXAMPLES / PRUNED), "--batch-size", "8")
    saved = re.search(r"saved ([\d.]+)% \(asked: 40%", output)
    assert saved
    assert float(saved[1]) == pytest.approx(40, abs=4)
    rows = [line.split() for line in output.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == 5
    assert all(row[1] == row[2] for row in rows), "what was planned was trained"
