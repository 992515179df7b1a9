"""Row 3: one `reduce` on top of a bare `losses.mean()`, and whether it waits for a GPU."""

from __future__ import annotations

import gc
import statistics
import time
import warnings

import torch

import thresher
from parts.common import BATCH, METHODS, Line, scores_of
from parts.selection import Losses, Subject

_STEPS = 3000


def measure(repetitions: int, prune_ratio: float, only: list[str]) -> list[Line]:
    """Return the lines of row 3.

    Each pass is one over the wrapped loader: first with the mean of each batch's losses, which
    trains nothing and so leaves the plan as it is, then with `reduce`. Losses are distinct tensors.
    """
    size = BATCH * _STEPS
    losses = Losses(size)
    subjects = {label: Subject(label, prune_ratio, size) for label in only}
    seen: dict[str, list[float]] = {label: [] for label in only}
    gc.collect()
    gc.freeze()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", thresher.errors.ThresherWarning)
        for turn in range(repetitions + 2):
            for label, subject in subjects.items():
                extra = _extra_seconds(subject, losses)
                if turn >= 2:
                    seen[label].append(extra * 1e6)
    gc.unfreeze()
    return [
        Line(
            "3 reduce",
            f"{label}: CPU µs beyond losses.mean()",
            min(times),
            "µs",
            6.0,
            more={"median": statistics.median(times)},
        )
        for label, times in seen.items()
    ]


def _extra_seconds(subject: Subject, losses: Losses) -> float:
    pruner, loader = subject.pruner, subject.loader
    reduce = pruner.reduce
    batches = iter(loader)
    each = losses.batches(len(batches.progress.plan))
    scored = [scores_of(pruner, loss) for loss in each]
    start = time.process_time()
    for _, loss, _scores in zip(batches, each, scored, strict=True):
        loss.mean()
    bare = time.process_time() - start
    batches = iter(loader)
    start = time.process_time()
    for _, loss, scores in zip(batches, each, scored, strict=True):
        reduce(loss, scores=scores)
    return (time.process_time() - start - bare) / len(each)


def synchronisations() -> str:
    """Train a pruned epoch on a GPU with every synchronisation an error; say how it went."""
    if not torch.cuda.is_available():
        return "skipped: no GPU, so that no step waits for one was not measured here"
    size = BATCH * 100
    for label, (make, _) in METHODS.items():
        pruner = thresher.Pruner(make(0.5), epochs=1000, num_samples=size)
        losses = torch.rand(size, device="cuda").split(BATCH)
        for epoch in range(4):
            plan = pruner.plan(epoch)
            ids = plan.ids.split(BATCH)
            # Weights go up, and the trace's buffer is made, with the first batch of an epoch.
            _steps(pruner, ids[:1], losses)
            torch.cuda.set_sync_debug_mode("error")
            try:
                _steps(pruner, ids[1:], losses)
            except RuntimeError as error:
                return f"FAIL: {label} waits for the GPU: {error}"
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return "pass: no step of any method waits for the GPU"


def _steps(
    pruner: thresher.Pruner, ids: tuple[torch.Tensor, ...], losses: tuple[torch.Tensor, ...]
) -> None:
    for number, batch in enumerate(ids):
        some = losses[number][: len(batch)]
        pruner.reduce(some, scores=scores_of(pruner, some), ids=batch)
