"""Starts ranks: real processes that run one function each, and tell what it returned or raised."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

# A clean process that has imported torch, and what an optimizer would import, from which a rank is
# forked in milliseconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["torch.distributed", "torch._dynamo", "thresher.online", "parallel.jobs"]
_CONTEXT.set_forkserver_preload(_PRELOADED)

LIMIT = 60.0
"""Seconds after which ranks are said to hang."""


def preload(module: str) -> None:
    """Let that process import a slow module, too; call it before the first rank is started."""
    _PRELOADED.append(module)
    _CONTEXT.set_forkserver_preload(_PRELOADED)


class Raised(NamedTuple):
    """What a rank raised."""

    kind: str
    message: str
    trace: str


def on_ranks(job: Callable[..., Any], world_size: int, *arguments: Any) -> list[Any]:
    """Run `job(rank, *arguments)` on every rank; return what each returned, or `Raised`."""
    with tempfile.TemporaryDirectory() as folder:
        readers, processes = [], []
        for rank in range(world_size):
            reader, writer = _CONTEXT.Pipe(duplex=False)
            store = str(Path(folder) / "store")
            given = (writer, store, rank, world_size, job, arguments)
            process = _CONTEXT.Process(target=_run, args=given)  # no daemon: loaders have workers
            process.start()
            writer.close()
            readers.append(reader)
            processes.append(process)
        try:
            return [_answer(reader) for reader in readers]
        finally:
            for process in processes:
                process.join(5)
                if process.is_alive():
                    process.kill()
                    process.join()


def succeed(job: Callable[..., Any], world_size: int, *arguments: Any) -> list[Any]:
    """Run `job` on every rank; return what each returned."""
    found = on_ranks(job, world_size, *arguments)
    for rank, each in enumerate(found):
        assert not isinstance(each, Raised), f"rank {rank}: {each.trace}"
    return found


def _answer(reader: Connection) -> Any:
    if not wait([reader], LIMIT):
        raise TimeoutError(f"a rank said nothing for {LIMIT} s: it hangs")
    try:
        return pickle.loads(reader.recv_bytes())
    except EOFError:
        return Raised("EOFError", "the process died", "the process died without a word")


def _run(
    writer: Connection,
    store: str,
    rank: int,
    world_size: int,
    job: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "KAKURENBO wants samples it left out scored anew")
    warnings.filterwarnings("ignore", ".* cannot save ")
    warnings.filterwarnings("ignore", "This DataLoader will create")  # on a single core
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=LIMIT / 2),
    )
    try:
        found = job(rank, *arguments)
    except Exception as error:
        found = Raised(type(error).__name__, str(error), traceback.format_exc())
    # As bytes: tensors would be sent as handles of memory that dies with this process.
    writer.send_bytes(pickle.dumps(found))
    # Whoever leaves first would break the others' connections.
    dist.destroy_process_group()
