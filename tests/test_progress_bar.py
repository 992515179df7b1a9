"""The bar passes every batch on, tells what is saved, and is silent where nobody watches."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from streams.streams import Numbers, Scores
from thresher import Full, Pruner, RandomPruning
from thresher.integrations import progress
from thresher.integrations.progress import progress_bar
from thresher.online import OrderedTopQ


def batches_of(ratio: float, *, has_bar: bool, console: Console | None = None) -> list[list[float]]:
    pruner = Pruner(RandomPruning(prune_ratio=ratio), epochs=3, seed=1)
    loader = pruner.wrap(DataLoader(torch.arange(20.0), 4, shuffle=False))
    shown = progress_bar(loader, pruner, console=console) if has_bar else loader
    seen: list[list[float]] = []
    for _ in range(3):
        assert len(shown) == len(loader)
        for losses in shown:
            pruner.reduce(losses)
            seen.append(losses.tolist())
    return seen


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=140)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_a_loop_sees_the_same_batches_with_a_bar_and_without(ratio: float) -> None:
    assert batches_of(ratio, has_bar=True, console=terminal()) == batches_of(ratio, has_bar=False)


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    batches_of(0.5, has_bar=True, console=console)
    assert console.file.getvalue() == ""  # pyright: ignore[reportAttributeAccessIssue]


def test_the_bar_tells_what_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr(progress, "perf_counter", lambda: float(next(ticks)))
    pruner = Pruner(RandomPruning(prune_ratio=0.5), epochs=3)
    console = terminal()
    bar = progress_bar(pruner.wrap(DataLoader(torch.arange(20.0), 2)), pruner, console=console)
    told: list[str] = []
    for _ in range(3):
        for losses in bar:
            pruner.reduce(losses)
        told.append(bar.text)
    # Ten samples in 100 s; ten were left out in the first epoch, thirty after the third.
    assert told == [
        "epoch 1 of 3 · 50 % left out · 50 % of all visits saved · about 2 min",
        "epoch 2 of 3 · 50 % left out · 50 % of all visits saved · about 3 min",
        "epoch 3 of 3 · 50 % left out · 50 % of all visits saved · about 5 min",
    ]
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "epoch 2 of 3 · 50 % left out" in shown


def test_within_an_epoch_the_text_is_of_that_epoch() -> None:
    pruner = Pruner(Full(), epochs=2)
    bar = progress_bar(pruner.wrap(DataLoader(torch.arange(6.0), 2)), pruner, console=terminal())
    texts: list[str] = []
    for _ in range(2):
        for losses in bar:
            texts.append(bar.text[:12])
            pruner.reduce(losses)
    assert texts == ["", "epoch 1 of 2", "epoch 1 of 2", "epoch 1 of 2", *["epoch 2 of 2"] * 2]


def test_a_loop_that_breaks_leaves_no_bar_behind() -> None:
    pruner, console = Pruner(Full(), epochs=2), terminal()
    bar = progress_bar(pruner.wrap(DataLoader(torch.arange(6.0), 2)), pruner, console=console)
    for losses in bar:
        pruner.reduce(losses)
        break
    for losses in bar:
        pruner.reduce(losses)
    assert console._live_stack == []


def test_no_time_is_claimed_where_candidates_were_scored() -> None:
    pruner = Pruner(OrderedTopQ(prune_ratio=0.5), epochs=1)
    loader = pruner.wrap(DataLoader(torch.arange(64.0), 8), score_fn=lambda batch: batch)
    bar = progress_bar(loader, pruner, console=terminal())
    bar._visits, bar._seconds = 1, 1000.0
    for losses in bar:
        pruner.reduce(losses)
    assert "about" not in bar.text
    assert "saved" in bar.text


@pytest.mark.parametrize("steps_per_epoch", [None, 3])
def test_of_a_stream_it_says_what_passed_by_and_was_left_out(steps_per_epoch: int | None) -> None:
    pruner = Pruner(OrderedTopQ(prune_ratio=0.5), epochs=2)
    plain = DataLoader(Numbers(range(64)), 4)
    loader = pruner.wrap(plain, score_fn=Scores(), steps_per_epoch=steps_per_epoch)
    bar = progress_bar(loader, pruner, console=terminal())
    for _ in range(2):
        for batch in bar:
            pruner.reduce(batch["id"].float())
    assert bar.text.startswith("epoch 2 of 2 · 50 % left out · 50 % of all visits saved")


def test_without_rich_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ImportError, match="pip install rich"):
        progress_bar([], Pruner(Full(), epochs=1))


def test_what_stops_a_loop_goes_through() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    class Loader:
        def __iter__(self) -> Iterator[int]:
            return failing()

        def __len__(self) -> int:
            return 2

    with pytest.raises(OSError, match="gone"):
        list(progress_bar(Loader(), Pruner(Full(), epochs=1), console=terminal()))
