"""Under torchrun itself every method plans and descends as one process does, whole or in shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.drive import losses, run
from contracts.found import short
from parallel import jobs
from parallel.under_torchrun import DETERMINISTIC, EPOCHS, EVERY, GLOBAL, SIZE, STEPS_OF

TESTS = Path(__file__).parents[1]
WARNS = pytest.mark.filterwarnings("ignore:.* cannot save ")


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What every rank of a job of torchrun found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={request.param}", "-m", "parallel.under_torchrun", str(folder)]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@WARNS
def test_plans_are_bit_equal_to_those_of_one_process(ranks: list[Any]) -> None:
    alone = jobs.plans(0, EVERY, SIZE, GLOBAL, EPOCHS, 1)
    for found in ranks:
        for method, ours, theirs in zip(EVERY, alone, found["plans"], strict=True):
            assert theirs == ours, short(method)


@WARNS
def test_every_steps_gradient_is_that_of_one_process(ranks: list[Any]) -> None:
    alone = jobs.gradients(0, EVERY, STEPS_OF, GLOBAL, 3, {})
    for found in ranks:
        for method, ours, theirs in zip(EVERY, alone, found["gradients"], strict=True):
            assert len(ours) == len(theirs), short(method)
            for one, many in zip(ours, theirs, strict=True):
                torch.testing.assert_close(many, one, rtol=0, atol=1e-6)


@WARNS
def test_a_deterministic_rule_keeps_on_shards_what_one_process_keeps(ranks: list[Any]) -> None:
    table = losses(SIZE, EPOCHS)
    for number, method in enumerate(DETERMINISTIC):
        plans = run(method, table)[1]
        assert min(map(len, plans)) < SIZE
        for epoch, plan in enumerate(plans):
            kept = [id_ for found in ranks for id_ in found["shards"][number][epoch]["ids"]]
            assert sorted(kept) == sorted(plan.ids.tolist()), short(method)
