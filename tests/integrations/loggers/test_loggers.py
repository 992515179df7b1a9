"""What a run tells is found again in TensorBoard, Weights & Biases, trackio and MLflow."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.loggers.snippets import curves, snippet, told_by_a_run

# What these libraries say to each other is theirs.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

EXACT = {"rel": 1e-6}  # TensorBoard keeps float32


def matches(found: dict[str, dict[int, float]], expected: dict[str, dict[int, float]]) -> None:
    assert found.keys() == expected.keys()
    for name, curve in expected.items():
        assert found[name] == pytest.approx(curve, **EXACT), name


def test_tensorboard_has_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = snippet("tensorboard", folder=str(tmp_path))
    told = told_by_a_run(names["log"])
    names["writer"].close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = {
        tag: {
            event.step: event.value for event in events.Scalars(tag) if event.value == event.value
        }
        for tag in events.Tags()["scalars"]
    }
    matches({tag: curve for tag, curve in found.items() if curve}, curves(told))


def test_weights_and_biases_has_every_number_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    names = snippet("wandb", folder=str(tmp_path))
    told = told_by_a_run(names["log"])
    names["run"].finish()
    wandb.teardown()  # a silent run does not wait until everything is written
    [path] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    found: dict[str, dict[int, float]] = {}
    for content in records_of(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") != "history":
            continue
        row: dict[str, Any] = {
            (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
            for item in record.history.item
        }
        for name, value in row.items():
            if name.startswith("thresher/") and isinstance(value, int | float) and value == value:
                found.setdefault(name, {})[row["thresher/step"]] = value
    assert found.pop("thresher/step") == {step: step for _, step in told}
    matches(found, curves(told))


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of an offline run: LevelDB's log format behind a header of seven bytes."""
    place, record, block = 7, b"", 1 << 15
    while place + 7 <= len(content):
        if block - place % block < 7:  # too little room for a header: padded
            place += block - place % block
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_trackio_has_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    told = told_by_a_run(snippet("trackio")["log"])
    trackio.finish()
    from trackio.sqlite_storage import SQLiteStorage

    [run] = SQLiteStorage.get_runs("pruning")
    found: dict[str, dict[int, float]] = {}
    for row in SQLiteStorage.get_logs("pruning", run):
        for name, value in row.items():
            if name.startswith("thresher/") and isinstance(value, int | float) and value == value:
                found.setdefault(name, {})[row["step"]] = value
    matches(found, curves(told))


def test_mlflow_has_every_number(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with mlflow.start_run() as run:
        told = told_by_a_run(snippet("mlflow")["log"])
    client = mlflow.MlflowClient()
    found: dict[str, dict[int, float]] = {}
    for name in client.get_run(run.info.run_id).data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        curve = {each.step: each.value for each in history if each.value == each.value}
        found |= {name: curve} if curve else {}
    matches(found, curves(told))
