"""Real sweeps in real processes, killed wherever it happens to hit them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thresher.bench.claims import Claims

SUITE = """
seeds: 2
tasks:
  short: {task: digits, epochs: 3}
  LONG
rows:
  - methods: [repb]
    prune_ratio: [0.3]
"""
NUM_RUNS = 2 * 4
WAIT = 300


@contextmanager
def bench(folder: Path, *arguments: str, is_long: bool = False) -> Iterator[subprocess.Popen[str]]:
    long = "long: {task: digits, epochs: 6}" if is_long else ""
    (folder / "suite.yaml").write_text(SUITE.replace("LONG", long))
    command = [sys.executable, "-W", "error", "-m", "thresher", "bench", *arguments]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


RUN = ("run", "suite.yaml", "--out", "out", "--workers", "1")


def finished(folder: Path) -> list[str]:
    """The finished lines of all tasks, whole ones, in the order of the files."""
    return [
        line
        for path in sorted((folder / "out").glob("*/runs.jsonl"))
        for line in path.read_text("utf-8").split("\n")[:-1]
    ]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def claimed(folder: Path) -> list[Path]:
    return list((folder / "out").glob("*/claims/*"))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kill it, and see that its workers, who can be told nothing, end at once."""
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: all(map(is_gone, workers)))


def check_whole(folder: Path, *names: str) -> None:
    keys = [json.loads(line)["key"] for line in finished(folder)]
    assert len(set(keys)) == len(keys), "a run was made twice"
    # More, if a method could not save what it was asked: then it has brought controls.
    assert len(keys) >= NUM_RUNS * len(names)
    for name in names:
        # A file may be left of one who was killed between the end of a run and giving it back.
        assert Claims(folder / "out" / name / "claims").of_others() == {}
        assert (folder / "out" / name / "table.md").read_text("utf-8").count("| repb |") == 1


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds workers in Linux's /proc"
)


def test_of_two_at_once_one_is_killed_and_the_other_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, *RUN) as killed, bench(tmp_path, *RUN) as other:
        until(lambda: len(finished(tmp_path)) >= 3 and claimed(tmp_path))
        kept = finished(tmp_path)
        kill_9(killed)
        path = tmp_path / "out" / "short" / "runs.jsonl"
        with path.open("a") as file:
            # As if it had been in the middle of a line.
            file.write('{"key": "cut o')
        shown, complaints = other.communicate(timeout=WAIT)
        assert other.returncode == 0, complaints
        assert complaints == ""
    assert finished(tmp_path)[: len(kept)] == kept
    path.write_text(path.read_text("utf-8").replace('{"key": "cut o\n', ""), "utf-8")
    check_whole(tmp_path, "short")
    assert "Written: out/short/table.md" in shown


def killed_somewhere(folder: Path, rng: random.Random) -> bool:
    """Go on with a sweep until it has made a run, and kill it; tell whether it ended before."""
    before = finished(folder)
    with bench(folder, *RUN, is_long=True) as process:
        began = time.monotonic()
        until(lambda: process.poll() is not None or len(finished(folder)) > len(before))
        # As long again, at most: then it may be anywhere, however fast the machine is.
        end = time.monotonic() + rng.random() * (time.monotonic() - began)
        until(lambda: process.poll() is not None or time.monotonic() > end)
        if process.poll() is None:
            if rng.random() < 0.5 and (workers := children(process.pid)):
                os.kill(rng.choice(workers), signal.SIGKILL)
                time.sleep(rng.random())
            kill_9(process)
    assert set(before) <= set(finished(folder))
    return process.returncode == 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_all_the_time_comes_to_its_end(tmp_path: Path) -> None:
    rng, rounds = random.Random(2), 1
    while not killed_somewhere(tmp_path, rng):
        rounds += 1
    assert rounds > 2
    check_whole(tmp_path, "short", "long")
