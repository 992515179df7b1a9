"""OrderDP's constructor draws a first epoch that nobody trains, and its report counts it as pruned.

Of 1,000 samples and 10 epochs at (0.8, 0.5) it says 6,600 pruned visits; 6,000 are. Its histogram
of visits is one ahead, too, and the ImageNet code divides by one epoch more than there are.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from contracts.drive import losses
from thresher import OrderDP, Pruner
from thresher.diagnostics import visits

SIZE, EPOCHS = 1000, 10
METHOD = OrderDP(rho_s=0.8, rho_q=0.5)


class Published:
    """The fault: building the sampler prunes, and every prune is counted."""

    def __init__(self) -> None:
        self.pruned = 0
        self.prune()

    def prune(self) -> list[int]:
        self.pruned += SIZE - METHOD.sizes(SIZE)[1]
        return list(range(METHOD.sizes(SIZE)[1]))


def test_the_fault_shows() -> None:
    sampler = Published()
    trained = sum(len(sampler.prune()) for _ in range(EPOCHS))
    assert SIZE * EPOCHS - trained == 6000
    assert sampler.pruned == 6600


def test_a_report_counts_what_was_trained() -> None:
    table, pruner = losses(SIZE, EPOCHS), Pruner(METHOD, epochs=EPOCHS)
    loader = pruner.wrap(DataLoader(torch.arange(SIZE), 100, shuffle=True))
    trained, plans = torch.zeros(SIZE, dtype=torch.int64), []
    for epoch in range(EPOCHS):
        plans.append(pruner.plan(epoch))
        for ids in loader:
            trained[ids] += 1
            pruner.reduce(table[epoch][ids])
    report = pruner.report()
    assert SIZE * EPOCHS - report.trained == SIZE * EPOCHS - int(trained.sum()) == 6000
    assert report.prune_rate == pytest.approx(0.6)
    assert [row.trained for row in report.rows] == [400] * EPOCHS
    assert torch.equal(visits(plans).counts, trained)
