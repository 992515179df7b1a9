"""Data that are missing, damaged or others are refused by name, with the cure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.stand_ins import ag_news, made, news
from thresher.bench.tasks import Data, DataError, cifar10n, task

FILES = {
    "cifar10": "cifar10.npz",
    "cifar10n": "cifar10n_labels.npz",
    "cifar10-vit": "cifar10.npz",
    "ag-news": "ag_news_train15k.jsonl.xz",
    "esc10": "esc10_logmel.npz",
    "tinyshakespeare": "input.txt",
}


@pytest.mark.parametrize("name", FILES)
def test_missing_data_are_named_with_the_cure(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file {re.escape(FILES[name])} in .*--data"):
        task(name).load(tmp_path)


@pytest.mark.parametrize(
    "name", ["cifar10n", "ag-news", "ag-news-noisy", "esc10", "tinyshakespeare", "imagenet"]
)
def test_data_that_come_from_nowhere_ask_for_a_folder(name: str) -> None:
    with pytest.raises(DataError, match=r"no folder is given\. Give the folder"):
        task(name).load(None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\xfd7zXZ\x00 cut off"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name(
    name: str,
    content: bytes,
    tmp_path: Path,
    data_of: Callable[[str], Data],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == "cifar10n":
        monkeypatch.setattr(cifar10n, "load_cifar", lambda *_: data_of("cifar10"))
    (tmp_path / FILES[name]).write_bytes(content)
    with pytest.raises(DataError, match=rf"{re.escape(FILES[name])} is damaged or not in the"):
        task(name).load(tmp_path)


def test_a_cut_off_file_of_news_is_refused(tmp_path: Path) -> None:
    ag_news(tmp_path, news())
    path = tmp_path / "ag_news_train15k.jsonl.xz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"ag_news_train15k.jsonl.xz is damaged"):
        task("ag-news").load(tmp_path)


@pytest.mark.parametrize(
    "row", [{"text": "x"}, {"text": "x", "label": 4}, {"text": None, "label": 1}, {}, "text"]
)
def test_news_without_text_or_class_are_refused(row: Any, tmp_path: Path) -> None:
    ag_news(tmp_path, [*news(), row])
    with pytest.raises(DataError, match=r"ag_news_train15k.jsonl.xz is damaged"):
        task("ag-news").load(tmp_path)


def test_labels_of_other_images_are_refused(
    tmp_path: Path, data_of: Callable[[str], Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10n, "load_cifar", lambda *_: data_of("cifar10"))
    labels = data_of("cifar10").train_labels.numpy()
    np.savez(tmp_path / "cifar10n_labels.npz", clean_label=labels[::-1], aggre_label=labels)
    with pytest.raises(DataError, match=r"clean_label is not the labels of cifar10.npz"):
        task("cifar10n").load(tmp_path)


@pytest.mark.parametrize("folder", ["train", "val", "train/n1"])
def test_a_folder_of_photographs_with_a_hole_is_refused(folder: str, tmp_path: Path) -> None:
    inside = made(tmp_path, "imagenet") / "imagenet" / folder
    inside.rename(tmp_path / "away")
    inside.mkdir()
    with pytest.raises(DataError, match=r"no folder of a class|no photograph|other classes"):
        task("imagenet").load(tmp_path)
