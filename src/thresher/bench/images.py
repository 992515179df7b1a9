"""Labelled images in memory, and the training set that a DataLoader reads them through."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from thresher.bench.whole_batches import TrainingBatches
from thresher.draws import Draws


@final
@dataclass(frozen=True, kw_only=True)
class Images:
    """A classification data set, split.

    Args:
        train_images: uint8, (n, C, H, W).
        train_labels: int64, (n,).
        test_images: uint8, (m, C, H, W).
        test_labels: int64, (m,).
        clean_labels: int64, (n,), where the training labels are known to be wrong in part.
        class_names: of the labels, or empty.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    clean_labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.train_labels)

    def checksum(self) -> str:
        """Return eight hexadecimal digits that change with any pixel or label."""
        return checksum_of(self.train_images, self.train_labels, self.test_images, self.test_labels)

    def shown(self, sample_id: int) -> Tensor:
        """Return a training image as it is, uint8, (C, H, W)."""
        return self.train_images[sample_id]

    def head(self, train: int, test: int) -> Images:
        """Return the first samples of each split."""
        clean = self.clean_labels
        return replace(
            self,
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
            clean_labels=None if clean is None else clean[:train],
        )


@final
class TrainingSet(TrainingBatches):
    """Normalised, randomly flipped and shifted training images, a whole batch per request.

    What happens to a sample depends on (seed, epoch, sample id) and on nothing else, so that two
    methods under one seed see the same picture whenever both train on it.

    Args:
        images: the data.
        mean: of each channel, in pixel values.
        std: of each channel, in pixel values.
        flip: mirror half of the samples.
        shift: move each sample by up to this many pixels in both directions; or (up and down,
            left and right).
        seed: of the random choices.
    """

    def __init__(
        self,
        images: Images,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        flip: bool,
        shift: int | tuple[int, int],
        seed: int,
    ) -> None:
        super().__init__(images.train_labels)
        self._mean, self._std = channel_values(mean), channel_values(std)
        self._flip, self._seed = flip, seed
        self._shifts = down, right = (shift, shift) if isinstance(shift, int) else shift
        # A view with an axis for each shift: taking [id, :, dy, dx] of it copies only that crop.
        height, width = images.train_images.shape[2:]
        padded = torch.nn.functional.pad(images.train_images, (right, right, down, down))
        self._crops = padded.unfold(2, height, 1).unfold(3, width, 1)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw every sample's flip and shift of this epoch."""
        draws, num = Draws(self._seed, epoch), len(self)
        down, right = self._shifts
        self._flipped = draws.uniform(num, "flip") < 0.5
        self._rows = (draws.uniform(num, "row") * (2 * down + 1)).long()
        self._columns = (draws.uniform(num, "column") * (2 * right + 1)).long()

    def _inputs(self, ids: Tensor) -> Tensor:
        images = self._crops[ids, :, self._rows[ids], self._columns[ids]]
        if self._flip:
            images = torch.where(self._flipped[ids].view(-1, 1, 1, 1), images.flip(3), images)
        return normalised(images, self._mean, self._std)


@final
@dataclass(frozen=True, kw_only=True)
class Pictures:
    """How images become batches.

    Args:
        mean: of the training pixels, for each channel.
        std: of the training pixels, for each channel.
        flip: mirror half of the training images.
        shift: move training images by up to this many pixels; or (up and down, left and right).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = True
    shift: int | tuple[int, int] = 0

    @property
    def knobs(self) -> dict[str, Any]:
        """What a run's configuration says about augmentation."""
        return {"flip": self.flip, "shift": self.shift}

    def training_set(self, data: Images, seed: int) -> TrainingSet:
        """Return the training split as a data set, with augmentation."""
        return TrainingSet(
            data, mean=self.mean, std=self.std, flip=self.flip, shift=self.shift, seed=seed
        )

    def plain_set(self, data: Images) -> TrainingSet:
        """Return the training split without augmentation."""
        return replace(self, flip=False, shift=0).training_set(data, seed=0)

    def test_batches(self, data: Images, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test split in batches."""
        mean, std = channel_values(self.mean), channel_values(self.std)
        batches = zip(data.test_images.split(size), data.test_labels.split(size), strict=True)
        for pixels, labels in batches:
            yield normalised(pixels, mean, std), labels


def checksum_of(*parts: Tensor) -> str:
    """Return eight hexadecimal digits that change with any number in these tensors."""
    value = 0
    for part in parts:
        value = zlib.crc32(part.contiguous().numpy().data, value)
    return f"{value:08x}"


def channel_values(values: tuple[float, ...]) -> Tensor:
    """Return one number a channel, shaped to broadcast over (B, C, H, W)."""
    return torch.tensor(values).view(1, -1, 1, 1)


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (images - mean)/std as float32, laid out with the channels last."""
    return images.float().sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def whole_batch(batch: Any) -> Any:
    """Return what `__getitems__` made: the collate function of a data set that makes batches."""
    return batch
