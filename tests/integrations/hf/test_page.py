"""The code on docs/transformers.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from integrations.hf.small import Sentences, bert

PAGE = Path(__file__).parents[3] / "docs" / "transformers.md"


# The page leaves dataloader_pin_memory on, as users do.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"model": bert(), "train_dataset": Sentences(40)}
    before, after, hook = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(before, names)
    assert names["trainer"].state.epoch == 10
    exec(after, names)
    assert names["pruner"].report().prune_rate == pytest.approx(0.4, abs=0.03)
    exec(hook, names)
    outputs = {"logits": torch.zeros(3, 2)}
    losses = names["Mine"].per_sample_loss(None, outputs, torch.ones(3, 2), {})
    assert losses.tolist() == [1, 1, 1]
