"""One run: repeatable, paired by seed, and its record."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from thresher.bench.run import configure, require_device, train, warm_up
from thresher.bench.suite import Row, RunConfig
from thresher.bench.summary import summarise
from thresher.bench.tasks import task
from thresher.errors import SettingError

TASK = task("digits")
IMAGES = TASK.load(None)


def config(method: str, ratio: float | None = None, *, seed: int = 0, epochs: int = 4) -> RunConfig:
    row = Row(method, ratio)
    return configure(
        TASK, row, data="", epochs=epochs, batch_size=64, seed=seed, device="cpu", threads=1
    )


def trained(one: RunConfig) -> dict[str, Any]:
    return train(one, TASK, IMAGES, lambda *_: None)


def curve(record: dict[str, Any]) -> list[float]:
    # One accuracy of 898 images may be the same by chance; all of them are not.
    return [row["metric"] for row in record["epochs"]]


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    timeless = {name: value for name, value in record.items() if name != "seconds"}
    rows = [
        {name: value for name, value in row.items() if "seconds" not in name}
        for row in record["epochs"]
    ]
    return timeless | {"epochs": rows}


@pytest.mark.usefixtures("unchanged_global_rng")
def test_a_run_repeats_itself() -> None:
    one = config("omission", 0.5)
    first = trained(one)
    assert without_times(first) == without_times(trained(one))
    assert curve(first) != curve(trained(replace(one, seed=1)))


def test_the_record_is_json_and_has_what_a_claim_needs() -> None:
    progress: list[tuple[int, float]] = []
    one = config("repb", 0.5)
    record = train(one, TASK, IMAGES, lambda *step: progress.append(step))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["key"] == one.key
    assert record["config"]["setting"].startswith("RePB(")
    assert record["metric"] == record["epochs"][-1]["metric"] == progress[-1][1]
    assert [done for done, _ in progress] == [1, 2, 3, 4]
    assert record["samples_trained"] == sum(row["trained"] for row in record["epochs"])
    assert record["prune_rate"] == 1 - record["samples_trained"] / (4 * 899)
    assert record["extra_forwards"] == 0
    parts = record["seconds"]
    assert set(parts) == {
        *("training", "cpu", "planning", "closing", "gathering", "scoring", "data", "waiting"),
        *("evaluation", "total"),
    }
    assert parts["training"] > parts["data"] + parts["planning"] > 0


@pytest.mark.parametrize("name", ["random", "random-cycle", "infobatch", "orderdp"])
def test_every_method_trains(name: str) -> None:
    record = trained(config(name, 0.5))
    assert 0 < record["samples_trained"] < 4 * 899
    assert record["metric"] > 15


def test_fewer_epochs_are_full_training_in_less_time() -> None:
    # fewer-epochs of 4 at one half, and 2 epochs outright.
    fewer, two = trained(config("fewer-epochs", 0.5)), trained(config("full", epochs=2))
    assert curve(fewer) == curve(two)
    assert len(fewer["epochs"]) == 2
    assert fewer["prune_rate"] == 0.5
    assert two["prune_rate"] == 0
    assert curve(trained(config("fewer-epochs-scaled", 0.5))) != curve(fewer)


def test_a_step_exponent_is_heeded() -> None:
    published = config("random", 0.5)
    scaled = replace(published, step_exponent=1.0)
    means = [trained(one)["epochs"][-1]["weight_mean"] for one in (published, scaled)]
    assert means == pytest.approx([1.0, 2.0], rel=0.01)


def test_a_library_warning_becomes_a_note_of_the_run() -> None:
    # A method that learns from earlier epochs has nothing to learn from in two.
    record = trained(config("infobatch", 0.5, epochs=2))
    assert any("epoch" in note for note in record["notes"])


def test_warming_up_leaves_no_trace() -> None:
    state = torch.get_rng_state()
    warm_up(TASK, IMAGES, 64, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(SettingError, match=f"--device {device} cannot be used here"):
        require_device(device)


def test_a_run_that_diverges_is_a_result_that_counts() -> None:
    """A step length without bound: the table must not be about the seeds that got away."""
    record = trained(replace(config("repb", 0.5), learning_rate=1e12))
    assert math.isnan(record["metric"])
    assert len(record["epochs"]) < 4
    assert any("diverged" in note for note in record["notes"])
    full = trained(config("full"))
    rows = {Row("full"): {0: full, 1: full}, Row("repb", 0.5): {0: record, 1: full}}
    _, line = summarise(rows, margin=0.5)
    assert line.verdict == "diverged"
