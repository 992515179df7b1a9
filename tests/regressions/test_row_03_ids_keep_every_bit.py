"""Published distributed code concatenates int64 ids with float losses, which promotes the ids.

float32 then turns id 16777217 into 16777216, bfloat16 257 into 256, and a float16 loss above 65504
becomes infinite: scores land on the wrong samples, silently.
"""

from __future__ import annotations

import pytest
import torch

from contracts.drive import named
from contracts.found import CLASSES
from thresher import InfoBatch, Plan, Pruner
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Trace

SCORED = [kind for kind in CLASSES if kind.needs]


def test_the_fault_shows_with_this_torch() -> None:
    ids, losses = torch.tensor([2**24 + 1]), torch.tensor([0.5])
    assert torch.cat([ids, losses])[0].long() == 2**24
    assert torch.cat([torch.tensor([257]), losses.bfloat16()])[0].long() == 256


@pytest.mark.parametrize("kind", SCORED, ids=lambda kind: kind.__name__)
def test_ids_above_2_to_the_24_keep_every_bit(kind: type[Method]) -> None:
    method, size = kind(), 2**24 + 4
    ledger = Ledger(size, method.columns(), method.scalars)
    ids = torch.arange(2**24 - 2, size)
    before = {name: column.clone() for name, column in ledger.columns.items()}
    plan = Plan(epoch=0, ids=ids, weights=torch.ones(6), num_samples=size)
    scores = dict.fromkeys(method.needs, torch.tensor([1.0, 2, 3, 4, 5, 60]))
    method.observe(ledger, plan, Trace(scores=scores, step=torch.zeros(6, dtype=torch.int32)))
    for name, column in ledger.columns.items():
        # RePB's set of trained samples is these six, so there the others change.
        if name != "in_set":
            untouched = column[: 2**24 - 2].nan_to_num(nan=-1.0)
            assert torch.equal(untouched, before[name][: 2**24 - 2].nan_to_num(nan=-1.0))
    stored = [column[ids].double().tolist() for column in ledger.columns.values()]
    assert any(len(set(values)) > 1 for values in stored)
    for values in stored:
        # Larger scores never store less than smaller ones, or the other way round, in id order.
        assert values in (sorted(values), sorted(values, reverse=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", SCORED, ids=lambda kind: kind.__name__)
def test_low_precision_losses_land_on_their_samples(kind: type[Method], dtype: torch.dtype) -> None:
    """The same losses in any precision that holds them leave the same ledger."""
    states = []
    for precision in (dtype, torch.float32):
        pruner = Pruner(kind(), epochs=3, num_samples=5000)
        for ids in pruner.plan(0).ids.split(128):
            losses = (ids % 200 + 1).to(precision)
            pruner.reduce(losses, ids=ids, scores=named(pruner.method, losses))
        plan = pruner.plan(1)
        states.append((plan.checksum(), pruner.state_dict()["clock"]["ledger"]))
    (checksum, ledger), (expected, reference) = states
    assert checksum == expected
    for name, column in reference["columns"].items():
        assert torch.equal(ledger["columns"][name].nan_to_num(nan=-1), column.nan_to_num(nan=-1))


def test_a_loss_beyond_float16_is_kept_where_it_fits() -> None:
    pruner = Pruner(InfoBatch(), epochs=3, num_samples=4)
    ids = pruner.plan(0).ids
    pruner.reduce(torch.tensor([70000.0, 1.0, 1.0, 1.0]), ids=ids)
    pruner.plan(1)
    assert pruner.state_dict()["clock"]["ledger"]["columns"]["loss"][ids[0]] == 70000
