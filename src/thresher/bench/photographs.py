"""Photographs in a folder of class folders, decoded as they are asked for: ImageNet's layout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.bench.images import channel_values, normalised
from thresher.bench.tasks._task import DataError
from thresher.bench.whole_batches import TrainingBatches
from thresher.draws import Draws

_THREADS = 8
"""That decode the photographs of a batch: Pillow works outside Python's lock."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


@final
@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Paths of photographs, split, with their classes.

    Args:
        train_paths: of n files.
        train_labels: int64, (n,).
        test_paths: of m files.
        test_labels: int64, (m,).
        class_names: of the labels: the folders' names.
        clean_labels: None: nothing is known to be wrong.
    """

    train_paths: tuple[Path, ...]
    train_labels: Tensor
    test_paths: tuple[Path, ...]
    test_labels: Tensor
    class_names: tuple[str, ...]
    clean_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.train_labels)

    def checksum(self) -> str:
        """Return eight hexadecimal digits that change with any file's class, name or size."""
        value = 0
        for path in (*self.train_paths, *self.test_paths):
            text = f"{path.parent.name}/{path.name} {path.stat().st_size}"
            value = zlib.crc32(text.encode(), value)
        return f"{value:08x}"

    def shown(self, sample_id: int) -> Tensor:
        """Return the middle of a training photograph, uint8, (3, 224, 224)."""
        return torch.from_numpy(_cut(self.train_paths[sample_id], None, 224)).permute(2, 0, 1)

    def head(self, train: int, test: int) -> Photographs:
        """Return the first samples of each split."""
        return replace(
            self,
            train_paths=self.train_paths[:train],
            train_labels=self.train_labels[:train],
            test_paths=self.test_paths[:test],
            test_labels=self.test_labels[:test],
        )


@final
class PhotographSet(TrainingBatches):
    """Photographs cut, scaled and normalised, a whole batch per request.

    Args:
        paths: of the files.
        labels: int64, (n,).
        crops: how they are cut.
        seed: of random cuts and flips, which depend on it, the epoch and the sample id alone; None
            cuts the middle.
    """

    def __init__(
        self, paths: tuple[Path, ...], labels: Tensor, crops: Crops, seed: int | None
    ) -> None:
        super().__init__(labels)
        self._paths, self._crops, self._seed = paths, crops, seed
        self._mean, self._std = channel_values(crops.mean), channel_values(crops.std)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw every sample's cut and flip of this epoch."""
        if self._seed is not None:
            draws, names = Draws(self._seed, epoch), ("area", "shape", "left", "top", "flip")
            columns = [draws.uniform(len(self), name) for name in names]
            self._drawn = torch.stack(columns, 1).numpy()

    def _inputs(self, ids: Tensor) -> Tensor:
        with ThreadPoolExecutor(_THREADS) as pool:
            pixels = np.stack(list(pool.map(self._pixels, ids.tolist())))
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return normalised(images, self._mean, self._std)

    def _pixels(self, sample_id: int) -> np.ndarray:
        path, size = self._paths[sample_id], self._crops.size
        if self._seed is None:
            return _cut(path, None, size)
        pixels = _cut(path, self._drawn[sample_id], size)
        return pixels[:, ::-1] if self._drawn[sample_id, 4] < 0.5 else pixels


@final
@dataclass(frozen=True, kw_only=True)
class Crops:
    """How photographs become batches: random parts of them in training, the middle in testing.

    Parts are 8 to 100 % of the area, mirrored half of the time; the middle is seven eighths of it.

    Args:
        size: height and width of an image.
        mean: of the training pixels, for each channel.
        std: of the training pixels, for each channel.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def knobs(self) -> dict[str, Any]:
        """What a run's configuration says about augmentation."""
        return {"flip": True, "shift": None}

    def training_set(self, data: Photographs, seed: int) -> PhotographSet:
        """Return the training split as a data set, with random cuts and flips."""
        return PhotographSet(data.train_paths, data.train_labels, self, seed)

    def plain_set(self, data: Photographs) -> PhotographSet:
        """Return the middles of the training split."""
        return PhotographSet(data.train_paths, data.train_labels, self, None)

    def test_batches(self, data: Photographs, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test split in batches."""
        tested = PhotographSet(data.test_paths, data.test_labels, self, None)
        for start in range(0, len(tested), size):
            yield tested.__getitems__(list(range(start, min(start + size, len(tested)))))


def _cut(path: Path, drawn: np.ndarray | None, size: int) -> np.ndarray:
    """Return a part of a photograph, scaled to (size, size, 3), uint8."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            whole = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # as Pillow refuses, by kind of damage
        raise DataError(
            f"{path} cannot be read as a photograph ({type(error).__name__}: {error})",
            cure="Fetch it again, or take it out of its folder",
        ) from error
    box = middle(*whole.size) if drawn is None else part(*whole.size, *map(float, drawn[:4]))
    return np.array(whole.resize((size, size), Image.Resampling.BILINEAR, box))


def middle(width: int, height: int) -> Box:
    """Return the square of seven eighths of the shorter side in the middle.

    Example:
        >>> middle(16, 8)
        (4.5, 0.5, 11.5, 7.5)
    """
    side = 0.875 * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def part(width: int, height: int, area: float, shape: float, left: float, top: float) -> Box:
    """Return a random part: 8 to 100 % of the area, 3:4 to 4:3 in shape, cut to fit.

    Args:
        width: of the photograph.
        height: of the photograph.
        area: uniform in [0, 1), as the others are.
        shape: of the logarithm of width over height.
        left: of the place.
        top: of the place.
    """
    pixels = (0.08 + 0.92 * area) * width * height
    ratio = (3 / 4) ** (1 - 2 * shape)
    wide, high = min(width, (pixels * ratio) ** 0.5), min(height, (pixels / ratio) ** 0.5)
    x, y = left * (width - wide), top * (height - high)
    return x, y, x + wide, y + high
