"""A new subset is in force from the next epoch that is not begun, and survives a resume."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from loops import Numbers, loss_of, train
from small_runs import copied, differences
from thresher import InfoBatch, Method, Pruner
from thresher.errors import SettingError, StaleBatchError
from thresher.ledger import Column, Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Selection


@dataclass(frozen=True, kw_only=True)
class Given(Method):
    """Trains on the ids it was built with, until they are replaced: what a static method does."""

    ids: tuple[int, ...]

    needs: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[dict[str, float]] = {"replaced": 0.0}
    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def columns(self) -> tuple[Column, ...]:
        return Column("member", torch.bool, False), Column("weight", torch.float32, 1.0)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        if ledger.scalars["replaced"]:
            return Selection(kept=ledger["member"].clone(), weights=ledger["weight"].clone())
        kept = torch.zeros(ledger.num_samples, dtype=torch.bool)
        kept[list(self.ids)] = True
        return Selection(kept=kept)


def given(**settings: Any) -> tuple[Pruner, Any]:
    pruner = Pruner(Given(ids=(0, 1, 2, 3)), epochs=6, **settings)
    return pruner, pruner.wrap(DataLoader(Numbers(12), 2, shuffle=True))


def trained(pruner: Pruner, loader: Any, epoch: int) -> set[int]:
    return {id_ for batch in train(pruner, loader, epoch) for id_ in batch}


def test_between_epochs_the_next_one_trains_on_the_new_subset() -> None:
    pruner, loader = given()
    assert trained(pruner, loader, 0) == {0, 1, 2, 3}
    assert len(loader) == 2
    pruner.replace_subset(torch.tensor([4, 5, 6, 7, 8, 9]), torch.full((6,), 2.0))
    assert len(loader) == 3
    assert trained(pruner, loader, 1) == {4, 5, 6, 7, 8, 9}
    assert set(pruner.plan(1).weights.tolist()) == {2.0}
    pruner.replace_subset([10, 11])
    assert trained(pruner, loader, 2) == {10, 11}
    assert pruner.plan(2).weights.tolist() == [1.0, 1.0]
    assert trained(pruner, loader, 3) == {10, 11}
    assert [row.planned for row in pruner.report().rows] == [4, 6, 2, 2]
    assert pruner.state_dict()["clock"]["ledger"]["scalars"] == {"replaced": 2}


def test_an_epoch_that_is_not_begun_takes_the_new_subset_at_once() -> None:
    pruner, loader = given()
    early = next(iter(loader))
    older = iter(loader)
    next(older)
    pruner.replace_subset([7, 8])
    with pytest.raises(StaleBatchError, match="no longer holds"):
        pruner.reduce(loss_of(early, 0))
    del older
    assert trained(pruner, loader, 0) == {7, 8}


def test_an_epoch_in_progress_keeps_its_subset() -> None:
    pruner, loader = given()
    batches = iter(loader)
    seen = train(pruner, itertools.islice(batches, 1), 0)
    pruner.replace_subset([7, 8])
    seen += train(pruner, batches, 0)
    assert {id_ for batch in seen for id_ in batch} == {0, 1, 2, 3}
    pruner.replace_subset([9])
    assert trained(pruner, loader, 1) == {9}, "of two replacements the last one holds"


@pytest.mark.parametrize("num_reduced", [1, 2])
def test_a_waiting_subset_survives_a_resume(num_reduced: int) -> None:
    pruner, loader = given()
    batches = iter(loader)
    train(pruner, itertools.islice(batches, num_reduced), 0)
    pruner.replace_subset([4, 5, 6, 7], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    state = copied(pruner.state_dict())
    other, others = given()
    other.load_state_dict(state)
    assert not differences(other.state_dict(), state)
    train(pruner, batches, 0)
    if other.epoch == 0:
        train(other, others, 0)
    assert trained(pruner, loader, 1) == trained(other, others, 1) == {4, 5, 6, 7}
    assert torch.equal(pruner.plan(1).weights, other.plan(1).weights)
    assert not differences(other.state_dict(), pruner.state_dict())


def test_states_have_the_same_shapes_whether_a_subset_waits_or_not() -> None:
    pruner, loader = given()
    quiet = pruner.state_dict()["clock"]["replacement"]
    train(pruner, itertools.islice(loader, 1), 0)
    pruner.replace_subset([4])
    waiting = pruner.state_dict()["clock"]["replacement"]
    assert {name: getattr(value, "shape", type(value)) for name, value in quiet.items()} == {
        name: getattr(value, "shape", type(value)) for name, value in waiting.items()
    }


BAD: list[tuple[Any, Any, str]] = [
    ([], None, "0 ids that name 0 different samples"),
    ([1, 1, 2], None, "3 ids that name 2 different samples, .*none of them twice"),
    ([12], None, "12 samples, from 0 to 11"),
    ([-1], None, "the smallest -1; .*ids from 0 on"),
    ([0.5], None, "whole numbers"),
    (torch.ones(12, dtype=torch.bool), None, "whole numbers"),
    ([1, 2], [1.0], r"weights of shape \(1,\) for 2 ids"),
    ([1, 2], [1.0, 0.0], "positive and finite"),
    ([1, 2], [1.0, float("nan")], "positive and finite"),
]


@pytest.mark.parametrize(("ids", "weights", "message"), BAD)
def test_a_subset_that_is_none_is_refused(
    ids: list[int] | Tensor, weights: list[float] | None, message: str
) -> None:
    pruner, _ = given()
    with pytest.raises(SettingError, match=message):
        pruner.replace_subset(ids, weights)
    assert pruner.plan(0).ids.sort().values.tolist() == [0, 1, 2, 3]


def test_a_method_that_chooses_by_itself_refuses_a_subset() -> None:
    pruner = Pruner(InfoBatch(), epochs=6, num_samples=12)
    with pytest.raises(SettingError, match=r"InfoBatch, which chooses .*thresher\.Subset"):
        pruner.replace_subset([1])
