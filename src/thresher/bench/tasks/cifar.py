"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test photographs, 32x32, colour.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from thresher.bench.images import Images, Pictures
from thresher.bench.models import ResNet
from thresher.bench.tasks._files import found, reading
from thresher.bench.tasks._hub import from_hub
from thresher.bench.tasks._strips import read_strips
from thresher.bench.tasks._task import Budget, Paper, Task

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
    path = found(folder, f"{name}.npz", inside=name, cure=cure)
    with reading(path, cure=cure):
        return read_strips(path)


CIFAR10 = Pictures(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), shift=2)
CIFAR100 = Pictures(mean=(129.3, 124.1, 112.4), std=(68.2, 65.4, 70.4), shift=2)


def _in_papers(title: str, classes: int, inputs: Pictures) -> Paper:
    return Paper(
        title=f"{title}, ResNet-18",
        model=ResNet(
            channels=3,
            classes=classes,
            widths=(64, 64, 128, 128, 256, 256, 512, 512),
            strides=(1, 1, 2, 1, 2, 1, 2, 1),
        ),
        budget=Budget(epochs=200, warm_up=0.1, drop_last=True),
        inputs=replace(inputs, shift=4),
        note=(
            "Settings of Omission's paper (its section 5.1): ResNet-18, SGD, 200 epochs, batches "
            "of 128 without the last, cosine from 0.1 after 10 % of warm-up, weight decay 0.0005, "
            "flips and crops. Momentum 0.9 (Nesterov) and crops by 4 pixels are not in it."
        ),
    )


TASKS = {
    "cifar10": Task(
        name="cifar10",
        title="CIFAR-10, small ResNet",
        load=partial(load, name="cifar10"),
        model=ResNet(
            channels=3, classes=10, widths=(32, 64, 128), strides=(2, 2, 2), stem_stride=2
        ),
        budget=Budget(epochs=12),
        inputs=CIFAR10,
        paper=_in_papers("CIFAR-10", 10, CIFAR10),
    ),
    "cifar100": Task(
        name="cifar100",
        title="CIFAR-100, small ResNet",
        load=partial(load, name="cifar100"),
        model=ResNet(
            channels=3, classes=100, widths=(16, 32, 64), strides=(2, 2, 2), stem_stride=2
        ),
        budget=Budget(epochs=8),
        inputs=CIFAR100,
        paper=_in_papers("CIFAR-100", 100, CIFAR100),
    ),
}
