"""Runs in processes of their own, each with its share of threads; the parent only listens.

A worker is told a configuration through its pipe and answers with an event per epoch and a last
one. It never writes to disk: the parent does, one line for each finished run, so that lines are
whole and Ctrl-C loses only what was being trained. A worker ends the moment its parent is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, final

from thresher.bench.suite import RunConfig, Source

PAUSE = 0.5
"""Seconds after which is asked again for a run, where all that are left are others' for now."""


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
    configs: Iterable[RunConfig | None], *, num_workers: int, folders: Mapping[Source, str]
) -> Generator[Event]:
    """Train every configuration and yield what happens, as it happens.

    Configurations are asked for and begun one by one, when a worker is free. Closing the iterator,
    or an exception where it is consumed, ends the processes.

    Args:
        configs: in the order to begin them; None means that there is none now, but may be later.
        num_workers: processes, started when there is something for them.
        folders: of the data; those that are missing are looked for in the usual places.
    """
    source, is_over = iter(configs), False
    workers = [_Worker(index, folders) for index in range(num_workers)]
    try:
        while True:
            if not is_over:
                is_over = yield from _begin(workers, source)
            busy = [worker for worker in workers if worker.is_busy]
            if not busy:
                if is_over:
                    return
                time.sleep(PAUSE)
                continue
            may_begin = not is_over and len(busy) < len(workers)
            ready = wait([worker.pipe for worker in busy], PAUSE if may_begin else None)
            for worker in busy:
                if worker.pipe in ready:
                    yield worker.receive()
    finally:
        for worker in workers:
            worker.stop()


def _begin(
    workers: list[_Worker], source: Iterator[RunConfig | None]
) -> Generator[Started, None, bool]:
    """Give runs to those who have none; return whether there will be no more."""
    for worker in workers:
        if worker.is_busy:
            continue
        try:
            config = next(source)
        except StopIteration:
            return True
        if config is None:
            return False
        worker.start(config)
        yield Started(worker.index, config)
    return False


@final
class _Worker:
    """The parent's end of one process, which is started again if it dies."""

    def __init__(self, index: int, folders: Mapping[Source, str]) -> None:
        self.index = index
        self.is_busy = False
        self._folders = dict(folders)
        self._process: Any = None

    def start(self, config: RunConfig) -> None:
        self.config = config
        self.is_busy = True
        if self._process is None:
            self._launch()
        try:
            self.pipe.send(config)
        except OSError:  # it died while it had nothing to do
            self._end()
            self._launch()
            self.pipe.send(config)

    def _launch(self) -> None:
        # fork would copy torch's and OpenMP's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._folders), daemon=True)
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
            self._end()

    def _end(self) -> None:
        self._process.join()
        self.pipe.close()
        self._process = None


def _serve(pipe: Connection, folders: Mapping[Source, str]) -> None:
    """Be a worker: train what comes through the pipe until the parent is gone."""
    # A terminal sends Ctrl-C to the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from thresher.bench.trainer import Trainer, end_with_parent

    end_with_parent()
    trainer = Trainer(folders)

    def tell(*message: object) -> None:
        try:
            pipe.send(message)
        except OSError:
            # Nobody is left to tell. Not an Exception: that would be reported as the run's failure.
            raise SystemExit from None

    def advanced(done: int, metric: float) -> None:
        tell("epoch", done, metric)

    while True:
        try:
            config: RunConfig = pipe.recv()
        except (EOFError, OSError):
            return
        tell(*trainer.outcome(config, advanced))


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
