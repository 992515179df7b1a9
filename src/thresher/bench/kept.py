"""What a run did with each sample, in a small file beside the runs: visits and excess.

See `thresher.diagnostics.SampleRecorder` for what they are. Losses are those of training, with
augmentation, each before its step.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.drafts import drafted

if TYPE_CHECKING:
    # The store imports this module, and --help the store: it has to answer without numpy and torch.
    import numpy as np

    from thresher.diagnostics import SampleRecorder

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


def packed(recorder: SampleRecorder, seed: int) -> str | None:
    """Return what a run's recorder has as text for its record; None if it is of too many samples.

    Excess is kept in steps of 1/32.
    """
    import numpy as np

    visits, excess = recorder.visits, recorder.excess.numpy()
    if len(excess) > MOST_SAMPLES:
        return None
    file = io.BytesIO()
    np.savez_compressed(
        file,
        visits=np.minimum(visits.counts.numpy(), np.iinfo(np.uint16).max).astype(np.uint16),
        excess=(np.rint(np.clip(excess, -1000, 1000) * _STEPS) / _STEPS).astype(np.float16),
        seed=np.int64(seed),
        epochs=np.int64(visits.epochs),
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
    path = path_of(config, folder)
    if not path.exists():
        # Older versions left the setting out of the name.
        path = _named_after(config, "seed", "setting", folder=folder)
    return _read(path)


def _read(path: Path) -> Samples | None:
    import numpy as np

    try:
        # Opened here, as numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
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
    """Return the file of a row: named after all knobs of its runs but the seed.

    A static method has the run's seed in its setting; one that it was given is in its name, too.
    """
    setting = re.sub(r"\bseed=\d+", "seed", str(config.get("setting")))
    return _named_after(dict(config) | {"setting": setting}, "seed", folder=folder)


def _named_after(config: Mapping[str, Any], *but: str, folder: Path) -> Path:
    knobs = {name: value for name, value in config.items() if name not in but}
    text = json.dumps(knobs, sort_keys=True, ensure_ascii=False)
    return folder / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
