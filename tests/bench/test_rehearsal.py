"""A dry run trains every row a little, says what all would take, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from thresher.bench import rehearsal, tasks
from thresher.cli import main


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_row_is_tried_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    command = ["compare", "--dry-run", "--methods", "repb", "selective-backprop", "el2n"]
    assert main([*command, "--prune-ratio", "0.5", "0.7"]) == 0
    shown = capsys.readouterr().out
    assert "899 samples, 20 epochs in full, batches of 32, " in shown
    # Full, and at each ratio two baselines and three methods.
    assert "11 of 11 rows can be trained. Nothing was written." in shown
    for row in ("full: 192 samples trained", "random 0.5: 96 ", "el2n 0.7: ", "ms a step; all of"):
        assert row in shown
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_a_row_that_would_fail_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = rehearsal.train

    def failing(config: Any, *rest: Any) -> Any:
        if config.method == "repb":
            raise ValueError("no luck")
        return train(config, *rest)

    monkeypatch.setattr(rehearsal, "train", failing)
    assert main(["compare", "--dry-run", "--methods", "repb"]) == 1
    shown = capsys.readouterr().out
    assert "  repb 0.5: failed: ValueError: no luck\n" in shown
    assert "3 of 4 rows can be trained." in shown


def test_few_samples_need_not_fill_a_batch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = tasks.task("digits")
    strict = replace(digits, budget=replace(digits.budget, drop_last=True))
    monkeypatch.setattr(rehearsal, "find_task", lambda _: strict)
    assert main(["compare", "--dry-run", "--methods", "repb", "--prune-ratio", "0.9"]) == 0
    assert "4 of 4 rows can be trained." in capsys.readouterr().out


def test_no_paper_trains_the_smoke_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--scale", "paper"]) == 2
    assert "no paper settings of digits" in capsys.readouterr().err
    assert main(["compare", "--scale", "large"]) == 2
    assert "unknown scale 'large'" in capsys.readouterr().err
