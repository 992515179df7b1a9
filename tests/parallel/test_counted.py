"""A batch says which of its samples are copies, and what its weighted sum is divided by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from contracts.drive import losses
from parallel import jobs
from parallel.processes import succeed
from thresher import InfoBatch

EPOCHS, GLOBAL = 3, 8


def told(rank: int, num_samples: int) -> list[tuple[Any, float, float, float]]:
    """Of each batch: who is real, the divisor, the mean by `reduce`, and the sum of real w ℓ."""
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    method = InfoBatch(r=0.6)
    pruner, loader = jobs.wrapped(method, num_samples, GLOBAL // world, epochs=EPOCHS)
    table, found = losses(num_samples, EPOCHS), []
    for _ in range(EPOCHS):
        epoch = pruner.epoch
        for ids in loader:
            holder = loader._thresher.hand.latest()
            real, divisor = holder.progress.counted(holder.place)
            own = table[epoch][ids]
            mean = float(pruner.reduce(own))
            weight = np.zeros(num_samples)
            plan = pruner.plan(epoch)
            weight[plan.ids.numpy()] = plan.weights.numpy()
            weighted = weight[ids.numpy()] * own.numpy()
            total = weighted.sum() if real is None else weighted[real].sum()
            found.append((None if real is None else real.tolist(), divisor, mean, float(total)))
    return found


@pytest.mark.parametrize("num_samples", [16, 21, 25])
def test_the_mean_times_its_divisor_is_the_sum_over_what_is_no_copy(num_samples: int) -> None:
    alone, ranks = told(0, num_samples), succeed(told, 2, num_samples)
    copies = 0
    for one, *many in zip(alone, *ranks, strict=True):
        for real, divisor, mean, total in (one, *many):
            assert mean * divisor == pytest.approx(total, rel=1e-5)
            copies += 0 if real is None else real.count(False)
        assert one[0] is None
        assert sum(each[3] for each in many) == pytest.approx(one[3], rel=1e-5)
        assert sum(each[1] for each in many) == pytest.approx(one[1])
    assert copies == 0 if num_samples == 16 else copies > 0
