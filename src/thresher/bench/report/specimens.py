"""Single samples as a person sees them: a picture or a text, with label and numbers."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import Tensor

from thresher.errors import ThresherError

_EXCERPT = 180
"""Characters of a text."""
_SMALLEST = 96
"""Pictures with fewer pixels a side are enlarged by whole factors until they have as many."""


@final
@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One sample on the page.

    Args:
        sample: its id.
        picture: a data URI; empty if it is a text.
        text: an excerpt; empty if it is a picture.
        label: its name.
        note: what is said of it below.
        is_wrong: whether its label is known to be wrong; None where nobody knows.
    """

    sample: int
    picture: str
    text: str
    label: str
    note: str
    is_wrong: bool | None = None

    @property
    def alt(self) -> str:
        """What one would say of the picture to somebody who does not see it."""
        label = f"labelled {self.label}, " if self.label else ""
        return f"Sample {self.sample}, {label}{self.note}"


@final
class Data:
    """A task's data, as far as the page shows it.

    Args:
        data: what the task loaded.
        wrong: bool, (n,), which labels are known to be wrong, or None.
    """

    def __init__(self, data: Any, wrong: np.ndarray | None) -> None:
        self._data = data
        self.wrong = wrong
        first = [data.shown(sample) for sample in range(min(16, len(data.train_labels)))]
        brightest = max((int(each.max()) for each in first if not isinstance(each, str)), default=0)
        # Digits have seventeen shades of grey, which would all be black.
        self._gain = 255 / brightest if 0 < brightest < 128 else 1.0

    def specimen(self, sample: int, note: str) -> Specimen:
        """Return one sample."""
        shown = self._data.shown(sample)
        is_text = isinstance(shown, str)
        return Specimen(
            sample=sample,
            picture="" if is_text else picture(shown, self._gain),
            text=excerpt(shown) if is_text else "",
            label=self._label(sample),
            note=note,
            is_wrong=None if self.wrong is None else bool(self.wrong[sample]),
        )

    def _label(self, sample: int) -> str:
        labels, names = self._data.train_labels, self._data.class_names
        if labels is None or labels.ndim != 1:
            return ""
        label = int(labels[sample])
        return str(names[label]) if 0 <= label < len(names) else str(label)


def picture(pixels: Tensor, gain: float = 1.0) -> str:
    """Return a picture, uint8 of shape (1 or 3, H, W), as the data URI of a PNG file.

    Args:
        pixels: of it.
        gain: what they are multiplied by.
    """
    from PIL import Image

    array = np.minimum(pixels.cpu().numpy() * gain, 255).astype(np.uint8)
    image = Image.fromarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, 2))
    # Not by CSS alone: who saves a picture from the page should see something.
    factor = max(1, -(-_SMALLEST // min(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.quantize(64).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def excerpt(text: str) -> str:
    r"""Return the beginning of a text, on one line.

    Example:
        >>> excerpt("one\ntwo")
        'one two'
    """
    joined = " ".join(text.split())
    return joined if len(joined) <= _EXCERPT else f"{joined[: _EXCERPT - 1]}…"


def data_of(task_name: str, checksum: str, folders: Sequence[Path]) -> Data | None:
    """Return the very data of some runs, or None if it is in none of the folders or usual places.

    Args:
        task_name: of the runs.
        checksum: of the data they were made with.
        folders: to look into, and into their folders.
    """
    from thresher.bench.tasks import task as find_task

    try:
        task = find_task(task_name)
    except ThresherError:
        return None
    for folder in _places(folders):
        try:
            with _no_downloads():
                data: Any = task.load(folder)
        except (ThresherError, OSError, ValueError, KeyError):
            continue
        if hasattr(data, "shown") and data.checksum() == checksum:
            wrong = task.known_wrong(data)
            return Data(data, None if wrong is None else np.asarray(wrong, dtype=np.bool_))
    return None


def _places(folders: Sequence[Path]) -> Iterator[Path | None]:
    for folder in folders:
        yield folder
        if folder.is_dir():
            yield from sorted(each for each in folder.iterdir() if each.is_dir())
    yield None


@contextmanager
def _no_downloads() -> Generator[None]:
    """Let the hub's client use what it has: a report is no reason to fetch a data set."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
