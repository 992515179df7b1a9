"""The example tunes a model folder on data of the real form; what it adds to the plain script."""

from __future__ import annotations

import json
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.example_scripts import EXAMPLES, changes
from integrations.trl.test_sft import documents, llama, tokenizer

PLAIN, PRUNED = "trl_sft_plain.py", "trl_sft.py"


def test_the_pruned_example_differs_from_the_plain_one_in_seven_lines() -> None:
    diff = changes(PLAIN, PRUNED)
    settings = "thresher.InfoBatch(prune_ratio=0.3), epochs=args.epochs, seed=args.seed"
    assert diff == [
        "+ import thresher",
        "+ from thresher.integrations.trl import pruned",
        f"+ pruner = thresher.Pruner({settings})",
        "- trainer = SFTTrainer(",
        "+ trainer = pruned(SFTTrainer)(",
        "+     pruner=pruner,",
        "+     print(pruner.report())",
    ]
    assert len(diff) <= 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and data in the form of the real ones."""
    folder = tmp_path_factory.mktemp("example")
    llama().save_pretrained(folder / "model")  # type: ignore[operator]
    tokenizer().save_pretrained(folder / "model")
    with lzma.open(folder / "alpaca_subset.jsonl.xz", "wt", encoding="utf-8") as file:
        for number, tokens in enumerate(documents() + documents()):
            text = " ".join(f"w{token}" for token in tokens)
            row = {"instruction": text, "input": "", "output": text, "random9k": number % 5 > 0}
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize("name", [PLAIN, PRUNED])
def test_the_example_trains(folder: Path, name: str) -> None:
    settings = ["--rows", "50", "--test-rows", "10", "--epochs", "5", "--device", "cpu"]
    settings += ["--model", str(folder / "model"), "--output", str(folder / "out")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(folder), *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"loss [\d.]+ on 10 held-out answers", done.stdout)
    saved = re.search(r"saved ([\d.]+)% \(asked: 30%", done.stdout)
    assert (saved is None) == (name == PLAIN)
    assert saved is None or float(saved[1]) > 10
