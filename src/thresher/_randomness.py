"""Passes that leave every global random stream where it was."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def unmoved_randomness(devices: Iterable[torch.device] = ()) -> Generator[None]:
    """Put back, whatever happens, the streams of random, numpy, torch and torch's CUDA `devices`.

    Cost: about 50 µs.
    """
    cuda = sorted({device.index or 0 for device in devices if device.type == "cuda"})
    ours = random.getstate()
    numpys = np.random.get_state()  # noqa: NPY002 - it is put back as it was
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
