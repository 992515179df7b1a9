"""Runs on a Ray cluster: the driver claims and keeps them, its actors train.

Nothing but configurations and records travels. Every node needs this version of Thresher, and the
task's files where it looks for them; a node whose data differ refuses. The actors belong to the
driver's job: when it ends, however it ends, Ray ends them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from thresher.bench.suite import RunConfig, Source
from thresher.bench.workers import PAUSE, Advanced, Event, Failed, Finished, Started


class _Trainer:
    """What an actor does: a run, told as a stream of messages."""

    def __init__(self, folders: Mapping[Source, str]) -> None:
        from thresher.bench.trainer import Trainer

        self._trainer = Trainer(folders)

    def run(self, config: RunConfig) -> Iterator[tuple[Any, ...]]:
        """Yield ("epoch", done, metric) after each, then ("done", record) or ("failed", …)."""
        told: queue.Queue[tuple[Any, ...]] = queue.Queue()

        def work() -> None:
            told.put(
                self._trainer.outcome(
                    config, lambda done, metric: told.put(("epoch", done, metric))
                )
            )

        threading.Thread(target=work, daemon=True).start()
        while True:
            message = told.get()
            yield message
            if message[0] != "epoch":
                return


def run_all(
    configs: Iterable[RunConfig | None],
    *,
    num_workers: int,
    folders: Mapping[Source, str],
    address: str,
) -> Generator[Event]:
    """Train every configuration on the cluster and yield what happens, as `workers.run_all` does.

    Args:
        configs: in the order to begin them; None means that there is none now, but may be later.
        num_workers: actors; those that the cluster has no room for wait until it has.
        folders: of the data, as the nodes see them.
        address: of the cluster.
    """
    connect(address)
    pool, source, is_over = _Pool(num_workers, folders), iter(configs), False
    try:
        while True:
            while pool.idle and not is_over:
                config = next(source, _END)
                if config is None:
                    break
                if config is _END:
                    is_over = True
                    break
                yield pool.start(config)
            if not pool.running and is_over:
                return
            yield from pool.events()
    finally:
        pool.stop()


_END: Any = object()


class _Pool:
    """Actors, and the streams of what they tell."""

    def __init__(self, num_workers: int, folders: Mapping[Source, str]) -> None:
        self.idle = list(range(num_workers))
        self.running: dict[Any, tuple[int, RunConfig]] = {}
        self._actors: dict[int, Any] = {}
        self._folders = dict(folders)

    def start(self, config: RunConfig) -> Started:
        worker = self.idle.pop(0)
        if worker not in self._actors:
            self._actors[worker] = _actor(config.device, self._folders)
        self.running[self._actors[worker].run.remote(config)] = (worker, config)
        return Started(worker, config)

    def events(self) -> Iterator[Event]:
        """Yield what was told, after `PAUSE` seconds at most."""
        import ray  # pyright: ignore[reportMissingImports]

        if not self.running:
            time.sleep(PAUSE)
            return
        for stream in ray.wait(list(self.running), timeout=PAUSE)[0]:
            worker, config = self.running[stream]
            event = _next_event(stream, worker, config)
            if not isinstance(event, Advanced):
                del self.running[stream]
                self.idle.append(worker)
                if isinstance(event, Failed) and not event.details:
                    del self._actors[worker]  # it is dead
            yield event

    def stop(self) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        for actor in self._actors.values():
            ray.kill(actor)


def _next_event(stream: Any, worker: int, config: RunConfig) -> Event:
    import ray  # pyright: ignore[reportMissingImports]

    try:
        kind, *content = ray.get(next(stream))
    except ray.exceptions.RayError as error:
        return Failed(worker, config, f"its actor is lost: {str(error).splitlines()[0]}")
    if kind == "epoch":
        return Advanced(worker, config, *content)
    return (
        Finished(worker, config, *content) if kind == "done" else Failed(worker, config, *content)
    )


def _actor(device: str, folders: Mapping[Source, str]) -> Any:
    import ray  # pyright: ignore[reportMissingImports]

    num_gpus = 0 if device == "cpu" else 1
    return ray.remote(num_cpus=1, num_gpus=num_gpus)(_Trainer).remote(dict(folders))


def connect(address: str) -> None:
    """Join a cluster, unless this process has."""
    import ray  # pyright: ignore[reportMissingImports]

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)


def num_slots(address: str, device: str) -> int:
    """Return how many runs a cluster has room for at the same time."""
    import ray  # pyright: ignore[reportMissingImports]

    connect(address)
    found = ray.cluster_resources().get("CPU" if device == "cpu" else "GPU", 1)
    return max(1, int(found))
