"""What is kept of samples: counts and excess as defined, in one small file a row."""

import base64
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.bench import kept
from thresher.bench.kept import Samples, packed, path_of, read, stored
from thresher.bench.run import configure, train
from thresher.bench.store import Store
from thresher.bench.suite import Row
from thresher.bench.tasks import task
from thresher.diagnostics import SampleRecorder
from thresher.diagnostics.samples import by_excess
from thresher.errors import SettingError

TASK = task("digits")
IMAGES = TASK.load(None)


def record_of(method: str, *, seed: int = 0, ratio: float | None = 0.5) -> dict[str, Any]:
    config = configure(
        TASK, Row(method, ratio), data="", epochs=4, batch_size=64, seed=seed, device="cpu",
        threads=1,
    )  # fmt: skip
    return train(config, TASK, IMAGES, lambda *_: None)


def unpacked(text: str | None) -> Samples:
    assert text is not None
    with np.load(io.BytesIO(base64.b64decode(text))) as file:
        return Samples(
            visits=file["visits"],
            excess=file["excess"],
            seed=int(file["seed"]),
            epochs=int(file["epochs"]),
        )


epochs_of_batches = st.lists(
    st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.floats(-5, 5)), min_size=1, max_size=4),
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(epochs_of_batches)
def test_visits_and_excess_are_what_their_definition_says(
    epochs: list[list[list[tuple[int, float]]]],
) -> None:
    one = SampleRecorder(7)
    visits, excess = [0] * 7, [0.0] * 7
    for batches in epochs:
        for batch in batches:
            ids, losses = zip(*batch, strict=True)
            one.take(np.array(ids), torch.tensor(losses, dtype=torch.float64))
        one.close_epoch()
        everything = [pair for batch in batches for pair in batch]
        for sample, loss in everything:
            visits[sample] += 1
            excess[sample] += loss - sum(other for _, other in everything) / len(everything)
    found = unpacked(packed(one, seed=3))
    assert found.visits.tolist() == visits
    assert (found.seed, found.epochs) == (3, len(epochs))
    means = [
        total / count if count else np.nan for total, count in zip(excess, visits, strict=True)
    ]
    # Half a step of 1/32, and half a unit of float16 below 16.
    np.testing.assert_allclose(found.excess, means, atol=1 / 64 + 1 / 256)


def test_a_broken_loss_counts_as_a_visit_and_spoils_nobodys_excess() -> None:
    one = SampleRecorder(3)
    one.take(np.array([0, 1, 2]), torch.tensor([1.0, np.nan, 3.0]))
    one.close_epoch()
    found = unpacked(packed(one, 0))
    assert found.visits.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(found.excess, np.float16([-1, np.nan, 1]))


def test_suspects_are_in_the_order_of_excess_and_the_untrained_come_last() -> None:
    one = SampleRecorder(5)
    one.take(np.array([0, 2, 3, 4]), torch.tensor([2.0, 5.0, 2.0, 1.0]))
    one.close_epoch()
    assert one.suspects().tolist() == [2, 0, 3, 4, 1]
    assert one.visits.counts.tolist() == [1, 0, 1, 1, 1]
    with pytest.raises(SettingError, match="1 sample or more"):
        SampleRecorder(0)


@pytest.mark.parametrize(
    "method", ["full", "random", "orderdp", "ordered-top-q", "el2n", "fewer-epochs"]
)
def test_the_counts_of_a_run_are_the_visits_it_reports(method: str) -> None:
    record = record_of(method, ratio=None if method == "full" else 0.5)
    found = unpacked(record["samples"])
    assert int(found.visits.sum()) == record["samples_trained"]
    assert found.epochs == len(record["epochs"])
    assert np.isnan(found.excess).tolist() == (found.visits == 0).tolist()
    if method == "full":
        assert found.visits.tolist() == [4] * 899


def test_wrong_labels_are_suspected_first() -> None:
    draws = np.random.default_rng(0)
    wrong = draws.choice(899, 45, replace=False)
    labels = IMAGES.train_labels.clone()
    labels[wrong] = (labels[wrong] + 1 + torch.from_numpy(draws.integers(0, 9, 45))) % 10
    config = configure(
        TASK, Row("full"), data="", epochs=6, batch_size=64, seed=0, device="cpu", threads=1
    )
    record = train(config, TASK, replace(IMAGES, train_labels=labels), lambda *_: None)
    first = by_excess(unpacked(record["samples"]).excess)[:45]
    # Chance finds 45·45/899, about 2.3 with a standard deviation of 1.5.
    assert len(set(first.tolist()) & set(wrong.tolist())) > 30


