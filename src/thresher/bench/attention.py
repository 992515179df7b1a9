"""Small transformers, from scratch: for pictures, for words, and for the next character."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thresher.bench.texts import PADDING


@final
@dataclass(frozen=True, kw_only=True)
class ViT:
    """A vision transformer, as data: patches, blocks, the mean over patches, a linear head.

    Args:
        channels: of the images.
        size: their height and width.
        classes: number of outputs.
        patch: height and width of a patch.
        width: of a token.
        depth: number of blocks.
        heads: of attention.

    Example:
        >>> shape = ViT(channels=1, size=28, classes=10, patch=7, width=32, depth=2, heads=2)
        >>> shape.build()(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])
    """

    channels: int
    size: int
    classes: int
    patch: int
    width: int
    depth: int
    heads: int

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        return _ViT(self)


@final
@dataclass(frozen=True, kw_only=True)
class TextTransformer:
    """A transformer that classifies texts: blocks over words, their mean, a linear head.

    Args:
        words: size of the vocabulary, with padding.
        length: places of a text.
        classes: number of outputs.
        width: of a token.
        depth: number of blocks.
        heads: of attention.
    """

    words: int
    length: int
    classes: int
    width: int
    depth: int
    heads: int

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        return _TextTransformer(self)


@final
@dataclass(frozen=True, kw_only=True)
class CharacterGPT:
    """A transformer that predicts each next character from those before it.

    Args:
        characters: size of the vocabulary.
        length: places of a sample.
        width: of a token.
        depth: number of blocks.
        heads: of attention.
    """

    characters: int
    length: int
    width: int
    depth: int
    heads: int

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        return _CharacterGPT(self)


class _ViT(nn.Module):
    def __init__(self, shape: ViT) -> None:
        super().__init__()
        self.patch = shape.patch
        self.embed = nn.Linear(shape.channels * shape.patch**2, shape.width)
        self.trunk = _Trunk((shape.size // shape.patch) ** 2, shape.width, shape.depth, shape.heads)
        self.head = nn.Linear(shape.width, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        return self.head(self.trunk(self.embed(patches)).mean(1))


class _TextTransformer(nn.Module):
    def __init__(self, shape: TextTransformer) -> None:
        super().__init__()
        self.embed = _embedding(shape.words, shape.width)
        self.trunk = _Trunk(shape.length, shape.width, shape.depth, shape.heads)
        self.head = nn.Linear(shape.width, shape.classes)

    def forward(self, words: Tensor) -> Tensor:
        present = words != PADDING
        hidden = self.trunk(self.embed(words), mask=present[:, None, None, :])
        weights = present.to(hidden.dtype).unsqueeze(2)
        return self.head((hidden * weights).sum(1) / weights.sum(1))


class _CharacterGPT(nn.Module):
    def __init__(self, shape: CharacterGPT) -> None:
        super().__init__()
        self.embed = _embedding(shape.characters, shape.width)
        self.trunk = _Trunk(shape.length, shape.width, shape.depth, shape.heads)
        self.head = nn.Linear(shape.width, shape.characters)

    def forward(self, characters: Tensor) -> Tensor:
        return self.head(self.trunk(self.embed(characters), is_causal=True))


class _Trunk(nn.Module):
    """Places, blocks, and a last norm: (B, T, D) to (B, T, D)."""

    def __init__(self, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, *, is_causal: bool = False
    ) -> Tensor:
        hidden = tokens + self.places[: tokens.shape[1]]
        for block in self.blocks:
            hidden = block(hidden, mask, is_causal)
        return self.norm(hidden)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        hidden = hidden + self.mixed(self._attended(self.first_norm(hidden), mask, is_causal))
        return hidden + self.narrow(F.gelu(self.widen(self.second_norm(hidden))))

    def _attended(self, hidden: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        parts = self.queries_keys_values(hidden).unflatten(2, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal
        )
        return mixed.transpose(1, 2).flatten(2)


def _embedding(words: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(words, width)
    nn.init.normal_(embedding.weight, std=0.02)
    return embedding
