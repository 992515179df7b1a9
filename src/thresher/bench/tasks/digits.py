"""The 8x8 digits that scikit-learn ships: seconds a run, nothing to fetch; a smoke test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from thresher.bench.images import Images, Pictures
from thresher.bench.models import ResNet
from thresher.bench.tasks._task import Budget, DataError, NoDataError, Task


def load(folder: Path | None) -> Images:
    """Return the 1,797 digits; every second one is held out for testing.

    Raises:
        DataError: a folder was given, or scikit-learn is not installed.
    """
    if folder is not None:
        raise NoDataError(
            f"--data {folder}", "no folder: digits come with scikit-learn", "Leave --data out"
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "the digits are shipped inside scikit-learn, which is not installed",
            cure='pip install "thresher[bench]"',
        ) from error
    digits: Any = load_digits()
    images = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    # No draw: the split stays the same when generators change, and seeds are for training.
    return Images(
        train_images=images[0::2],
        train_labels=labels[0::2],
        test_images=images[1::2],
        test_labels=labels[1::2],
    )


TASKS = {
    "digits": Task(
        name="digits",
        title="digits (scikit-learn), small ResNet",
        load=load,
        model=ResNet(channels=1, classes=10, widths=(8, 16), strides=(2, 2)),
        budget=Budget(epochs=20, batch_size=32),
        inputs=Pictures(mean=(4.88,), std=(6.02,), flip=False),
        note=(
            "This is a smoke test: 899 training images, test accuracy in steps of 0.11 points. "
            "For numbers that mean something: thresher compare --task fashion-mnist"
        ),
    )
}
