"""What an epoch leaves behind: the ledger that has seen it, and its row of numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from thresher.accounting import Row
from thresher.errors import AllLossesNaNError
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.plan import Plan
from thresher.progress import Progress

Refresh = Callable[[Tensor], Mapping[str, Tensor]]
"""Scores samples, given by their ids, int64, with an extra forward pass: by name, float32."""


def close(
    progress: Progress, ledger: Ledger, method: Method, refresh: Refresh | None
) -> tuple[Ledger, Row]:
    """Return a new ledger that remembers the epoch, and the epoch's row; changes neither argument.

    A method may want some samples scored anew; it gets them where a pass over them can be made.

    Raises:
        AllLossesNaNError: there is not one finite score.
    """
    start = time.perf_counter()
    progress.release()
    after = ledger.copy()
    row = progress.digest(method, after)
    if row.trained and row.non_finite == row.trained:
        raise AllLossesNaNError(
            f"All {row.trained} scores of epoch {row.epoch} are NaN or infinite",
            "finite losses",
            "Training has diverged: lower the learning rate, or check the loss and the data",
        )
    if refresh is not None and isinstance(progress.plan, Plan):
        ids = method.refreshed(after, progress.plan)
        if ids is not None and len(ids):
            method.observe_refreshed(after, ids, refresh(ids))
            row = replace(row, extra_forwards=row.extra_forwards + len(ids))
    return after, replace(row, closing_seconds=time.perf_counter() - start)
