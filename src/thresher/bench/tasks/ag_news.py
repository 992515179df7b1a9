"""AG News: headlines and first sentences in four classes, with right labels or people's.

Sources: Zhang, Zhao and LeCun, "Character-level Convolutional Networks for Text Classification",
2015; Huang et al., "NoisyAG-News", 2024 (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from thresher.bench.attention import TextTransformer
from thresher.bench.tasks._files import given, json_lines, reading
from thresher.bench.tasks._task import Budget, Task
from thresher.bench.texts import Sequences, Tokens
from thresher.bench.words import tokens, vocabulary

_WORDS, _LENGTH = 8_000, 40
_CLASSES = ("World", "Sports", "Business", "Sci/Tech")
_TRAIN, _TEST = "ag_news_train15k.jsonl.xz", "ag_news_test.jsonl.xz"
_CURE = f"Give the folder of {_TRAIN} and {_TEST} by --data"


def load(folder: Path | None, *, noisy: bool) -> Tokens:
    """Return AG News as the numbers of its words.

    Each file is JSON lines, packed by xz: `text`, `label` from 0 to 3, and in the training file
    `noisy_label`, people's, or null.

    Args:
        folder: with both files, or its parent.
        noisy: train on people's labels, on the texts that have them.

    Raises:
        DataError: a file is not found or damaged.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in (_TRAIN, _TEST):
        path = given(folder, name, inside="ag_news", cure=_CURE)
        with reading(path, cure=_CURE):
            rows[name] = json_lines(path)
            _require_rows(rows[name])
    train = [row for row in rows[_TRAIN] if not noisy or row.get("noisy_label") is not None]
    texts = [row["text"] for row in train]
    words = vocabulary(texts, _WORDS)
    clean = torch.tensor([row["label"] for row in train])
    return Tokens(
        train_tokens=tokens(texts, words, _LENGTH),
        train_labels=torch.tensor([row["noisy_label"] for row in train]) if noisy else clean,
        test_tokens=tokens([row["text"] for row in rows[_TEST]], words, _LENGTH),
        test_labels=torch.tensor([row["label"] for row in rows[_TEST]]),
        texts=tuple(texts),
        clean_labels=clean if noisy else None,
        class_names=_CLASSES,
    )


def _require_rows(rows: Sequence[dict[str, Any]]) -> None:
    kinds = {(type(row["text"]), row["label"], row.get("noisy_label")) for row in rows}
    classes = {0, 1, 2, 3}
    if not rows or any(
        kind is not str or label not in classes or noisy not in classes | {None}
        for kind, label, noisy in kinds
    ):
        raise ValueError("every line needs a text and a label from 0 to 3")


def _task(name: str, title: str, *, noisy: bool) -> Task:
    return Task(
        name=name,
        title=f"{title}, small transformer",
        load=partial(load, noisy=noisy),
        model=TextTransformer(words=_WORDS, length=_LENGTH, classes=4, width=32, depth=1, heads=2),
        budget=Budget(
            epochs=8, batch_size=64, optimizer="adamw", learning_rate=3e-3, weight_decay=0.1
        ),
        inputs=Sequences(hidden=0.3),
        note=(
            f"The first {_LENGTH} words of each text, of the {_WORDS:,} most frequent ones; three "
            "in ten are hidden in training, other ones in each epoch."
        ),
    )


TASKS = {
    "ag-news": _task("ag-news", "AG News (14,547 texts)", noisy=False),
    "ag-news-noisy": _task(
        "ag-news-noisy", "AG News (9,993 texts, 20 % of labels wrong)", noisy=True
    ),
}
