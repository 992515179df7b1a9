"""Runs in processes of their own, each with its share of threads; the parent only listens.

A worker is told a configuration through its pipe and answers with an event per epoch and a last
one. It never writes to disk: the parent does, one line for each finished run, so that lines are
whole and Ctrl-C loses only what was being trained.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, final

from thresher.bench.suite import RunConfig


@final
@dataclass(frozen=True)
class Started:
    """A worker has begun a run."""

    worker: int
    config: RunConfig


@final
@dataclass(frozen=True)
class Advanced:
    """A run has finished an epoch."""

    worker: int
    config: RunConfig
    epochs_done: int
    metric: float


@final
@dataclass(frozen=True)
class Finished:
    """A run is over; the record is what goes to disk."""

    worker: int
    config: RunConfig
    record: dict[str, Any]


@final
@dataclass(frozen=True)
class Failed:
    """A run ended with an error; the others go on."""

    worker: int
    config: RunConfig
    reason: str
    details: str = field(default="", repr=False)


Event = Started | Advanced | Finished | Failed


def run_all(
    configs: Sequence[RunConfig], *, num_workers: int, folder: str | None
) -> Iterator[Event]:
    """Train every configuration and yield what happens, as it happens.

    Configurations are begun in the order given. Closing the iterator, or an exception where it is
    consumed, ends the processes.

    Args:
        configs: of one task.
        num_workers: processes.
        folder: the task's data, or None for the usual places.
    """
    waiting = list(reversed(configs))
    workers = [_Worker(index, folder) for index in range(min(num_workers, len(configs)))]
    try:
        for worker in workers:
            worker.start(waiting.pop())
            yield Started(worker.index, worker.config)
        while busy := [worker for worker in workers if worker.is_busy]:
            ready = wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe not in ready:
                    continue
                event = worker.receive()
                yield event
                if not isinstance(event, Advanced) and waiting:
                    worker.start(waiting.pop())
                    yield Started(worker.index, worker.config)
    finally:
        for worker in workers:
            worker.stop()


@final
class _Worker:
    """The parent's end of one process, which is started again if it dies."""

    def __init__(self, index: int, folder: str | None) -> None:
        self.index = index
        self.is_busy = False
        self._folder = folder
        self._process: Any = None

    def start(self, config: RunConfig) -> None:
        self.config = config
        self.is_busy = True
        if self._process is None:
            self._launch()
        self.pipe.send(config)

    def _launch(self) -> None:
        # fork would copy torch's and OpenMP's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def receive(self) -> Event:
        try:
            kind, *content = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            self.stop()
            return Failed(self.index, self.config, f"its process ended with exit code {code}")
        if kind == "epoch":
            return Advanced(self.index, self.config, *content)
        self.is_busy = False
        if kind == "done":
            return Finished(self.index, self.config, *content)
        return Failed(self.index, self.config, *content)

    def stop(self) -> None:
        self.is_busy = False
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self.pipe.close()
            self._process = None


def _serve(pipe: Connection, folder: str | None) -> None:
    """Be a worker: train what comes through the pipe until the parent is gone."""
    # A terminal sends Ctrl-C to the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from thresher.bench.reference import References
    from thresher.bench.run import load, train, warm_up
    from thresher.bench.tasks import task as find_task

    def tell(*message: object) -> None:
        try:
            pipe.send(message)
        except OSError:
            # Nobody is left to tell. Not an Exception: that would be reported as the run's failure.
            raise SystemExit from None

    loaded, references = None, References()

    def advanced(done: int, metric: float) -> None:
        tell("epoch", done, metric)

    while True:
        try:
            config: RunConfig = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            torch.set_num_threads(config.threads)
            task = find_task(config.task)
            if loaded is None:
                loaded = load(task, folder)
                warm_up(task, loaded, config.batch_size, config.device)
            record = train(config, task, loaded, advanced, references)
        except Exception as error:
            tell("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
        else:
            tell("done", record)


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Start processes with Ctrl-C blocked, so that none dies of it before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
