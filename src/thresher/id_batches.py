"""A batch's ids on their way to the data set and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thresher.steps import Place


class IdBatch(NamedTuple):
    """The ids of one batch, and where they lie in the epoch if that is known.

    A loader's index sampler yields them, the tagged data set fetches what they ask for, and they
    come back beside the batch: with the place on them nothing has to be looked up.

    Args:
        ids: int64, shape (m,).
        place: their positions; None if whoever made them does not know.
        wants_samples: whether these are candidates, whose samples are wanted beside the batch.
        is_scored: whether candidates are wanted as a collated batch too.
    """

    ids: np.ndarray
    place: Place | None = None
    wants_samples: bool = False
    is_scored: bool = False
