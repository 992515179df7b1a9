"""ESC-10: 400 clips of ten everyday sounds, five seconds each, as log-mel pictures.

Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015; CC BY 3.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from thresher.bench.images import Images, Pictures
from thresher.bench.models import ResNet
from thresher.bench.tasks._files import given, reading
from thresher.bench.tasks._task import Budget, Task

_TEST_FOLD = 1
_SHAPE = (400, 64, 216)
_CURE = "Give the folder of esc10_logmel.npz by --data"


def load(folder: Path | None) -> Images:
    """Return ESC-10 from a folder's npz file; its first fold is the test split.

    The file holds `logmel`, uint8, 400 pictures of 64 bands and 216 frames, `labels`, `fold`, from
    1 to 5, and `classes`, their names.

    Raises:
        DataError: the file is not found or damaged.
    """
    path = given(folder, "esc10_logmel.npz", inside="esc10", cure=_CURE)
    with reading(path, cure=_CURE), path.open("rb") as file, np.load(file) as npz:
        pictures, labels, fold = npz["logmel"], npz["labels"], npz["fold"]
        if pictures.shape != _SHAPE or not labels.shape == fold.shape == _SHAPE[:1]:
            raise ValueError(f"pictures {pictures.shape}, labels {labels.shape}, not {_SHAPE}")
        names = tuple(map(str, npz["classes"]))
    is_test = torch.from_numpy(fold == _TEST_FOLD)
    images, classes = torch.from_numpy(pictures).unsqueeze(1), torch.from_numpy(labels).long()
    return Images(
        train_images=images[~is_test],
        train_labels=classes[~is_test],
        test_images=images[is_test],
        test_labels=classes[is_test],
        class_names=names,
    )


TASKS = {
    "esc10": Task(
        name="esc10",
        title="ESC-10 (log-mel), small ResNet",
        load=load,
        model=ResNet(channels=1, classes=10, widths=(16, 32, 64), strides=(2, 2, 2), stem_stride=2),
        budget=Budget(epochs=30, batch_size=16, learning_rate=0.05),
        # Sounds may begin earlier or later, but not higher or lower.
        inputs=Pictures(mean=(100.0,), std=(40.0,), flip=False, shift=(0, 20)),
        note="320 training clips; 80 test clips (fold 1): test accuracy in steps of 1.25 points.",
    )
}
