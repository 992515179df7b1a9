"""Lightning trains the planned samples with their weights, in one process and in two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Trained, by_hand as by_hand_run, require_same
from integrations.lightning_runs import Classifier, fit, on_rank, saved
from parallel.processes import succeed


def fits(size: int, accumulation: int = 1, **options: object) -> list[Trained]:
    """The ranks of a run."""
    if size == 1:
        return [fit(accumulation, **options)]  # type: ignore[arg-type]
    return succeed(on_rank, size, accumulation, options)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_it_trains_what_a_hand_written_loop_does(size: int, accumulation: int) -> None:
    whole = by_hand_run(BATCH * size, accumulation)
    assert whole.planned[0] == whole.planned[-1] == by_hand.SIZE
    assert max(whole.planned[1:-1]) < 30, "epochs shrink, and grow again"
    rates = by_hand.designed(BATCH * size, accumulation)
    require_same(fits(size, accumulation), whole, rates=rates, exact=size == 1)