def test_the_store_keeps_the_first_seed_of_a_row_and_no_samples_in_its_lines(
    tmp_path: Path,
) -> None:
    store, records = Store(tmp_path), [record_of("random", seed=seed) for seed in (1, 0)]
    for record in records:
        store.append(record)
    config = records[0]["config"]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == [
        path_of(config, tmp_path).name
    ]
    found = read(records[1]["config"], tmp_path)
    assert found is not None
    assert found.seed == 1
    assert found.visits.tolist() == unpacked(records[0]["samples"]).visits.tolist()
    assert b'"samples"' not in store.path.read_bytes()
    assert "samples" not in store.records[records[0]["key"]]


def test_rows_that_differ_in_any_knob_have_files_of_their_own(tmp_path: Path) -> None:
    config = record_of("random")["config"]
    other = {**config, "prune_ratio": 0.3}
    assert path_of(config, tmp_path) != path_of(other, tmp_path)
    assert path_of(config, tmp_path) == path_of({**config, "seed": 9}, tmp_path)


@pytest.mark.parametrize("method", ["random", "el2n", "static-random", "grand"])
def test_a_row_of_another_setting_has_a_file_of_its_own_whatever_the_seed(
    method: str, tmp_path: Path
) -> None:
    def config(seed: int) -> dict[str, Any]:
        return configure(
            TASK, Row(method, 0.5), data="", epochs=4, batch_size=64, seed=seed, device="cpu",
            threads=1,
        ).as_dict()  # fmt: skip

    one, other = config(1), config(12)
    assert (one["setting"] == other["setting"]) == ("seed=1" not in one["setting"])
    assert path_of(one, tmp_path) == path_of(other, tmp_path)
    changed = one["setting"].removesuffix(")") + ", window=3)"
    assert path_of({**one, "setting": changed}, tmp_path) != path_of(one, tmp_path)


def test_samples_kept_by_an_older_version_are_read_until_there_are_others(tmp_path: Path) -> None:
    records = [record_of("random", seed=seed) for seed in (1, 0)]
    stored(records[0], tmp_path)
    # Older versions left the setting out.
    knobs = {
        name: value
        for name, value in records[0]["config"].items()
        if name not in ("seed", "setting")
    }
    digits = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:16]
    path = path_of(records[0]["config"], tmp_path)
    path.rename(path.with_stem(digits))
    found = read(records[1]["config"], tmp_path)
    assert found is not None
    assert found.seed == 1
    stored(records[1], tmp_path)
    found = read(records[0]["config"], tmp_path)
    assert found is not None
    assert found.seed == 0


def test_a_row_without_a_file_or_with_a_damaged_one_has_no_samples(tmp_path: Path) -> None:
    record = record_of("random")
    assert read(record["config"], tmp_path) is None
    stored(record, tmp_path)
    path = path_of(record["config"], tmp_path)
    whole = path.read_bytes()
    for damaged in (b"", b"no archive", whole[:-40], whole[:60]):
        path.write_bytes(damaged)
        assert read(record["config"], tmp_path) is None
    path.write_bytes(whole)
    assert read(record["config"], tmp_path) is not None


def test_large_data_sets_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept, "MOST_SAMPLES", 898)
    record = record_of("random")
    assert record["samples"] is None
    assert "samples" not in stored(record, tmp_path)
    assert not (tmp_path / "samples").exists()


def test_fifty_thousand_samples_take_less_than_a_tenth_of_a_megabyte() -> None:
    draws, one = np.random.default_rng(0), SampleRecorder(50_000)
    for _ in range(10):
        ids = draws.choice(50_000, 25_000, replace=False)
        one.take(ids, torch.from_numpy(draws.exponential(size=25_000)))
        one.close_epoch()
    text = packed(one, 0)
    assert text is not None
    assert len(base64.b64decode(text)) < 100_000
