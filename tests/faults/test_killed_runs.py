"""kill -9 of a real process, 20 times in one run: it ends as the run that was never killed."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from faults.conftest import Death, Zygote
from faults.script import EPOCHS, METHODS, STEPS_PER_SAVE
from small_runs import differences

KILLS = 20

# After how many entries of a phase, and how much later at most, in seconds: a restart takes about
# 20 ms, a step 1 ms, a save 2 ms.
MOMENTS = {
    "start": (1, 0.02),
    "step": (7, 0.002),
    "log": (7, 0.001),
    "save": (2, 0.003),
    "fetch": (7, 0.002),
}


def moments(seed: int) -> list[tuple[str, int, float]]:
    """Random moments to kill at, that begin in every phase equally often."""
    rng = random.Random(seed)
    chosen = []
    for kill in range(KILLS):
        phase = list(MOMENTS)[kill % len(MOMENTS)]
        most, latest = MOMENTS[phase]
        # Of each phase one at its very beginning, which no machine is too fast for.
        delay = rng.uniform(0, latest) if kill >= len(MOMENTS) else 0.0
        chosen.append((phase, rng.randint(1, most), delay))
    rng.shuffle(chosen)
    return chosen


def entries(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What all lives of a script logged: epochs by their number, batches by their step.

    A step that was lost with its life and trained again is logged twice: to the bit the same.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for log in sorted(folder.glob("log-*")):
        for line in log.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # the kill came in the middle of a line
            entry = json.loads(line)
            key = ("step", entry["step"]) if "step" in entry else ("epoch", entry["epoch"])
            assert found.setdefault(key, entry) == entry, f"{log.name}: {key}"
    return found


def lived(zygote: Zygote, folder: Path, *kills: tuple[str, int, float], **settings: Any) -> Any:
    """Run the script, kill it at each moment, let it end; return how it died each time."""
    folder.mkdir()
    output, deaths = folder / "output", list[Death]()
    for kill in (*kills, None):
        death = zygote.run("faults.script:main", output, kill, folder=str(folder), **settings)
        deaths.append(death)
        assert death.code == (-9 if kill else 0), (kill, death, output.read_text())
    return deaths


def assert_survives_kills(zygote: Zygote, folder: Path, seed: int, **settings: Any) -> None:
    lived(zygote, folder / "whole", **settings)
    deaths = lived(zygote, folder / "killed", *moments(seed), **settings)
    phases = Counter(death.phase for death in deaths[:-1])
    assert sum(phases.values()) == KILLS
    assert phases["start"] > 0
    assert phases["save"] > 0
    assert phases["step"] + phases["log"] + phases["fetch"] > 0

    whole, killed = entries(folder / "whole"), entries(folder / "killed")
    steps = [number for kind, number in whole if kind == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 5 * KILLS
    planned = [number for kind, number in whole if kind == "epoch"]
    assert planned == list(range(EPOCHS)) or METHODS[settings["method"]].family == "online"
    assert killed == whole
    # Each life trained steps that the one before had lost.
    logs = sorted((folder / "killed").glob("log-*"))
    assert sum(len(log.read_text().splitlines()) for log in logs) > len(whole)

    final = [
        torch.load(folder / run / "final.pt", weights_only=True) for run in ("whole", "killed")
    ]
    assert final[0]["step"] == len(steps)
    assert not differences(*final)
    left = {
        path.name for path in (folder / "killed").rglob("*") if not path.name.startswith("log-")
    }
    print({**settings, "seed": seed}, dict(phases), len(steps), "steps;", sorted(left)[:3])


def test_a_run_killed_20_times_ends_as_the_one_that_was_not(zygote: Zygote, tmp_path: Path) -> None:
    assert_survives_kills(zygote, tmp_path, seed=0, method="RePB")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["OneFile", "Folders"])
@pytest.mark.parametrize("method", METHODS)
def test_so_does_a_run_of_each_method_saved_as_one_file_or_as_a_folder(
    zygote: Zygote, tmp_path: Path, method: str, layout: str
) -> None:
    for seed in (1, 2, 3):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        assert_survives_kills(zygote, folder, seed=seed, method=method, layout=layout)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["RePB", "SelectiveBackprop"])
def test_so_does_a_run_with_workers(zygote: Zygote, tmp_path: Path, method: str) -> None:
    assert_survives_kills(zygote, tmp_path, seed=4, method=method, num_workers=2)


def test_a_run_that_loses_its_random_stream_is_found_out(zygote: Zygote, tmp_path: Path) -> None:
    """The comparison can fail: without torch's random state, dropout differs after a kill."""
    lived(zygote, tmp_path / "whole", method="RePB")
    kill = ("step", STEPS_PER_SAVE + 2, 0.0)
    lived(zygote, tmp_path / "killed", kill, method="RePB", forgets_randomness=True)
    with pytest.raises(AssertionError):
        assert entries(tmp_path / "killed") == entries(tmp_path / "whole")
