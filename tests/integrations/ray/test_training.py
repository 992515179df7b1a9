"""A Ray Train loop trains the planned samples with their weights, through failures too."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Trained, designed, require_same
from integrations.ray.runs import CASES, in_worker

# Of Ray's own code.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray",
    "ignore:unclosed file:ResourceWarning",
    "ignore:subprocess .* is still running:ResourceWarning",
)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One machine for all tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_AUTH_MODE", "disabled")  # it would leave a token in the user's folder
        # For the workers, which are processes of their own.
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        ray.init(
            num_cpus=3,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


def fit_on(
    size: int, folder: Path, *runs: tuple[str, dict[str, Any]], failures: int = 0
) -> tuple[list[list[Any]], dict[str, Any] | None]:
    """What comes of each run on every worker, and the metrics that were reported last."""
    trainer = TorchTrainer(
        in_worker,
        train_loop_config={"runs": list(runs), "folder": str(folder)},
        scaling_config=ScalingConfig(num_workers=size),
        run_config=RunConfig(
            name="run", storage_path=str(folder), failure_config=FailureConfig(failures)
        ),
    )
    metrics = trainer.fit().metrics
    ranks = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]
    return [list(each) for each in zip(*ranks, strict=True)], metrics


class First(NamedTuple):
    """What a first fit leaves.

    Args:
        size: the number of workers.
        folder: where Ray keeps what was reported: a run that was left within an epoch.
        whole: of each number of accumulated batches an uninterrupted run, on every worker.
        refused: what was raised of each mistake, on every worker.
    """

    size: int
    folder: Path
    whole: dict[int, list[Trained]]
    refused: dict[str, list[str]]


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> First:
    """Whole runs, mistakes, and a run that is left. Ray takes long to start its processes."""
    size, folder = request.param, tmp_path_factory.mktemp("ray")
    saved = steps_of(size, 2) + 2
    runs, metrics = fit_on(
        size,
        folder,
        ("fit", {}),
        ("fit", {"accumulation": 3, "prepares": True}),
        *[("refused", {"case": case}) for case in CASES],
        ("by_the_page", {"log": f"{folder}/log", "saves": [saved], "leaves": saved + 2}),
    )
    assert metrics == {"step": saved}
    refused = dict(zip(CASES, runs[2:-1], strict=True))
    return First(size, folder, {1: runs[0], 3: runs[1]}, refused)


def steps_of(size: int, epochs: int) -> int:
    """Optimizer steps of so many epochs, which are pruned."""
    planned = by_hand.by_hand(BATCH * size).batches
    return sum(len(planned[epoch]) for epoch in range(epochs))


@pytest.mark.parametrize("accumulation", [1, 3])
def test_it_trains_what_a_hand_written_loop_does(first: First, accumulation: int) -> None:
    size = BATCH * first.size
    whole, rates = by_hand.by_hand(size, accumulation), designed(size, accumulation)
    require_same(first.whole[accumulation], whole, rates=rates, exact=first.size == 1)


def test_a_job_that_was_left_and_one_that_lost_a_worker_end_as_if_they_had_not(
    first: First,
) -> None:
    left, saved = steps_of(first.size, 2) + 2, steps_of(first.size, 4)
    log = first.folder / "log"
    # The same job, which is left within epoch 2, is run once more, and killed after epoch 3.
    run = {"log": str(log), "saves": [saved], "dies": saved + 2}
    (late,), _ = fit_on(first.size, first.folder, ("by_the_page", run), failures=1)
    for rank, (ours, theirs) in enumerate(zip(late, first.whole[1], strict=True)):
        batches = [(epoch, batch) for epoch in range(EPOCHS) for batch in theirs.batches[epoch]]
        numbered = [[step, *batch] for step, batch in enumerate(batches, 1)]
        lives = numbered[: left + 1] + numbered[left : saved + 1] + numbered[saved:]
        found = Path(f"{log}.{rank}").read_text().splitlines()
        assert [json.loads(line) for line in found] == lives
        assert ours.planned == theirs.planned
        assert ours.rates == theirs.rates[4:]
        assert torch.equal(ours.weights, theirs.weights)


def test_a_loader_that_ray_train_prepares_is_refused_with_the_cure(first: First) -> None:
    for said in first.refused["prepared after"]:
        assert said.startswith("LoaderReplacedError: Ray Train put the wrapped loader into")
        assert "prepare_data_loader(loader, move_to_device=False) leaves it alone" in said
    for said in first.refused["prepared before"]:
        assert said.startswith("LoaderReplacedError: wrap got a loader that Ray Train put around")
        assert "the loader you built, before ray.train.torch.prepare_data_loader" in said


def test_ray_train_leaves_a_sampler_of_batches_alone(first: First) -> None:
    assert set(first.refused["prepared by batches"]) == {"nothing"}
