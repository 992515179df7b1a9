"""Small made-up data in the formats of the real tasks, which their networks can learn."""

from __future__ import annotations

import io
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Where the real data are, if they are on this machine."""

TASKS = {
    "fashion-mnist": "fashion-mnist",
    "fashion-mnist-vit": "fashion-mnist",
    "cifar10": "cifar10",
    "cifar10-vit": "cifar10",
    "cifar10n": "cifar10",
    "cifar10n-worse": "cifar10",
    "cifar100": "cifar100",
    "ag-news": "ag_news",
    "ag-news-noisy": "ag_news",
    "esc10": "esc10",
    "tinyshakespeare": "tinyshakespeare",
    "imagenet": "imagenet",
}
"""Every task that reads files, and the folder inside the data folder that they are in."""

_COLOURS = np.random.default_rng(0).integers(0, 256, (100, 3), dtype=np.uint8)


def made(parent: Path, folder: str) -> Path:
    """Make one folder of data; return its parent."""
    inside = parent / folder
    if not inside.exists():
        inside.mkdir(parents=True)
        _MAKERS[folder](inside)
    return parent


def _fashion_mnist(folder: Path) -> None:
    for prefix, num in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(num) % 10).astype(np.uint8)
        pixels = np.zeros((num, 28, 28), np.uint8)
        pixels[np.arange(num), labels] = 255
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())


def _cifar(folder: Path, name: str, classes: int) -> Any:
    """Write images of one colour a class; return the training labels."""
    pixels = np.repeat(_COLOURS[np.arange(500) % classes], 32, axis=0)
    picture = Image.fromarray(np.repeat(pixels[:, None], 32, axis=1))
    strip = io.BytesIO()
    picture.save(strip, "WEBP", lossless=True, method=0)
    arrays: dict[str, Any] = {"quant_step": 1, "classes": [f"class {c}" for c in range(classes)]}
    for split, num in (("train", 50_000), ("test", 10_000)):
        count = num // 500
        arrays[f"{split}_webp"] = np.frombuffer(strip.getvalue() * count, np.uint8)
        arrays[f"{split}_offsets"] = np.arange(count + 1) * len(strip.getvalue())
        arrays[f"{split}_labels"] = (np.arange(num) % classes).astype(np.uint8)
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays["train_labels"]


def _cifar10(folder: Path) -> None:
    clean = _cifar(folder, "cifar10", 10)
    noisy = np.where(np.arange(len(clean)) % 5 == 0, (clean + 1) % 10, clean)
    labels = {"clean_label": clean, "aggre_label": noisy, "worse_label": noisy}
    np.savez(folder / "cifar10n_labels.npz", **labels)


def ag_news(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as both splits."""
    for name in ("ag_news_train15k", "ag_news_test"):
        with lzma.open(folder / f"{name}.jsonl.xz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def news() -> list[dict[str, Any]]:
    words = ("Minister", "Striker", "Shares", "Rocket")
    return [
        {
            "text": f"{words[i % 4]} number {i}",
            "label": i % 4,
            "noisy_label": None if i % 3 == 0 else (i % 4 if i % 5 else (i + 1) % 4),
        }
        for i in range(300)
    ]


def _esc10(folder: Path) -> None:
    labels = (np.arange(400) % 10).astype(np.uint8)
    pictures = np.full((400, 64, 216), 60, np.uint8)
    for row, label in enumerate(labels):
        pictures[row, 6 * label : 6 * label + 6] = 200
    np.savez(
        folder / "esc10_logmel.npz",
        logmel=pictures,
        labels=labels,
        fold=(np.arange(400) // 80 + 1).astype(np.uint8),
        classes=[f"sound {c}" for c in range(10)],
    )


def _tinyshakespeare(folder: Path) -> None:
    characters = "".join(chr(33 + place) for place in range(64)) + "\n"
    (folder / "input.txt").write_text((characters * 17_161)[:1_115_394])


def _imagenet(folder: Path) -> None:
    for split in ("train", "val"):
        for label in range(3):
            inside = folder / split / f"n{label}"
            inside.mkdir(parents=True)
            for number in range(4):
                size = (40 + 10 * number, 50)
                colour = tuple(_COLOURS[label].tolist())
                Image.new("RGB", size, colour).save(inside / f"{number}.JPEG")


_MAKERS: dict[str, Any] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": lambda folder: _cifar(folder, "cifar100", 100),
    "ag_news": lambda folder: ag_news(folder, news()),
    "esc10": _esc10,
    "tinyshakespeare": _tinyshakespeare,
    "imagenet": _imagenet,
}
