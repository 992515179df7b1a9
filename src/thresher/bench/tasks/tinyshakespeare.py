"""Tiny Shakespeare: a million characters of his plays, each predicted from those before it.

Source: A. Karpathy, char-rnn, 2015; the text is in the public domain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thresher.bench.attention import CharacterGPT
from thresher.bench.objectives import NEXT_CHARACTERS
from thresher.bench.tasks._files import given, reading
from thresher.bench.tasks._task import Budget, Task
from thresher.bench.texts import Sequences, Tokens

_LENGTH, _CHARACTERS, _SIZE = 64, 65, 1_115_394
_TRAIN, _TEST = 5_000, 500
_CURE = "Give the folder of Tiny Shakespeare's input.txt by --data"


def load(folder: Path | None) -> Tokens:
    """Return the text in windows of 64 characters, each labelled with those that come next.

    The first nine tenths are for training, the last for testing; of each the first windows.

    Args:
        folder: with `input.txt`, or its parent.

    Raises:
        DataError: the file is not found, or another text.
    """
    path = given(folder, "input.txt", inside="tinyshakespeare", cure=_CURE)
    with reading(path, cure=_CURE):
        text = path.read_text("ascii")
        known = sorted(set(text))
        if len(text) != _SIZE or len(known) != _CHARACTERS:
            raise ValueError(
                f"{len(text):,} characters, {len(known)} different ones; "
                f"not {_SIZE:,} and {_CHARACTERS}"
            )
    numbers = np.searchsorted(known, list(text)).astype(np.uint8)
    characters, border = torch.from_numpy(numbers), _SIZE * 9 // 10
    train, test = _windows(characters[:border], _TRAIN), _windows(characters[border:], _TEST)
    return Tokens(
        train_tokens=train[:, :-1],
        train_labels=train[:, 1:].long(),
        test_tokens=test[:, :-1],
        test_labels=test[:, 1:].long(),
        texts=tuple(text[begin : begin + _LENGTH + 1] for begin in range(0, border, _LENGTH))[
            : len(train)
        ],
    )


def _windows(characters: Tensor, num: int) -> Tensor:
    """Return the first windows, which share no predicted character: (num, T + 1)."""
    return characters.unfold(0, _LENGTH + 1, _LENGTH)[:num]


TASKS = {
    "tinyshakespeare": Task(
        name="tinyshakespeare",
        title="Tiny Shakespeare, small GPT on characters",
        load=load,
        model=CharacterGPT(characters=_CHARACTERS, length=_LENGTH, width=48, depth=2, heads=3),
        budget=Budget(
            epochs=10, batch_size=32, optimizer="adamw", learning_rate=4e-3, weight_decay=0.1
        ),
        inputs=Sequences(),
        objective=NEXT_CHARACTERS,
        note=(
            f"{_TRAIN:,} training windows of {_LENGTH} characters and {_TEST} test windows. "
            "The metric is bits per character: less is better, and differences are counted "
            "so that plus is better."
        ),
    )
}
