"""A method may have samples scored anew when an epoch closes; nothing else moves."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from loops import Numbers, flat, ledger_losses, loss_of, train
from small_runs import copied, differences
from thresher import InfoBatch, Method, Pruner
from thresher.errors import BatchMismatchError, MissingScoreError, ThresherWarning
from thresher.ledger import Column, Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Plan, Selection, Trace
from thresher.scores import scoring


@dataclass(frozen=True, kw_only=True)
class Hiding(Method):
    """Hides the `share` of the samples with the smallest losses, and refreshes what it hid."""

    share: float = 0.5

    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, float("nan")),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        hidden = ledger["loss"].nan_to_num(torch.inf).argsort(stable=True)
        kept = ledger.everyone
        if epoch.number:
            kept[hidden[: int(self.share * ledger.num_samples)]] = False
        return Selection(kept=kept)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")

    def refreshed(self, ledger: Ledger, plan: Plan) -> Tensor | None:
        hidden = ledger.everyone
        hidden[plan.ids] = False
        # In no order, as a method may have them.
        return None if plan.epoch == 0 else hidden.nonzero().squeeze(1).flip(0)

    def observe_refreshed(self, ledger: Ledger, ids: Tensor, scores: Mapping[str, Tensor]) -> None:
        ledger["loss"][ids] = scores["loss"]


class Scores:
    """What a refreshed sample scores: its id + 0.5, and a record of who was scored."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, ids: Tensor) -> Tensor:
        self.seen.append(ids.reshape(-1).tolist())
        return ids.reshape(-1) + 0.5


def wrapped(
    num_samples: int = 20, batch_size: int | None = 4, dataset: Any = None, **loader: Any
) -> tuple[Pruner, Any, Scores]:
    pruner, scores = Pruner(Hiding(), epochs=8), Scores()
    given = {"shuffle": True, **loader}
    plain = DataLoader(dataset or Numbers(num_samples), batch_size, **given)
    return pruner, pruner.wrap(plain, score_fn=scores), scores


class Sorting(Numbers):
    def __getitems__(self, ids: list[int]) -> list[Tensor]:
        ids.sort()
        return [torch.tensor(id_) for id_ in ids]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("dataset", [Numbers(20), Sorting(20)], ids=["plain", "sorting"])
@pytest.mark.parametrize("batch_size", [4, 64])
def test_those_asked_for_are_scored_when_the_epoch_closes(
    dataset: Any, batch_size: int, num_workers: int
) -> None:
    pruner, loader, scores = wrapped(20, batch_size, dataset, num_workers=num_workers)
    train(pruner, loader, 0)
    assert scores.seen == []
    trained = set(flat(train(pruner, loader, 1)))
    assert scores.seen == [], "nothing is asked before the next epoch is looked at"
    len(loader)
    hidden = sorted(set(range(20)) - trained, reverse=True)
    assert [set(ids) for ids in scores.seen] == [
        set(hidden[k : k + batch_size]) for k in range(0, 10, batch_size)
    ]
    train(pruner, loader, 2)
    expected = [i + 0.5 if i in hidden else 1001.0 + i for i in range(20)]
    assert ledger_losses(pruner) == expected


def test_without_batching_each_sample_is_scored_alone() -> None:
    pruner, loader, scores = wrapped(6, None)
    for epoch in range(2):
        for number in loader:
            pruner.reduce(loss_of(number, epoch))
    len(loader)
    assert sorted(flat(scores.seen)) == [0, 1, 2]


def test_looks_do_not_score_twice_and_are_counted_once() -> None:
    pruner, loader, scores = wrapped()
    for epoch in range(4):
        for _ in range(3):
            len(loader), pruner.epoch, pruner.report(), pruner.state_dict()
            next(iter(loader))
        train(pruner, loader, epoch)
    len(loader)
    assert [len(flat(scores.seen))] == [30]
    assert [row.extra_forwards for row in pruner.report().rows] == [0, 10, 10, 0]
    train(pruner, loader, 4)
    assert [row.extra_forwards for row in pruner.report().rows] == [0, 10, 10, 10, 0]
    assert pruner.report().extra_forwards == 30
    assert "extra forward passes 30" in str(pruner.report())


def test_a_broken_epoch_is_refreshed_from_where_it_ended() -> None:
    pruner, loader, _ = wrapped()
    train(pruner, loader, 0)
    train(pruner, itertools.islice(loader, 1), 1)
    train(pruner, loader, 2)
    assert [row.extra_forwards for row in pruner.report().rows] == [0, 10, 0]


