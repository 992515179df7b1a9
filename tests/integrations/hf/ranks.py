"""Two ranks as torchrun would start them: forked, for the sake of transformers' import time."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState

WORLD = 2
LIMIT = 90.0
"""Seconds after which a rank is said to hang."""

_CONTEXT = multiprocessing.get_context("fork")


def on_ranks(job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `job(rank, *arguments)` on two ranks; return what each returned, or its traceback."""
    with tempfile.TemporaryDirectory() as folder:
        pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(WORLD)]
        ranks = [
            _CONTEXT.Process(target=_run, args=(writer, f"{folder}/store", rank, job, arguments))
            for rank, (_, writer) in enumerate(pipes)
        ]
        for process in ranks:
            process.start()
        for _, writer in pipes:
            writer.close()
        try:
            return [_answer(reader) for reader, _ in pipes]
        finally:
            for process in ranks:
                process.join(5)
                if process.is_alive():
                    process.kill()
                    process.join()


def succeed(job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `job` on two ranks; return what each returned."""
    found = on_ranks(job, *arguments)
    for rank, (is_good, each) in enumerate(found):
        assert is_good, f"rank {rank}: {each}"
    return [each for _, each in found]


def _answer(reader: Connection) -> Any:
    if not wait([reader], LIMIT):
        raise TimeoutError(f"a rank said nothing for {LIMIT} s: it hangs")
    try:
        return pickle.loads(reader.recv_bytes())
    except EOFError:
        return False, "the process died without a word"


def _run(
    writer: Connection, store: str, rank: int, job: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    # What torchrun says to each process, and accelerate reads.
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ.update({name: str(value) for name, value in named.items()})
    # The parent may have trained in one process before it was forked.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    dist.init_process_group(
        "gloo",
        init_method=f"file://{Path(store)}",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=LIMIT / 2),
    )
    try:
        found = True, job(rank, *arguments)
    except Exception:
        found = False, traceback.format_exc()
    # As bytes: tensors would be sent as handles of memory that dies with this process.
    writer.send_bytes(pickle.dumps(found))
    dist.destroy_process_group()
