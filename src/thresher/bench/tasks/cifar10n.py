"""CIFAR-10N: CIFAR-10 with the labels that people gave, and tested on the right ones.

Source: Wei et al., "Learning with Noisy Labels Revisited", ICLR 2022; CC BY-NC 4.0.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from thresher.bench.images import Images
from thresher.bench.models import ResNet
from thresher.bench.tasks._files import given, reading
from thresher.bench.tasks._task import Budget, Task
from thresher.bench.tasks.cifar import CIFAR10
from thresher.bench.tasks.cifar import load as load_cifar

_TRAIN = 15_000
_CURE = "Give the folder of cifar10.npz and cifar10n_labels.npz by --data"


def load(folder: Path | None, labels: str) -> Images:
    """Return the beginning of CIFAR-10 with human labels, and its whole test split.

    `cifar10n_labels.npz` holds an array of 50,000 classes under each name, in the order of the
    images.

    Args:
        folder: with both files, or its parent.
        labels: `aggre_label`, the majority of three people, or `worse_label`, a wrong one wherever
            there is any.

    Raises:
        DataError: a file is not found, damaged, or not of these images.
    """
    path = given(folder, "cifar10n_labels.npz", inside="cifar10", cure=_CURE)
    images = load_cifar(folder, "cifar10")
    with reading(path, cure=_CURE), path.open("rb") as file, np.load(file) as npz:
        clean, noisy = (torch.from_numpy(npz[name]).long() for name in ("clean_label", labels))
        if not torch.equal(clean, images.train_labels) or noisy.shape != clean.shape:
            raise ValueError("clean_label is not the labels of cifar10.npz")
    return replace(images, train_labels=noisy, clean_labels=clean).head(_TRAIN, 10_000)


def _task(name: str, labels: str, text: str) -> Task:
    return Task(
        name=name,
        title=f"CIFAR-10N ({text}), small ResNet",
        load=partial(load, labels=labels),
        model=ResNet(channels=3, classes=10, widths=(16, 32, 64), strides=(2, 2, 2), stem_stride=2),
        budget=Budget(epochs=10),
        inputs=CIFAR10,
        note=f"The first {_TRAIN:,} training images, {text}; all 10,000 test images, clean labels.",
    )


TASKS = {
    "cifar10n": _task("cifar10n", "aggre_label", "9 % of labels wrong"),
    "cifar10n-worse": _task("cifar10n-worse", "worse_label", "40 % of labels wrong"),
}
