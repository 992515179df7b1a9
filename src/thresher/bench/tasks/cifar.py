"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test photographs, 32x32, colour.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import io
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from thresher.bench.images import Images
from thresher.bench.models import ResNet
from thresher.bench.tasks._hub import from_hub
from thresher.bench.tasks._task import Budget, DataError, Task

_LABELS = {"cifar10": "label", "cifar100": "fine_label"}


def load(folder: Path | None, name: str) -> Images:
    """Return a CIFAR from a folder's npz file of WebP strips, or from the hub.

    The file holds for each split uint8 arrays `{split}_webp` (the strips, one after the other),
    `{split}_offsets` (where each begins) and `{split}_labels`, and `quant_step`, by which pixel
    values were divided.

    Args:
        folder: the one with `cifar10.npz` or `cifar100.npz`, or its parent; None means the hub.
        name: `cifar10` or `cifar100`.

    Raises:
        DataError: no file is found, or it is damaged.
    """
    cure = f"Give the folder of {name}.npz by --data, or `pip install datasets` and be online"
    if folder is None:
        return from_hub(f"uoft-cs/{name}", image="img", label=_LABELS[name], cure=cure)
    candidates = (folder / f"{name}.npz", folder / name / f"{name}.npz")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DataError(f"no file {name}.npz in {folder}", cure=cure)
    try:
        return read_strips(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} is damaged or not in the expected format ({type(error).__name__}: {error})",
            cure=cure,
        ) from error


def read_strips(path: Path) -> Images:
    """Return the images of an npz file of WebP strips."""
    from PIL import Image

    parts: dict[str, torch.Tensor] = {}
    # numpy leaves its own handle open when the file is no zip file.
    with path.open("rb") as file, np.load(file) as npz:
        step = int(npz["quant_step"])
        for split, num in (("train", 50_000), ("test", 10_000)):
            blob, offsets = npz[f"{split}_webp"].tobytes(), npz[f"{split}_offsets"].tolist()
            images = np.empty((num, 32, 32, 3), np.uint8)
            done = 0
            for begin, end in pairwise(offsets):
                strip: Any = np.asarray(Image.open(io.BytesIO(blob[begin:end])).convert("RGB"))
                strip = strip.reshape(-1, 32, 32, 3)
                images[done : done + len(strip)] = strip
                done += len(strip)
            labels = npz[f"{split}_labels"]
            if done != num or labels.shape != (num,):
                raise ValueError(f"{done} images and {len(labels)} labels in {split}, not {num}")
            np.minimum(images.astype(np.uint16) * step, 255, out=images, casting="unsafe")
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
            parts[f"{split}_images"] = pixels
            parts[f"{split}_labels"] = torch.from_numpy(labels).long()
    return Images(**parts)


def _task(name: str, title: str, classes: int, mean: tuple[float, ...], std: tuple[float, ...]):
    return Task(
        name=name,
        title=f"{title}, small ResNet",
        load=partial(load, name=name),
        model=ResNet(
            channels=3, classes=classes, widths=(32, 64, 128), strides=(2, 2, 2), stem_stride=2
        ),
        budget=Budget(epochs=12),
        mean=mean,
        std=std,
        shift=2,
    )


TASKS = {
    "cifar10": _task("cifar10", "CIFAR-10", 10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    "cifar100": _task("cifar100", "CIFAR-100", 100, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
}
