"""Texts in memory, as tokens, and the training set that a DataLoader reads them through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

from torch import Tensor

from thresher.bench.images import checksum_of
from thresher.bench.whole_batches import TrainingBatches
from thresher.draws import Draws

PADDING, UNKNOWN = 0, 1
"""The tokens that stand where a text has ended, and for a word that is not known."""


@final
@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts of equal length as numbers, split.

    Args:
        train_tokens: of an integer type, (n, T).
        train_labels: int64, a class for each text, (n,), or for each place, (n, T).
        test_tokens: of an integer type, (m, T).
        test_labels: int64, (m,) or (m, T).
        texts: of the training split, as a person reads them.
        clean_labels: int64, (n,), where the training labels are known to be wrong in part.
        class_names: of the labels, or empty.
    """

    train_tokens: Tensor
    train_labels: Tensor
    test_tokens: Tensor
    test_labels: Tensor
    texts: tuple[str, ...]
    clean_labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.train_labels)

    def checksum(self) -> str:
        """Return eight hexadecimal digits that change with any token or label."""
        return checksum_of(self.train_tokens, self.train_labels, self.test_tokens, self.test_labels)

    def shown(self, sample_id: int) -> str:
        """Return a training text as a person reads it."""
        return self.texts[sample_id]

    def head(self, train: int, test: int) -> Tokens:
        """Return the first samples of each split."""
        clean = self.clean_labels
        return replace(
            self,
            train_tokens=self.train_tokens[:train],
            train_labels=self.train_labels[:train],
            test_tokens=self.test_tokens[:test],
            test_labels=self.test_labels[:test],
            texts=self.texts[:train],
            clean_labels=None if clean is None else clean[:train],
        )


@final
class TokenSet(TrainingBatches):
    """Tokens and labels, a whole batch per request.

    Which words of a text are hidden depends on (seed, epoch, sample id) and on nothing else.

    Args:
        tokens: of an integer type, (n, T).
        labels: int64, (n,) or (n, T).
        hidden: the share of tokens that become `UNKNOWN` in an epoch; padding stays.
        seed: of the random choices.
    """

    def __init__(self, tokens: Tensor, labels: Tensor, *, hidden: float, seed: int) -> None:
        super().__init__(labels)
        self._hidden, self._seed = hidden, seed
        self._whole = self._tokens = tokens
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw which tokens are hidden in this epoch."""
        if self._hidden:
            drawn = Draws(self._seed, epoch).uniform(self._whole.numel(), "hidden")
            is_hidden = drawn.view(self._whole.shape) < self._hidden
            is_hidden &= self._whole != PADDING
            self._tokens = self._whole.masked_fill(is_hidden, UNKNOWN)

    def _inputs(self, ids: Tensor) -> Tensor:
        return self._tokens[ids].long()


@final
@dataclass(frozen=True, kw_only=True)
class Sequences:
    """How tokens become batches.

    Args:
        hidden: the share of the training tokens that are hidden in each epoch.
    """

    hidden: float = 0.0

    @property
    def knobs(self) -> dict[str, Any]:
        """What a run's configuration says about augmentation."""
        return {"flip": None, "shift": None, "hidden": self.hidden or None}

    def training_set(self, data: Tokens, seed: int) -> TokenSet:
        """Return the training split as a data set, with tokens hidden."""
        return TokenSet(data.train_tokens, data.train_labels, hidden=self.hidden, seed=seed)

    def plain_set(self, data: Tokens) -> TokenSet:
        """Return the training split as it is."""
        return replace(self, hidden=0.0).training_set(data, seed=0)

    def test_batches(self, data: Tokens, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test split in batches."""
        batches = zip(data.test_tokens.split(size), data.test_labels.split(size), strict=True)
        for tokens, labels in batches:
            yield tokens.long(), labels
