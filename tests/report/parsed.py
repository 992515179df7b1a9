"""Pages taken apart, data of made-up samples, and runs with a text wherever a run has one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import torch

from report.made_up import a_comparison, a_run
from thresher.bench.metrics import ACCURACY

VOID = {"meta", "link", "img", "br"}


class Parsed(HTMLParser):
    """A page's elements and texts; fails on a tag that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):  # pyright: ignore
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and the names of their attributes."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]


class Texts:
    """Data whose samples are texts."""

    def __init__(self, text: str, num: int = 100) -> None:
        self.train_labels = torch.zeros(num, dtype=torch.int64)
        self.class_names = (text,)
        self._text = text

    def shown(self, sample: int) -> str:
        return f"{self._text} {sample}"


class Pictures:
    """Data whose samples are pictures."""

    train_labels = torch.arange(100) % 3
    class_names = ("one", "two")

    def shown(self, sample: int) -> torch.Tensor:
        return torch.full((3, 8, 8), sample, dtype=torch.uint8)


def infested(text: str) -> list[dict[str, Any]]:
    """A comparison with the text wherever a run has one."""
    other: dict[str, Any] = {
        "task": text, "data": text, "model": text, "notes": [text], "commit": text,
        "versions": {text: text}, "machine": {text: text},
        "measure": ACCURACY.in_record() | {"name": text, "unit": text, "points": text},
    }  # fmt: skip
    records = a_comparison(**other)
    return records + [a_run(text, 0.5, seed, 80.0, **other) for seed in range(3)]


def fidelity(word: str) -> str:
    row = {"method": word, "phase": "early", "cosine": [0.9, 0], "bias": 0.1, "variance": [1, 0]}
    return json.dumps({"tasks": [{"title": word, "gradients": [row]}]})
