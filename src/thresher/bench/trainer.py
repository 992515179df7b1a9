"""What a worker does, wherever it is: one run after the other, with the data kept between them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import torch

from thresher.bench.provenance import commit, machine, versions
from thresher.bench.reference import References
from thresher.bench.run import load, train, warm_up
from thresher.bench.suite import RunConfig, Source
from thresher.bench.tasks import Data, DataError, Task
from thresher.bench.tasks import task as find_task


class _Loaded(NamedTuple):
    """What the last run asked for; its task, the data that are here, and their checksum."""

    source: Source
    task: Task
    data: Data
    checksum: str


@final
class Trainer:
    """Trains runs, and tells with each what it was made with: versions, commit, machine.

    Args:
        folders: of the data; those that are missing are looked for in the usual places.
    """

    def __init__(self, folders: Mapping[Source, str]) -> None:
        self._folders = folders
        self._references = References()
        self._loaded: _Loaded | None = None
        # What runs is what was imported, whatever becomes of the sources while it does.
        self._facts = {"versions": versions(), "commit": commit(), "machine": machine()}

    def outcome(
        self, config: RunConfig, advanced: Callable[[int, float], None]
    ) -> tuple[str, dict[str, Any]] | tuple[str, str, str]:
        """Return ("done", record), or ("failed", reason, traceback)."""
        try:
            return "done", self._run(config, advanced)
        except Exception as error:
            return "failed", f"{type(error).__name__}: {error}", traceback.format_exc()

    def _run(self, config: RunConfig, advanced: Callable[[int, float], None]) -> dict[str, Any]:
        torch.set_num_threads(config.threads)
        if self._loaded is None or self._loaded.source != config.source:
            # Before the next data come: two tasks' need not fit at once.
            self._loaded, self._references = None, References()
            self._loaded = self._load(config)
        _, task, data, checksum = self._loaded
        if config.data != checksum:
            raise DataError(
                f"the data of {config.task} are others here ({checksum}) than where this "
                f"comparison was begun ({config.data})",
                cure="Give every machine the same files",
            )
        return train(config, task, data, advanced, self._references) | self._facts

    def _load(self, config: RunConfig) -> _Loaded:
        task = find_task(config.task)
        data = load(task, self._folders.get(config.source))
        warm_up(task, data, config.batch_size, config.device)
        return _Loaded(config.source, task, data, data.checksum())


def end_with_parent() -> None:
    """End this process the moment its parent is gone, whatever it is doing.

    A run that nobody will record any more must not go on while somebody else makes it again.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
