"""Published code resets its weights only in the epoch `δE + 1`, compared with `==`.

For 50, 90, 100 or 300 epochs at δ = 0.875 that is no whole number, so the full-data epochs at the
end train with the last pruned epoch's weights.
"""

from __future__ import annotations

import math

import pytest

from contracts.drive import losses, run
from thresher import InfoBatch, Omission, RePB
from thresher.methods import Method


@pytest.mark.parametrize("epochs", [50, 90, 100, 160, 200])
@pytest.mark.parametrize(
    "method",
    [InfoBatch(), RePB(rho=0.5, delta=0.875), Omission(delta=0.875)],
    ids=lambda method: type(method).__name__,
)
def test_annealing_weights_are_one(method: Method, epochs: int) -> None:
    size = 40
    _, plans = run(method, losses(size, epochs))
    last = math.floor(0.875 * epochs)
    assert len(plans[last - 1]) < size
    assert bool((plans[last - 1].weights != 1).any())
    for plan in plans[last:]:
        assert len(plan) == size
        assert bool((plan.weights == 1).all())
