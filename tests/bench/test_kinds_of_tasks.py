"""Every task on made-up data of its format, and on the real data where they are found."""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.stand_ins import SHARED, TASKS
from thresher.bench import catalogue
from thresher.bench.run import configure, train
from thresher.bench.suite import Row, RunConfig
from thresher.bench.tasks import Data, Task, fashion_mnist, task
from thresher.bench.words import vocabulary
from thresher.errors import ThresherError

BATCH = 16


def trained(
    chosen: Task, data: Data, *, epochs: int, batch: int = BATCH, method: str = "repb"
) -> dict[str, Any]:
    one = configure(
        chosen,
        Row(method, None if method == "full" else 0.3),
        data="",
        epochs=epochs,
        batch_size=batch,
        seed=0,
        device="cpu",
        threads=1,
    )
    return train(one, chosen, data, lambda *_: None)


def test_every_task_that_reads_files_is_tried_here() -> None:
    assert set(TASKS) == set(catalogue.TASKS) - {"digits"}


def test_a_task_is_a_short_file() -> None:
    folder = Path(catalogue.__file__).parent / "tasks"
    for path in folder.glob("[a-z]*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.name


def check(record: dict[str, Any], chosen: Task, size: int) -> None:
    assert json.loads(json.dumps(record, allow_nan=False))["measure"]["name"] == chosen.metric.name
    assert 2 * size < record["samples_trained"] < 3 * size
    assert math.isfinite(record["metric"])
    curve = [row["metric"] for row in record["epochs"]]
    assert len(curve) == 3
    assert record["flops"]["full"] == 3 * size * record["flops"]["step"] > 0


@pytest.mark.parametrize("name", [name for name in TASKS if name != "imagenet"])
def test_every_task_trains_on_made_up_data(name: str, data_of: Callable[[str], Data]) -> None:
    chosen, data = task(name), data_of(name)
    part = data.head(3 * BATCH, 40)
    record = trained(chosen, part, epochs=3)
    check(record, chosen, 3 * BATCH)
    again = trained(chosen, part, epochs=3)
    assert [row["metric"] for row in again["epochs"]] == [row["metric"] for row in record["epochs"]]
    shown = data.shown(5)
    assert shown if isinstance(shown, str) else (shown.dtype, shown.ndim) == (torch.uint8, 3)


REAL = {
    "fashion-mnist": 60_000,
    "fashion-mnist-vit": 20_000,
    "cifar10": 50_000,
    "cifar10-vit": 20_000,
    "cifar10n": 15_000,
    "cifar10n-worse": 15_000,
    "cifar100": 50_000,
    "ag-news": 14_547,
    "ag-news-noisy": 9_993,
    "esc10": 320,
    "tinyshakespeare": 5_000,
}


def _slow_if_all_its_own(name: str) -> Any:
    # No other task reads its file, and nothing but the number of classes is another.
    return pytest.param(name, marks=pytest.mark.slow) if name == "cifar100" else name


@pytest.mark.usefixtures("images_once")
@pytest.mark.parametrize("name", [*map(_slow_if_all_its_own, REAL)])
def test_every_task_trains_on_the_real_data(name: str) -> None:
    is_installed = TASKS[name] == "fashion-mnist" and fashion_mnist.DEBIAN_FOLDER.is_dir()
    if not is_installed and not (SHARED / TASKS[name]).is_dir():
        pytest.skip("the data are not on this machine")
    chosen = task(name)
    data = chosen.load(None if is_installed else SHARED)
    assert len(data) == REAL[name]
    check(trained(chosen, data.head(3 * BATCH, 40), epochs=3), chosen, 3 * BATCH)
    wrong = chosen.known_wrong(data)
    share = {"cifar10n": 0.0903, "cifar10n-worse": 0.402, "ag-news-noisy": 0.197}.get(name)
    assert (wrong is None) == (share is None)
    if wrong is not None:
        # Of a part of CIFAR-10N's 50,000: within four standard errors.
        assert share is not None
        error = (share * (1 - share) / len(data)) ** 0.5
        assert float(wrong.float().mean()) == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize(
    ("name", "epochs", "reached"),
    [("ag-news", 8, 90.0), ("esc10", 3, 30.0), ("tinyshakespeare", 3, 3.5)],
)
def test_what_can_be_learned_is_learned(
    name: str, epochs: int, reached: float, data_of: Callable[[str], Data]
) -> None:
    chosen = task(name)
    size = 80 if name == "esc10" else 300
    record = trained(chosen, data_of(name).head(size, 40), epochs=epochs, method="full")
    gain = chosen.metric.gain(record["metric"], reached)
    assert gain > 0, record["metric"]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *[("ag-news", "el2n"), ("ag-news", "k-center-greedy"), ("ag-news", "forgetting")],
        *[("ag-news", "importance-sampling"), ("ag-news", "kakurenbo")],
        *[("tinyshakespeare", "el2n"), ("tinyshakespeare", "static-random")],
        *[("tinyshakespeare", "selective-backprop"), ("tinyshakespeare", "omission")],
        *[("tinyshakespeare", "kakurenbo"), ("fashion-mnist-vit", "herding")],
    ],
)
def test_methods_of_every_family_train_on_what_is_no_picture(
    name: str, method: str, data_of: Callable[[str], Data]
) -> None:
    part = data_of(name).head(3 * BATCH, 10)
    record = trained(task(name), part, epochs=3, method=method)
    assert 0 < record["samples_trained"] <= 9 * BATCH
    assert math.isfinite(record["metric"])


