"""The README's recipe for a run that survives being killed, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import thresher
from small_runs import data, differences

README = Path(__file__).parent.parent.parent / "README.md"
EPOCHS = 6


class Killed(BaseException):
    """The process ends here."""


def recipe() -> str:
    found = re.search(r"<!-- resume: .*? -->\n```python\n(.*?)```\n", README.read_text(), re.DOTALL)
    assert found
    return found[1]


def live(steps: int) -> dict[str, Any]:
    """Build everything anew, and train by the recipe until so many steps are done."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plain = DataLoader(data(), 4, shuffle=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(plain))
    pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.4), epochs=EPOCHS)
    loader, scheduler = pruner.wrap(plain), pruner.pace(schedule)
    left = steps

    def train_step(x: torch.Tensor, y: torch.Tensor) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        loss = pruner.reduce(F.cross_entropy(model(x), y, reduction="none"))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()

    names = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "pruner": pruner}
    names |= {"loader": loader, "epochs": EPOCHS, "train_step": train_step}
    exec(f"import os\nimport torch\n\n{recipe()}", names)
    return {name: names[name].state_dict() for name in ("model", "optimizer", "pruner")}


@pytest.mark.parametrize("steps", [2, 5])
def test_the_recipe_ends_a_run_that_dies_every_few_steps_as_one_that_does_not(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, deaths = [], 0
    for name, most in (("whole", 10_000), ("killed", steps)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        end = None
        while end is None:
            try:
                end = live(most)
            except Killed:
                deaths += 1
        ends.append(end)
    assert deaths >= 18 // steps
    assert not differences(*ends)
