"""A tokenizer of a few lines: words in lower case, the most frequent ones by number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from thresher.bench.texts import PADDING, UNKNOWN


def split(text: str) -> list[str]:
    """Return the words and numbers of a text.

    Example:
        >>> split("Oil at $50, again")
        ['oil', 'at', '50', 'again']
    """
    return re.findall(r"[^\W\d_]+|\d+", text.lower())


def vocabulary(texts: Sequence[str], size: int) -> dict[str, int]:
    """Return the most frequent words, each with its number; equally frequent ones by spelling.

    Args:
        texts: of the training split.
        size: of the vocabulary, with padding and the word that stands for all others.
    """
    counts = Counter(word for text in texts for word in split(text))
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
    return {word: number for number, word in enumerate(frequent, start=2)}


def tokens(texts: Sequence[str], words: dict[str, int], length: int) -> Tensor:
    """Return the numbers of the first words of each text, int16, (n, length), padded at the end."""
    numbers = torch.full((len(texts), length), PADDING, dtype=torch.int16)
    for row, text in zip(numbers, texts, strict=True):
        found = [words.get(word, UNKNOWN) for word in split(text)[:length]] or [UNKNOWN]
        row[: len(found)] = torch.tensor(found, dtype=torch.int16)
    return numbers