@pytest.mark.parametrize("method", ["forgetting", "deepfool", "herding"])
def test_what_a_text_of_characters_cannot_tell_is_refused(
    method: str, data_of: Callable[[str], Data]
) -> None:
    part = data_of("tinyshakespeare").head(3 * BATCH, 10)
    with pytest.raises(ThresherError, match="expected"):
        trained(task("tinyshakespeare"), part, epochs=3, method=method)


@pytest.mark.parametrize(
    ("name", "original"),
    [("cifar10n", "cifar10"), ("cifar10n-worse", "cifar10"), ("ag-news-noisy", "ag-news")],
)
def test_noisy_labels_are_trained_on_and_clean_ones_tested_on(
    name: str, original: str, data_of: Callable[[str], Data]
) -> None:
    data, clean = data_of(name), data_of(original)
    wrong = task(name).known_wrong(data)
    assert wrong is not None
    assert wrong.dtype == torch.bool
    assert 0.1 < float(wrong.float().mean()) < 0.3
    assert data.clean_labels is not None
    assert torch.equal(wrong, data.train_labels != data.clean_labels)
    part = task(name).known_wrong(data.head(10, 5))
    assert part is not None
    assert torch.equal(part, wrong[:10])
    assert torch.equal(data.test_labels, clean.test_labels)
    assert task(original).known_wrong(clean) is None


def test_words_are_numbered_by_how_often_they_come() -> None:
    words = vocabulary(["b a B", "c b, a, d"], 5)
    assert words == {"b": 2, "a": 3, "c": 4}


def test_texts_are_padded_and_unknown_words_are_one(data_of: Callable[[str], Data]) -> None:
    data: Any = data_of("ag-news")
    assert data.train_tokens.shape == (300, 40)
    tokens = data.train_tokens[7].tolist()
    assert 0 not in tokens[:3]
    assert tokens[3:] == [0] * 37
    assert data.shown(7) == "Rocket number 7"
    assert int(data.train_tokens.max()) < 8_000


def test_each_character_is_labelled_with_the_next(data_of: Callable[[str], Data]) -> None:
    data: Any = data_of("tinyshakespeare")
    inputs, targets = data.train_tokens, data.train_labels
    assert torch.equal(inputs[:, 1:].long(), targets[:, :-1])
    # Windows share no predicted character, and follow each other.
    assert torch.equal(inputs[1:, 0].long(), targets[:-1, -1])
    known = sorted(set(data.shown(0)) | set(data.shown(1)))
    assert known[int(inputs[3, 0])] == data.shown(3)[0]
    assert len(data.shown(3)) == 65


@pytest.mark.parametrize(
    ("name", "size", "batch"), [("cifar10@paper", 6, 3), ("cifar100@paper", 6, 3)]
)
def test_the_papers_settings_run(
    name: str, size: int, batch: int, data_of: Callable[[str], Data]
) -> None:
    chosen, data = task(name), data_of(name.split("@")[0])
    budget = chosen.budget
    assert (budget.epochs, budget.batch_size, budget.warm_up, budget.drop_last) == (
        *(200, 128, 0.1, True),
    )
    record = trained(chosen, data.head(size + 1, 4), epochs=2, batch=batch, method="full")
    assert record["config"]["task"] == name
    assert record["config"]["drop_last"] is True
    assert record["samples_trained"] == 2 * size
    network = chosen.model.build()
    assert sum(p.numel() for p in network.parameters()) > 11_000_000


def test_photographs_train_a_resnet_50(data_of: Callable[[str], Data]) -> None:
    for name in ("imagenet", "imagenet@paper"):
        assert task(name).budget.epochs == 90
    chosen = task("imagenet")
    data = data_of("imagenet")
    assert len(data) == 12
    record = trained(chosen, data.head(2, 1), epochs=1, batch=2, method="full")
    assert record["samples_trained"] == 2
    assert record["flops"]["forward"] == pytest.approx(2 * 4.09e9, rel=0.01)
    assert data.checksum() != data.head(11, 12).checksum()


@pytest.mark.parametrize(
    ("name", "message"), [("digits@paper", "no paper settings"), ("cifar10@huge", "no huge")]
)
def test_settings_that_no_paper_has_are_refused(name: str, message: str) -> None:
    with pytest.raises(catalogue.UnknownNameError, match=f"{message}.*cifar10, cifar100, imagenet"):
        task(name)


@pytest.mark.parametrize(
    ("name", "data", "epochs", "key"),
    [
        ("fashion-mnist", "c9293d1e", 10, "b58c2a6d4d79f8e2"),
        ("cifar10", "100709e5", 12, "424b91a3230e044a"),
    ],
)
def test_runs_of_earlier_versions_keep_their_key(
    name: str, data: str, epochs: int, key: str
) -> None:
    # The first runs of docs/results; or none of them could be continued.
    one = configure(
        task(name),
        Row("full"),
        data=data,
        epochs=epochs,
        batch_size=128,
        seed=0,
        device="cpu",
        threads=1,
    )
    assert one.key == key


def test_a_committed_run_has_the_key_of_its_configuration() -> None:
    folder = Path(__file__).parents[2] / "docs" / "results" / "fashion-mnist"
    path = next(path for path in (folder / "runs.jsonl", folder / "runs.jsonl.xz") if path.exists())
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt") as file:
        record = json.loads(next(file))
    assert RunConfig(**record["config"]).key == record["key"]
