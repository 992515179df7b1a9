"""Which samples a run trained, how often, and which of them it never got used to.

For each sample: *visits*, the number of times it was trained, and *excess*, the mean over its
visits of (its loss) − (mean loss of all that the same epoch trained). A sample with a wrong label
keeps a loss above the others' for as long as the model resists learning it by heart, so samples
are suspected in the order of their excess. What an epoch's mean takes off is that losses fall in
the course of training: without it, a sample that was visited early and pruned later would be
suspected for that. Under full training it takes the same off everybody, and the order is that of
the mean loss (small-loss trick; the area under the loss curve instead of Pleiss et al.'s margin).
Losses are those of training, with augmentation, each before its step.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from thresher.drafts import drafted

if TYPE_CHECKING:
    # The store imports this module, and --help the store: it has to answer without torch.
    from torch import Tensor

FOLDER = "samples"
"""Where the files are, beside the runs."""

MOST_SAMPLES = 200_000
"""Of a larger data set nothing is kept: three bytes a sample and row would be megabytes each."""

_STEPS = 32
"""Excess is kept in steps of 1/32: fewer distinct values take half the room when compressed."""


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is kept of one run, by sample id.

    Args:
        visits: uint16, (n,), times trained.
        excess: float16, (n,), mean loss above the epoch's mean; NaN for a sample never trained.
        seed: of the run.
        epochs: that were trained.
    """

    visits: np.ndarray
    excess: np.ndarray
    seed: int
    epochs: int

    def suspects(self) -> np.ndarray:
        """Return all ids, the most suspected first, those without a loss last; ties by id."""
        excess = self.excess.astype(np.float32)
        return np.argsort(np.where(np.isnan(excess), np.inf, -excess), kind="stable")


@final
class Kept:
    """Counts visits and adds up losses in the course of a run.

    A step only appends to a list; nothing is read from the device before the epoch is over.

    Args:
        num_samples: n.
    """

    def __init__(self, num_samples: int) -> None:
        self._visits = np.zeros(num_samples, dtype=np.int64)
        self._losses = np.zeros(num_samples, dtype=np.int64)
        self._excess = np.zeros(num_samples, dtype=np.float64)
        self._batches: list[tuple[np.ndarray, Tensor]] = []
        self._epochs = 0

    def take(self, ids: np.ndarray, losses: Tensor) -> None:
        """Note a batch: its ids, int64 (m,), and its losses, (m,)."""
        self._batches.append((ids, losses.detach()))

    def close_epoch(self) -> None:
        """Count what the epoch trained."""
        self._epochs += 1
        if not self._batches:
            return
        from torch import cat

        ids = np.concatenate([ids for ids, _ in self._batches])
        losses = cat([losses for _, losses in self._batches]).double().cpu().numpy()
        self._batches.clear()
        size, finite = len(self._visits), np.isfinite(losses)
        self._visits += np.bincount(ids, minlength=size)
        if finite.any():
            ids, losses = ids[finite], losses[finite]
            self._losses += np.bincount(ids, minlength=size)
            self._excess += np.bincount(ids, weights=losses - losses.mean(), minlength=size)

    def packed(self, seed: int) -> str | None:
        """Return everything as text for a run's record; None if there are too many samples."""
        if len(self._visits) > MOST_SAMPLES:
            return None
        with np.errstate(invalid="ignore"):
            excess = self._excess / self._losses
        file = io.BytesIO()
        np.savez_compressed(
            file,
            visits=np.minimum(self._visits, np.iinfo(np.uint16).max).astype(np.uint16),
            excess=(np.rint(np.clip(excess, -1000, 1000) * _STEPS) / _STEPS).astype(np.float16),
            seed=np.int64(seed),
            epochs=np.int64(self._epochs),
        )
        return base64.b64encode(file.getvalue()).decode("ascii")


def stored(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a record without its samples, which go to a file of their own in `folder`/samples.

    One file for each row: the first of its seeds that is finished. So a suite of any number of
    seeds takes about a hundred kilobytes for each row of 50,000 samples.

    Raises:
        OSError: the file cannot be written.
    """
    if "samples" not in record:
        return record
    packed = record["samples"]
    rest = {name: value for name, value in record.items() if name != "samples"}
    path = path_of(record["config"], folder)
    if isinstance(packed, str) and not path.exists():
        path.parent.mkdir(exist_ok=True)
        with drafted(path) as file:
            file.write(base64.b64decode(packed))
    return rest


def read(config: Mapping[str, Any], folder: Path) -> Samples | None:
    """Return what is kept of a row; None if there is nothing, or nothing that can be read."""
    try:
        # Opened here, as numpy leaves a file open that turns out to be no archive.
        with path_of(config, folder).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            found = Samples(
                visits=file["visits"],
                excess=file["excess"],
                seed=int(file["seed"]),
                epochs=int(file["epochs"]),
            )
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, binascii.Error):
        return None
    is_whole = found.visits.ndim == 1 and found.visits.shape == found.excess.shape
    return found if is_whole and found.epochs > 0 else None


def path_of(config: Mapping[str, Any], folder: Path) -> Path:
    """Return the file of a row: named after all knobs of its runs but the seed."""
    knobs = {name: value for name, value in config.items() if name not in ("seed", "setting")}
    text = json.dumps(knobs, sort_keys=True, ensure_ascii=False)
    return folder / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
