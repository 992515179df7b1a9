"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, 28x28, ten classes.

Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017 (arXiv:1708.07747); MIT licence.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thresher.bench.images import Images, Pictures
from thresher.bench.models import ResNet
from thresher.bench.tasks._hub import from_hub
from thresher.bench.tasks._task import Budget, DataError, NoDataError, Task

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_CLASSES = (
    *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Boot"),
)
_CURE = "Run `apt-get install dataset-fashion-mnist`, or give the folder of its idx files by --data"


def load(folder: Path | None) -> Images:
    """Return Fashion-MNIST from a folder, from where Debian's package puts it, or from the hub.

    Raises:
        DataError: no file is found, or one is damaged.
    """
    if folder is None and not DEBIAN_FOLDER.is_dir():
        return from_hub("zalando-datasets/fashion_mnist", image="image", label="label", cure=_CURE)
    folder = folder or DEBIAN_FOLDER
    if (folder / "fashion-mnist").is_dir():
        folder = folder / "fashion-mnist"
    images, labels = {}, {}
    for split, prefix, num in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        pixels = read_idx(folder, f"{prefix}-images-idx3-ubyte", (num, 28, 28))
        images[split] = pixels.unsqueeze(1)
        labels[split] = read_idx(folder, f"{prefix}-labels-idx1-ubyte", (num,)).long()
    return Images(
        train_images=images["train"],
        train_labels=labels["train"],
        test_images=images["test"],
        test_labels=labels["test"],
        class_names=_CLASSES,
    )


def read_idx(folder: Path, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the uint8 array of an idx file, packed by gzip or not.

    Args:
        folder: where it is.
        name: its name, without `.gz`.
        shape: what it has to hold.

    Raises:
        DataError: it is missing, cannot be unpacked, or does not hold that shape.
    """
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        is_empty = not any(folder.glob("*-idx?-ubyte*"))
        kind = NoDataError if is_empty else DataError
        raise kind(f"no file {name}.gz in {folder}", cure=_CURE)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read or unpacked ({error})", cure=_CURE) from error
    # Two zero bytes, 8 for uint8, the number of axes, then each axis as a big-endian int32.
    header = bytes((0, 0, 8, len(shape))) + np.array(shape, ">i4").tobytes()
    found = len(content) - len(header)
    if content[: len(header)] != header or found != np.prod(shape):
        raise DataError(
            f"{path} is damaged: {len(content):,} bytes that begin with {content[:4].hex()}",
            f"an idx file of {np.prod(shape) + len(header):,} bytes, uint8 of shape {shape}",
            _CURE,
        )
    array = np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
    return torch.from_numpy(array.copy())


PICTURES = Pictures(mean=(72.94,), std=(90.02,))

TASKS = {
    "fashion-mnist": Task(
        name="fashion-mnist",
        title="Fashion-MNIST, small ResNet",
        load=load,
        model=ResNet(channels=1, classes=10, widths=(16, 32), strides=(2, 2), stem_stride=2),
        budget=Budget(epochs=10),
        inputs=PICTURES,
    )
}
