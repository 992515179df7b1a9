"""kill -9 of one of four ranks: torchrun starts the job again, and it ends as if never killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from faults.conftest import TESTS, Zygote
from faults.ddp_script import ENVIRONMENT, EPOCHS, STEPS_PER_SAVE
from faults.script import METHODS
from faults.seats import WORLD_SIZE, Kill, Killer
from faults.test_killed_runs import entries
from small_runs import differences

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--monitor-interval=0.1"]
TORCHRUN += [f"--nproc-per-node={WORLD_SIZE}"]

# After how many entries of a phase, and how much later at most, in seconds. A step has one entry
# and one more after each exchange, of which an epoch has three; a save has up to five.
MOMENTS = {"start": (1, 0.1), "step": (12, 0.004), "exchange": (6, 0.002), "save": (8, 0.004)}

Starter = Callable[[Path, int, str, str], tuple[int, str]]


class Ended(NamedTuple):
    """How a job ended: where each victim was when it was killed, and where the others were."""

    folder: Path
    victims: list[str]
    others: list[str]


def moments(seed: int, count: int) -> list[Kill]:
    """Random moments to kill at, on random ranks, that begin in every phase equally often."""
    rng = random.Random(seed)
    chosen = []
    for kill in range(count):
        phase = ["exchange", "save", "step", "start"][kill % 4]
        most, latest = MOMENTS[phase]
        # Of each phase one at its very beginning, which no machine is too fast for.
        delay = rng.uniform(0, latest) if kill >= 4 else 0.0
        chosen.append(Kill(rng.randrange(WORLD_SIZE), phase, rng.randint(1, most), delay))
    rng.shuffle(chosen)
    return chosen


def under_torchrun(folder: Path, restarts: int, method: str, without: str) -> tuple[int, str]:
    """Start the job as a user does, on the command line."""
    done = subprocess.run(
        [
            *TORCHRUN,
            f"--max-restarts={restarts}",
            "-m",
            "faults.ddp_script",
            folder,
            method,
            without,
        ],
        capture_output=True,
        text=True,
        cwd=TESTS,
        env={**os.environ, **ENVIRONMENT},
        timeout=60 + 60 * restarts,
        check=False,
    )
    return done.returncode, done.stderr


def by_its_agent(zygote: Zygote, fault: str = "") -> Starter:
    """Start the job with torchrun's agent in a process that has imported torch already.

    Args:
        zygote: that process.
        fault: what goes wrong in its first life.
    """

    def start(folder: Path, restarts: int, method: str, without: str) -> tuple[int, str]:
        output = folder / "output"
        arguments = {"folder": str(folder), "method": method, "without": without}
        arguments |= {"fault": fault}
        code, _ = zygote.run("faults.ddp_script:agent", output, max_restarts=restarts, **arguments)
        return code, output.read_text()

    return start


def lived(
    start: Starter, folder: Path, kills: list[Kill], method: str = "RePB", without: str = ""
) -> Ended:
    """Run the job, kill a rank at each moment, and let it end."""
    folder.mkdir()
    killer = Killer(folder / "seats", kills)
    killer.start()
    # One more than kills would do; but a test should not fail because a port was taken.
    code, output = start(folder, len(kills) + 2, method, without)
    killer.join(1)
    assert code == 0, output
    assert len(killer.victims) == len(kills), output
    return Ended(folder, killer.victims, killer.others)


def final(folder: Path, rank: int) -> dict[str, Any]:
    """What a rank had at the end; what was sent is counted anew in each life."""
    found = torch.load(folder / f"rank{rank}" / "final.pt", weights_only=True)
    found["pruner"]["clock"]["rows"][:, -4] = 0
    return found


def assert_equal(killed: Path, whole: Path, *, are_planned: bool = True) -> int:
    """Compare every plan, batch, loss and final state; return how many steps the job has."""
    plans, num_steps = list[Any](), 0
    for rank in range(WORLD_SIZE):
        expected, found = entries(whole / f"rank{rank}"), entries(killed / f"rank{rank}")
        steps = [number for kind, number in expected if kind == "step"]
        assert steps == list(range(1, len(steps) + 1))
        plans.append({key: entry for key, entry in expected.items() if key[0] == "epoch"})
        assert len(plans[-1]) == (EPOCHS if are_planned else 0)
        assert found == expected
        assert not differences(final(killed, rank), final(whole, rank))
        num_steps = len(steps)
    assert all(each == plans[0] for each in plans)
    return num_steps


@pytest.fixture(scope="session")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The job that nobody killed, by the method's name."""
    found: dict[str, Path] = {}

    def of(method: str) -> Path:
        if method not in found:
            folder = tmp_path_factory.mktemp("whole") / method
            found[method] = lived(by_its_agent(zygote), folder, [], method).folder
        return found[method]

    return of


