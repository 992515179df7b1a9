"""CIFAR's images in one npz file, as lossless WebP strips."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thresher.bench.images import Images


def read_strips(path: Path) -> Images:
    """Return the images of an npz file of WebP strips."""
    from PIL import Image

    parts: dict[str, Any] = {}
    # numpy leaves its own handle open when the file is no zip file.
    with path.open("rb") as file, np.load(file) as npz:
        step = int(npz["quant_step"])
        for split, num in (("train", 50_000), ("test", 10_000)):
            blob, offsets = npz[f"{split}_webp"].tobytes(), npz[f"{split}_offsets"].tolist()
            images = np.empty((num, 32, 32, 3), np.uint8)
            done = 0
            for begin, end in pairwise(offsets):
                strip: Any = np.asarray(Image.open(io.BytesIO(blob[begin:end])).convert("RGB"))
                strip = strip.reshape(-1, 32, 32, 3)
                images[done : done + len(strip)] = strip
                done += len(strip)
            labels = npz[f"{split}_labels"]
            if done != num or labels.shape != (num,):
                raise ValueError(f"{done} images and {len(labels)} labels in {split}, not {num}")
            if step != 1:
                np.minimum(images.astype(np.uint16) * step, 255, out=images, casting="unsafe")
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
            parts[f"{split}_images"] = pixels
            parts[f"{split}_labels"] = torch.from_numpy(labels).long()
        if "classes" in npz:
            parts["class_names"] = tuple(map(str, npz["classes"]))
    return Images(**parts)
