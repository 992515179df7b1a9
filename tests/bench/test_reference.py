"""Static methods in a comparison: their names, their reference model, and what they are charged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from static.found import CLASSES
from thresher.bench import reference, training
from thresher.bench.catalogue import METHODS, build_method
from thresher.bench.chosen_once import STATIC
from thresher.bench.reference import References
from thresher.bench.run import configure, train
from thresher.bench.suite import Row, RunConfig, reference_epochs
from thresher.bench.summary import charged
from thresher.bench.tasks import task
from thresher.cli import main
from thresher.static import StaticMethod

TASK = task("digits")
IMAGES = TASK.load(None)
SIZE, EPOCHS = 899, 5


def config(method: str, *, seed: int = 0, ratio: float = 0.5) -> RunConfig:
    return configure(
        TASK,
        Row(method, ratio),
        data="",
        epochs=EPOCHS,
        batch_size=64,
        seed=seed,
        device="cpu",
        threads=1,
    )


def trained(one: RunConfig, references: References | None = None) -> dict[str, Any]:
    return train(one, TASK, IMAGES, lambda _done, _metric: None, references)


def chosen(name: str, references: References, seed: int = 0) -> Any:
    one = config(name, seed=seed)
    method = build_method(name, 0.5, seed)
    assert isinstance(method, StaticMethod)
    return references.choose(method, one, TASK, IMAGES)


@pytest.fixture
def epochs_trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all epochs that reference models are trained, as they come."""
    seeds: list[int] = []

    def train_epoch(parts: Any, *rest: Any) -> Any:
        seeds.append(parts.loader.generator.initial_seed())
        return training.train_epoch(parts, *rest)

    monkeypatch.setattr(reference, "train_epoch", train_epoch)
    return seeds


def test_every_static_method_of_the_library_can_be_compared() -> None:
    named = [type(build_method(name, 0.5)) for name in STATIC]
    assert set(named) == set(CLASSES), "bench/chosen_once.py"
    assert len(named) == len(CLASSES)
    assert METHODS.items() >= {name: static.text for name, static in STATIC.items()}.items()


def test_a_reference_is_trained_exactly_where_something_is_asked_of_it() -> None:
    for name in STATIC:
        method = build_method(name, 0.5)
        assert isinstance(method, StaticMethod)
        assert (reference_epochs(name, 10) is None) == (method.wants() == ())
    assert reference_epochs("herding(balanced=true)", 4) == 1
    assert reference_epochs("forgetting", 7) == 7


def test_a_static_method_draws_by_the_seed_of_the_run_unless_it_is_given_one() -> None:
    assert config("static-random", seed=3).setting == "Random(balanced=False, seed=3)"
    assert config("static-random(seed=7)", seed=3).setting == "Random(balanced=False, seed=7)"


@pytest.mark.parametrize(
    ("name", "epochs", "forwards"),
    [("el2n", 1, SIZE), ("forgetting", EPOCHS, 0), ("static-random", 0, 0)],
)
@pytest.mark.usefixtures("unchanged_global_rng")
def test_the_record_has_what_the_choice_cost_apart(name: str, epochs: int, forwards: int) -> None:
    record = trained(config(name))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["config"].get("reference_epochs", 0) == epochs
    assert record["reference_samples"] == epochs * SIZE
    assert record["extra_forwards"] == forwards
    assert record["samples_trained"] == EPOCHS * round(SIZE / 2)
    seconds = record["seconds"]
    assert (seconds["reference"] > 0) == (epochs > 0)
    assert (seconds["collecting"] > 0) == (forwards > 0)
    assert seconds["selecting"] > 0
    parts = ("reference", "collecting", "selecting", "training")
    assert charged(record) == pytest.approx(sum(seconds[part] for part in parts))


def test_a_shared_reference_is_trained_once_and_charged_to_each(epochs_trained: list[int]) -> None:
    references = References()
    costs = [chosen(name, references)[1] for name in ("el2n", "herding", "el2n", "forgetting")]
    assert len(epochs_trained) == 1 + EPOCHS
    assert costs[0].reference == costs[1].reference == costs[2].reference > 0
    assert costs[0].collecting == costs[2].collecting > 0
    assert [cost.trained for cost in costs] == [SIZE, SIZE, SIZE, EPOCHS * SIZE]
    chosen("el2n", references, seed=1)
    assert len(epochs_trained) == 2 + EPOCHS
    # Nobody's weights or order are those of the model that is trained on the subset.
    assert set(epochs_trained).isdisjoint({0, 1})


def test_sharing_changes_no_choice() -> None:
    references = References()
    for name in ("forgetting", "el2n", "k-center-greedy", "info-max(information=forgetting)"):
        shared, alone = chosen(name, references)[0], chosen(name, References())[0]
        assert shared == alone
        assert len(shared.ids) == round(SIZE / 2)


def test_weights_of_a_subset_have_mean_one() -> None:
    subset, _ = chosen("craig", References())
    assert float(subset.weights.mean()) == pytest.approx(1.0)
    assert float(subset.weights.std()) > 0.1


def test_a_method_sees_labels_only_if_it_asks_for_them() -> None:
    seen: list[bool] = []

    class Spy:
        balanced = False

        def wants(self) -> tuple[str, ...]:
            return ("features", "probabilities")

        def select(self, data: Any, *, prune_ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(data.labels is None)
            return torch.tensor([0]), torch.ones(1)

    spy: Any = Spy()
    References().choose(spy, config("retrieve"), TASK, IMAGES)
    assert seen == [True]


def test_only_runs_with_a_reference_have_its_length_in_their_key() -> None:
    plain = config("repb")
    assert "reference_epochs" not in plain.as_dict()
    static = config("el2n")
    assert static.as_dict()["reference_epochs"] == 1
    assert static.key != replace(static, reference_epochs=2).key


def test_a_comparison_of_static_methods_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_this_process(configs: Any, **_: Any) -> Any:
        from thresher.bench.workers import Finished, Started

        references = References()
        for one in filter(None, configs):
            yield Started(0, one)
            yield Finished(0, one, trained(one, references))

    monkeypatch.setattr("thresher.bench.workers.run_all", in_this_process)
    monkeypatch.chdir(tmp_path)
    command = ["compare", "--epochs", "3", "--seeds", "1", "--workers", "1", "--out", "out"]
    command += ["--methods", "el2n", "k-center-greedy(balanced=true)"]
    assert main(command) == 0
    # Their rate is that asked for, so the controls of this ratio serve them.
    assert "Controls at achieved rates" not in capsys.readouterr().out
    page = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert "| reference | extra forwards | FLOPs | time |" in page
    assert "| k-center-greedy(balanced=true) |" in page
    before = (tmp_path / "out" / "runs.jsonl").read_bytes()
    assert len(before.splitlines()) == 5
    assert main(command) == 0
    assert "5 of 5 runs are in out/runs.jsonl." in capsys.readouterr().out
    assert (tmp_path / "out" / "runs.jsonl").read_bytes() == before
