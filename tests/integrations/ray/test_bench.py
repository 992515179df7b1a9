"""`thresher bench run --ray` on a real local cluster: lost actors, killed drivers, no run twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from thresher.bench import on_ray
from thresher.bench.run import configure, load
from thresher.bench.suite import Row, RunConfig
from thresher.bench.tasks import task
from thresher.bench.workers import Advanced, Event, Failed, Finished, Started

SUITE = """
seeds: 2
tasks:
  digits: {epochs: 3}
rows:
  - methods: [repb]
    prune_ratio: [0.3]
"""


def config(seed: int, *, epochs: int = 1, device: str = "cpu", data: str = "") -> RunConfig:
    return configure(
        task("digits"),
        Row("full"),
        data=data or load(task("digits"), None).checksum(),
        epochs=epochs,
        batch_size=256,
        seed=seed,
        device=device,
        threads=1,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of this machine, for as long as these tests take."""
    started = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield started.address_info["gcs_address"]
    ray.shutdown()


def actors(cluster: str) -> list[int]:
    """The processes in which this cluster's actors train."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::_Trainer"):
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if cluster.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append(int(process.name))
        except OSError:  # it has just ended
            continue
    return found


def shape(event: Event) -> tuple[Any, ...]:
    return type(event), event.config.seed


def test_runs_are_trained_by_actors_and_a_lost_actor_costs_one(cluster: str) -> None:
    configs = [config(0, data="others"), config(1, epochs=10_000), config(2)]
    events: list[Event] = []
    for event in on_ray.run_all(configs, num_workers=1, folders={}, address=cluster):
        if isinstance(event, Advanced):
            if event.config.seed == 1 and event.epochs_done == 1:
                [actor] = actors(cluster)
                os.kill(actor, signal.SIGKILL)
            continue
        events.append(event)
    assert [shape(event) for event in events] == [
        *[(Started, 0), (Failed, 0), (Started, 1), (Failed, 1), (Started, 2), (Finished, 2)]
    ]
    refused, lost = (event for event in events if isinstance(event, Failed))
    assert "are others here" in refused.reason
    assert lost.reason.startswith("its actor is lost: ")
    record = events[-1].record if isinstance(events[-1], Finished) else {}
    assert 0 < record["metric"] <= 100
    assert record["machine"]["cpus"]


def test_the_cluster_says_how_many_runs_it_has_room_for(cluster: str) -> None:
    assert on_ray.num_slots(cluster, "cpu") == 2
    assert on_ray.num_slots(cluster, "cuda") == 1


def command(folder: Path, address: str) -> subprocess.Popen[str]:
    (folder / "suite.yaml").write_text(SUITE)
    arguments = ["bench", "run", "suite.yaml", "--out", "out", "--ray", address]
    return subprocess.Popen(
        [sys.executable, "-m", "thresher", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def keys(folder: Path) -> list[str]:
    path = folder / "out" / "digits" / "runs.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line)["key"] for line in lines]


def test_a_killed_driver_is_continued_by_the_next(cluster: str, tmp_path: Path) -> None:
    with command(tmp_path, cluster) as driver:
        deadline = time.monotonic() + 300
        while not keys(tmp_path):
            assert time.monotonic() < deadline
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    kept = keys(tmp_path)
    with command(tmp_path, cluster) as driver:
        shown, complaints = driver.communicate(timeout=300)
    assert driver.returncode == 0, complaints
    assert f"{len(kept)} of 8 runs are in" in shown
    found = keys(tmp_path)
    assert found[: len(kept)] == kept
    assert len(set(found)) == len(found) >= 8
    assert (tmp_path / "out" / "digits" / "table.md").exists()


def test_only_what_the_cluster_has_room_for_is_at_work(cluster: str) -> None:
    busy, most = set[int](), 0
    configs = [config(seed) for seed in range(3)]
    for event in on_ray.run_all(configs, num_workers=2, folders={}, address=cluster):
        if isinstance(event, Started):
            busy.add(event.worker)
        elif not isinstance(event, Advanced):
            busy.discard(event.worker)
        most = max(most, len(busy))
    assert most == 2
