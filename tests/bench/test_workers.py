"""Processes: a run that fails, or a process that dies, takes nothing else with it."""

import multiprocessing

from thresher.bench.run import configure, load
from thresher.bench.suite import Row, RunConfig
from thresher.bench.tasks import task
from thresher.bench.workers import Advanced, Event, Failed, Finished, Started, run_all


def config(seed: int, *, epochs: int = 1, device: str = "cpu") -> RunConfig:
    return configure(
        task("digits"),
        Row("full"),
        data=load(task("digits"), None).checksum(),
        epochs=epochs,
        batch_size=256,
        seed=seed,
        device=device,
        threads=1,
    )


def test_failures_and_deaths_are_events_and_the_others_go_on() -> None:
    configs = [config(0, device="nonsense"), config(1, epochs=10_000), config(2)]
    events: list[Event] = []
    for event in run_all(configs, num_workers=1, folders={}):
        if isinstance(event, Advanced) and event.config.seed == 1 and event.epochs_done == 1:
            [process] = multiprocessing.active_children()
            process.kill()
        if not isinstance(event, Advanced):
            events.append(event)
    kinds = [(type(event), event.config.seed) for event in events]
    assert kinds == [
        *[(Started, 0), (Failed, 0), (Started, 1), (Failed, 1), (Started, 2), (Finished, 2)]
    ]
    refused, killed = (event for event in events if isinstance(event, Failed))
    assert "nonsense" in refused.reason
    assert "Traceback" in refused.details
    assert killed.reason == "its process ended with exit code -9"
    assert not multiprocessing.active_children()


def test_leaving_early_ends_the_processes() -> None:
    events = run_all([config(0, epochs=10_000)], num_workers=2, folders={})
    assert isinstance(next(events), Started)
    assert len(multiprocessing.active_children()) == 1
    events.close()
    assert not multiprocessing.active_children()