def test_a_job_killed_in_every_phase_ends_as_the_one_that_was_not(
    zygote: Zygote, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    ended = lived(by_its_agent(zygote), tmp_path / "killed", moments(seed=0, count=4))
    assert len(set(ended.victims)) >= 2
    assert_equal(ended.folder, whole("RePB"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_so_does_a_job_of_each_method(
    zygote: Zygote, whole: Callable[[str], Path], tmp_path: Path, method: str, seed: int
) -> None:
    ended = lived(by_its_agent(zygote), tmp_path / "killed", moments(seed, 10), method)
    are_planned = METHODS[method].family != "online"
    steps = assert_equal(ended.folder, whole(method), are_planned=are_planned)
    print(method, seed, dict(Counter(ended.victims)), dict(Counter(ended.others)), steps, "steps")


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "count"), [(3, 1), (4, 10), (5, 10)])
def test_so_does_one_that_torchrun_starts_on_its_command_line(
    whole: Callable[[str], Path], tmp_path: Path, seed: int, count: int
) -> None:
    ended = lived(under_torchrun, tmp_path / "killed", moments(seed, count))
    assert_equal(ended.folder, whole("RePB"))
    print(seed, dict(Counter(ended.victims)), dict(Counter(ended.others)))


@pytest.mark.parametrize(
    "line", ["set_rng_state", pytest.param("model(example)", marks=pytest.mark.slow)]
)
def test_without_a_line_of_the_recipe_the_job_ends_otherwise(
    line: str, zygote: Zygote, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    """The comparison can fail, and the recipe has nothing to spare."""
    kills = [Kill(rank=1, phase="step", times=20, delay=0.0)]
    start = by_its_agent(zygote)
    ended = lived(start, tmp_path / "killed", kills, without=line)
    if line == "model(example)":  # which also comes before the first step
        expected = lived(start, tmp_path / "whole", [], without=line).folder
    else:
        expected = whole("RePB")
    with pytest.raises(AssertionError):
        assert_equal(ended.folder, expected)


def tells(output: str, why: str) -> bool:
    """Whether the agent tells why the job ended, or of a rank that lost its connection by that.

    Of ranks that it finds dead at one look it tells of any.
    """
    return why in output or "gloo" in output


def test_a_full_disk_ends_the_job_and_one_with_space_goes_on_from_the_last_checkpoint(
    zygote: Zygote, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    Killer(folder / "seats", []).start()
    code, output = by_its_agent(zygote, fault="disk")(folder, 0, "RePB", "")
    assert code != 0
    assert tells(output, "unexpected pos"), "which is how torch.save says so"
    state = torch.load(folder / "run.pt", weights_only=True)
    assert state["step"] == 3 * STEPS_PER_SAVE
    code, output = by_its_agent(zygote)(folder, 0, "RePB", "")
    assert code == 0, output
    assert_equal(folder, whole("RePB"))


def test_a_data_set_that_fails_once_on_one_rank_costs_a_restart_and_no_more(
    zygote: Zygote, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    Killer(folder / "seats", []).start()
    code, output = by_its_agent(zygote, fault="data")(folder, 1, "RePB", "")
    assert code == 0, output
    assert tells(output, "cannot be read")
    assert len(list((folder / "rank0").glob("log-*"))) == 2
    assert_equal(folder, whole("RePB"))