def test_a_method_that_refreshes_warns_once_without_a_score_fn_and_goes_on() -> None:
    pruner = Pruner(Hiding(), epochs=8)
    plain = DataLoader(Numbers(20), 4, shuffle=True)
    with pytest.warns(ThresherWarning, match=r"Hiding wants .*wrap\(loader, score_fn=") as said:
        loader: Any = pruner.wrap(plain)
    assert [warning.filename for warning in said] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(3):
            train(pruner, loader, epoch)
    assert pruner.report().extra_forwards == 0


def test_a_method_that_does_not_refresh_neither_warns_nor_scores() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner, scores = Pruner(InfoBatch(), epochs=8), Scores()
        loader: Any = pruner.wrap(DataLoader(Numbers(20), 4, shuffle=True), score_fn=scores)
        for epoch in range(3):
            train(pruner, loader, epoch)
        Pruner(InfoBatch(), epochs=8).wrap(DataLoader(Numbers(20), 4, shuffle=True))
    assert scores.seen == []


@pytest.mark.parametrize(
    ("score_fn", "error"),
    [(lambda ids: {"other": ids}, MissingScoreError), (lambda ids: ids[:1], BatchMismatchError)],
)
def test_scores_that_do_not_fit_are_refused(score_fn: Any, error: type[Exception]) -> None:
    pruner = Pruner(Hiding(), epochs=8)
    loader: Any = pruner.wrap(DataLoader(Numbers(20), 4, shuffle=True), score_fn=score_fn)
    train(pruner, loader, 0)
    train(pruner, loader, 1)
    with pytest.raises(error, match="score_fn"):
        len(loader)


class Augmented(Numbers):
    """Draws from every global stream for each sample."""

    def __getitem__(self, index: int) -> Tensor:
        torch.rand(1)
        return super().__getitem__(index)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_refreshing_moves_no_global_stream(num_workers: int) -> None:
    own = torch.Generator().manual_seed(3)
    pruner, loader, scores = wrapped(
        20, dataset=Augmented(20), num_workers=num_workers, generator=own
    )
    train(pruner, loader, 0)
    train(pruner, loader, 1)
    before = torch.get_rng_state(), own.get_state()
    len(loader)
    assert scores.seen
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(own.get_state(), before[1])


class Script:
    """A model whose losses choose what is hidden; a state of it is all that a run needs."""

    def __init__(self) -> None:
        torch.manual_seed(2)
        self.model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.pruner = Pruner(Hiding(share=0.4), epochs=5)
        plain = DataLoader(Numbers(20), 4, shuffle=True)
        self.loader: Any = self.pruner.wrap(plain, score_fn=scoring(self.model, self.losses))
        self.trail: list[tuple[list[int], float]] = []

    @staticmethod
    def losses(model: nn.Module, ids: Tensor) -> Tensor:
        x = ids[:, None] / 20
        return (model(x) - torch.sin(9 * x)).square().sum(1)

    def run(self) -> Any:
        while not self.pruner.finished:
            for ids in self.loader:
                loss = self.pruner.reduce(self.losses(self.model, ids))
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.trail.append((ids.tolist(), loss.item()))
                yield self

    def state(self) -> dict[str, Any]:
        return copied({"model": self.model.state_dict(), "pruner": self.pruner.state_dict()})


def test_refreshing_moves_no_statistic_of_the_model() -> None:
    """BatchNorm's buffers are those of the trained batches alone, as published they are not."""
    script = Script()
    for _ in script.run():
        if script.pruner.epoch == 2 and not script.pruner.position:
            break
    before = copied(script.model.state_dict())
    len(script.loader)
    pass_over = iter(script.loader)
    assert script.pruner.report().extra_forwards == 0, "epoch 1 closes with the next batch"
    assert not differences(copied(script.model.state_dict()), before)
    assert script.model.training
    next(pass_over)
    script.pruner.reduce(torch.ones(4))
    assert script.pruner.report().extra_forwards == 8, "and so it was looked at"


def test_a_run_resumed_anywhere_ends_as_the_whole_one() -> None:
    whole = Script()
    states = [whole.state(), *(script.state() for script in whole.run())]
    assert whole.pruner.report().extra_forwards > 0
    for cursor in range(0, len(states), 2):
        resumed = Script()
        resumed.model.load_state_dict(states[cursor]["model"])
        resumed.pruner.load_state_dict(states[cursor]["pruner"])
        for _ in resumed.run():
            pass
        assert resumed.trail == whole.trail[cursor:]
        assert not differences(resumed.state(), whole.state())
