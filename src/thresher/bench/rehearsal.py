"""`thresher compare --dry-run`: a few steps of every row, to see that all of it would run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from thresher.bench.costs import flops_of
from thresher.bench.run import configure, load, require_device, train, warm_up
from thresher.bench.suite import Row, asked_rows, expected_epochs
from thresher.bench.table import duration
from thresher.bench.tasks import Data, Task
from thresher.bench.tasks import task as find_task

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.bench.compare import Options

EPOCHS, BATCHES = 3, 2
"""Of a rehearsal: enough that every method has something to choose by, and chooses once."""


def rehearse(options: Options, console: Console) -> int:
    """Train each row on two batches for three epochs; say what one step and all of it takes.

    Nothing is written. The time of the whole is that of a step, so of pruned epochs it is the most.

    Returns:
        The exit code: 1 if a row cannot be trained.

    Raises:
        ThresherError: nothing can be trained at all.
    """
    require_device(options.device)
    task = find_task(options.full_task)
    data = load(task, options.data)
    batch_size = options.batch_size or task.budget.batch_size
    rows = asked_rows(options.methods, options.prune_ratio, options.step_exponent)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(
        f"{task.title}: {len(data):,} samples, {_epochs(options, task)} epochs in full, batches of "
        f"{batch_size}, {flops_of(task, data).step / 1e6:,.1f} MFLOPs a sample. "
        f"Each row trains {BATCHES} batches now."
    )
    threads, failed = torch.get_num_threads(), 0
    try:
        torch.set_num_threads(1)
        warm_up(task, data.head(batch_size, 1), batch_size, options.device)
        for row in rows:
            try:
                say(f"  {row}: {_tried(row, options, task, data, batch_size)}")
            except Exception as error:  # whatever it is, it is what the row would end with
                failed += 1
                say(f"  {row}: failed: {type(error).__name__}: {error}")
    finally:
        torch.set_num_threads(threads)
    say(f"{len(rows) - failed} of {len(rows)} rows can be trained. Nothing was written.")
    return 1 if failed else 0


def _epochs(options: Options, task: Task) -> int:
    return options.epochs or task.budget.epochs


def _tried(row: Row, options: Options, task: Task, data: Data, batch_size: int) -> str:
    """Train a row a little; return what is to be said about it."""
    config = configure(
        task,
        row,
        data="",
        epochs=EPOCHS,
        batch_size=batch_size,
        seed=options.seeds[0],
        device=options.device,
        threads=1,
    )
    part = data.head(BATCHES * batch_size, batch_size)
    # So few samples, pruned, need not fill a batch.
    record = train(replace(config, drop_last=None), task, part, _unseen)
    each = record["seconds"]["training"] / record["samples_trained"]
    step = 1000 * each * batch_size
    whole = expected_epochs(row.method, row.prune_ratio, _epochs(options, task))
    return (
        f"{record['samples_trained']:,} samples trained, {step:,.1f} ms a step; "
        f"all of it about {duration(whole * len(data) * each)}"
    )


def _unseen(_epochs: int, _metric: float) -> None:
    """Take the progress of a run that is over in a moment."""
