"""Images from the Hugging Face hub, for a machine that is online and has `datasets`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from thresher.bench.images import Images
from thresher.bench.tasks._task import DataError


def from_hub(repository: str, *, image: str, label: str, cure: str) -> Images:
    """Return the train and test split of an image data set on the hub.

    Args:
        repository: its name there.
        image: the column of pictures.
        label: the column of labels.
        cure: what to do instead, for the message when this fails.

    Raises:
        DataError: `datasets` is not installed, or the hub cannot be reached.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(
            f"{repository} is not on this machine, and the package 'datasets', which fetches it "
            "when online, is not installed",
            cure=cure,
        ) from error
    try:
        splits: Any = datasets.load_dataset(repository)
    except Exception as error:  # the hub client raises its own, requests' and OS errors
        raise DataError(
            f"{repository} is not on this machine and could not be fetched from the hub "
            f"({type(error).__name__}: {error})",
            cure=cure,
        ) from error
    parts: dict[str, Any] = {}
    for split in ("train", "test"):
        pixels = np.stack([np.asarray(picture) for picture in splits[split][image]])
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        parts[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.uint8))
        parts[f"{split}_labels"] = torch.tensor(splits[split][label], dtype=torch.int64)
    return Images(**parts)
