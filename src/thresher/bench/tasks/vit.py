"""Small vision transformers on images of other tasks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from thresher.bench.attention import ViT
from thresher.bench.images import Images
from thresher.bench.tasks import cifar, fashion_mnist
from thresher.bench.tasks._task import Budget, Task

_TRAIN = 20_000


def load_fashion_mnist(folder: Path | None) -> Images:
    """Return the beginning of Fashion-MNIST, and its whole test split; see `fashion_mnist.load`."""
    return fashion_mnist.load(folder).head(_TRAIN, 10_000)


def load_cifar10(folder: Path | None) -> Images:
    """Return the beginning of CIFAR-10, and its whole test split; see `cifar.load`."""
    return cifar.load(folder, "cifar10").head(_TRAIN, 10_000)


_BUDGET = partial(Budget, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05)
_NOTE = f"The first {_TRAIN:,} training images; all 10,000 test images."

TASKS = {
    "fashion-mnist-vit": Task(
        name="fashion-mnist-vit",
        title="Fashion-MNIST, small ViT",
        load=load_fashion_mnist,
        model=ViT(channels=1, size=28, classes=10, patch=7, width=48, depth=2, heads=3),
        budget=_BUDGET(epochs=10),
        inputs=fashion_mnist.PICTURES,
        note=_NOTE,
    ),
    "cifar10-vit": Task(
        name="cifar10-vit",
        title="CIFAR-10, small ViT",
        load=load_cifar10,
        model=ViT(channels=3, size=32, classes=10, patch=8, width=48, depth=2, heads=3),
        budget=_BUDGET(epochs=10),
        inputs=cifar.CIFAR10,
        note=_NOTE,
    ),
}
