"""ImageNet-1k: 1.28 million photographs in a thousand classes, from a folder of class folders.

Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from thresher.bench.models import Bottleneck
from thresher.bench.photographs import Crops, Photographs
from thresher.bench.tasks._task import Budget, DataError, Paper, Task

_CURE = "Give the folder by --data that has train/CLASS/*.JPEG and val/CLASS/*.JPEG"
_ENDINGS = {".jpeg", ".jpg", ".png", ".webp"}


def load(folder: Path | None) -> Photographs:
    """Return the photographs of a folder with `train` and `val`, each with a folder for each class.

    Args:
        folder: the one with both, or its parent if it is called `imagenet`.

    Raises:
        DataError: there are none, or the classes of the two are not the same.
    """
    if folder is None:
        raise DataError("ImageNet comes with no package, and no folder is given", cure=_CURE)
    if (folder / "imagenet").is_dir():
        folder = folder / "imagenet"
    names = _classes(folder / "train")
    if _classes(folder / "val") != names:
        raise DataError(f"{folder / 'val'} has other classes than {folder / 'train'}", cure=_CURE)
    train_paths, train_labels = _files(folder / "train", names)
    test_paths, test_labels = _files(folder / "val", names)
    return Photographs(
        train_paths=train_paths,
        train_labels=train_labels,
        test_paths=test_paths,
        test_labels=test_labels,
        class_names=names,
    )


def _classes(folder: Path) -> tuple[str, ...]:
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    names = tuple(name for name in found if (folder / name).is_dir())
    if not names:
        raise DataError(f"no folder of a class in {folder}", cure=_CURE)
    return names


def _files(folder: Path, names: tuple[str, ...]) -> tuple[tuple[Path, ...], Tensor]:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in _ENDINGS)
        if not own:
            raise DataError(f"no photograph in {folder / name}", cure=_CURE)
        paths += own
        labels += [label] * len(own)
    return tuple(paths), torch.tensor(labels)


_CROPS = Crops(size=224, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
_PAPER = Paper(
    title="ImageNet, ResNet-50",
    model=Bottleneck(channels=3, classes=1000, depths=(3, 4, 6, 3)),
    budget=Budget(epochs=90, batch_size=256, weight_decay=1e-4, warm_up=0.055),
    inputs=_CROPS,
    note=(
        "ResNet-50 for 90 epochs, as OrderDP's and KAKURENBO's papers; batches of 256, cosine from "
        "0.1 after five epochs of warm-up, weight decay 0.0001: the usual recipe, which they do "
        "not write down."
    ),
)

TASKS = {
    "imagenet": Task(
        name="imagenet",
        title=_PAPER.title,
        load=load,
        model=_PAPER.model,
        budget=_PAPER.budget,
        inputs=_PAPER.inputs,
        note=_PAPER.note,
        paper=_PAPER,
    )
}
