"""The networks of the built-in tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn


@final
@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual network for small images, as data: convolution, stages of blocks, global mean.

    Args:
        channels: of the images.
        classes: number of outputs.
        widths: channels of each residual block.
        strides: of each residual block; 2 halves the picture.
        stem_stride: of the first convolution.

    Example:
        >>> shape = ResNet(channels=1, classes=10, widths=(16, 32), strides=(2, 2))
        >>> sum(p.numel() for p in shape.build().parameters())
        19994
    """

    channels: int
    classes: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    stem_stride: int = 1

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        return _ResNet(self)


@final
@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """A residual network of bottleneck blocks for photographs: ResNet-50 is depths (3, 4, 6, 3).

    Args:
        channels: of the images.
        classes: number of outputs.
        depths: blocks of each stage; every stage but the first halves the picture.
        width: of the first stage inside its blocks, which are four times as wide outside.

    Example:
        >>> import torch
        >>> shape = Bottleneck(channels=3, classes=1000, depths=(3, 4, 6, 3))
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in shape.build().parameters())
        25557032
    """

    channels: int
    classes: int
    depths: tuple[int, ...]
    width: int = 64

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        return _BottleneckNet(self)


class _ResNet(nn.Module):
    def __init__(self, shape: ResNet) -> None:
        super().__init__()
        width = shape.widths[0]
        self.stem = _convolution(shape.channels, width, 3, shape.stem_stride)
        self.stem_norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        for wider, stride in zip(shape.widths, shape.strides, strict=True):
            blocks.append(_Block(width, wider, stride))
            width = wider
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.stem_norm(self.stem(images)), inplace=True)
        return self.head(self.blocks(hidden).mean(dim=(2, 3)))


class _Block(nn.Module):
    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(narrow, wide, 3, stride)
        self.first_norm = nn.BatchNorm2d(wide)
        self.second = _convolution(wide, wide, 3, 1)
        self.second_norm = nn.BatchNorm2d(wide)
        self.shortcut = nn.Identity()
        if stride != 1 or narrow != wide:
            self.shortcut = nn.Sequential(
                _convolution(narrow, wide, 1, stride), nn.BatchNorm2d(wide)
            )

    def forward(self, hidden: Tensor) -> Tensor:
        change = F.relu(self.first_norm(self.first(hidden)), inplace=True)
        change = self.second_norm(self.second(change))
        return F.relu(change + self.shortcut(hidden), inplace=True)


class _BottleneckNet(nn.Module):
    def __init__(self, shape: Bottleneck) -> None:
        super().__init__()
        width = inside = shape.width
        self.stem = _convolution(shape.channels, width, 7, 2)
        self.stem_norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        for stage, depth in enumerate(shape.depths):
            for place in range(depth):
                stride = 2 if stage and not place else 1
                blocks.append(_BottleneckBlock(width, inside, stride))
                width = 4 * inside
            inside *= 2
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.stem_norm(self.stem(images)), inplace=True)
        hidden = F.max_pool2d(hidden, 3, 2, 1)
        return self.head(self.blocks(hidden).mean(dim=(2, 3)))


class _BottleneckBlock(nn.Module):
    def __init__(self, narrow: int, inside: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inside
        self.reduce, self.reduce_norm = _convolution(narrow, inside, 1, 1), nn.BatchNorm2d(inside)
        self.mix, self.mix_norm = _convolution(inside, inside, 3, stride), nn.BatchNorm2d(inside)
        self.expand, self.expand_norm = _convolution(inside, wide, 1, 1), nn.BatchNorm2d(wide)
        self.shortcut = nn.Identity()
        if stride != 1 or narrow != wide:
            self.shortcut = nn.Sequential(
                _convolution(narrow, wide, 1, stride), nn.BatchNorm2d(wide)
            )

    def forward(self, hidden: Tensor) -> Tensor:
        change = F.relu(self.reduce_norm(self.reduce(hidden)), inplace=True)
        change = F.relu(self.mix_norm(self.mix(change)), inplace=True)
        change = self.expand_norm(self.expand(change))
        return F.relu(change + self.shortcut(hidden), inplace=True)


def _convolution(narrow: int, wide: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, kernel, stride, kernel // 2, bias=False)
