"""The code on docs/trl.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from integrations.trl.test_sft import documents, llama, tokenizer

PAGE = Path(__file__).parents[3] / "docs" / "trl.md"


# The page leaves settings on that a machine without an accelerator cannot use, as users do.
@pytest.mark.filterwarnings(
    "ignore:'pin_memory' argument is set", "ignore:.*is deprecated:FutureWarning"
)
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "model": llama(),
        "tokenizer": tokenizer(),
        "train_dataset": Dataset.from_list([{"input_ids": each} for each in documents()]),
    }
    before, after = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(before.replace('"out"', '"out", bf16=False'), names)
    assert names["trainer"].state.epoch == 4
    exec(after.replace('"out"', '"out", bf16=False'), names)
    assert names["pruner"].report().prune_rate == pytest.approx(0.4, abs=0.05)
