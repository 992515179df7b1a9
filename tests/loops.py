"""Data whose items say which sample they are, and loops that check where their losses went."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from thresher import InfoBatch, Method, Pruner
from thresher.ledger import Column, Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Plan, Selection, Trace


class Numbers(Dataset[Tensor]):
    """Item i is the number i, from 0 to n - 1; some are slow, some are broken."""

    def __init__(
        self, num_samples: int, *, slow: Collection[int] = (), broken: Collection[int] = ()
    ) -> None:
        self.num_samples, self.slow, self.broken = num_samples, slow, broken

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Tensor:
        if index in self.slow:
            time.sleep(0.5)
        if index in self.broken:
            raise OSError(f"cannot read sample {index}")
        return torch.tensor(index)


@dataclass(frozen=True, kw_only=True)
class Everything(Method):
    """Keeps all samples, remembers their losses, and notes which epochs it was asked to plan."""

    asked: list[int] = field(default_factory=list, compare=False, repr=False)

    needs: ClassVar[tuple[str, ...]] = ("loss",)
    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, float("nan")),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        self.asked.append(epoch.number)
        return Selection(kept=torch.ones(ledger.num_samples, dtype=torch.bool))

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")


def wrapped(
    num_samples: int = 12, batch_size: int | None = 3, method: Method | None = None, **loader: Any
) -> tuple[Pruner, Any]:
    """A pruner and its loader over numbers, shuffled unless a sampler is given."""
    pruner = Pruner(method or InfoBatch(), epochs=8)
    loader = {"shuffle": True, **loader}
    return pruner, pruner.wrap(DataLoader(Numbers(num_samples), batch_size, **loader))


def loss_of(ids: Tensor, epoch: int) -> Tensor:
    """The loss of each sample in an epoch: no two are equal, and all are exact in float32."""
    return 1000.0 * epoch + ids.reshape(-1) + 1


def train(
    pruner: Pruner,
    batches: Iterable[Any],
    epoch: int,
    ids_in: Callable[[Any], Tensor] = lambda batch: batch,
) -> list[list[int]]:
    """Reduce every batch; return the samples of each, as the batches themselves tell them."""
    trained: list[list[int]] = []
    for batch in batches:
        ids = ids_in(batch).reshape(-1)
        pruner.reduce(loss_of(ids, epoch))
        trained.append(ids.tolist())
    return trained


def losses_by_id(pruner: Pruner) -> dict[int, float]:
    """The scores of the epoch in progress by sample id, as the pruner has them."""
    progress = pruner._clock.current  # type: ignore[union-attr]
    trace = progress.trace()
    scores = trace.scores["loss"]
    return dict(
        zip(progress.plan.ids[trace.seen].tolist(), scores[trace.seen].tolist(), strict=True)
    )


def ledger_losses(pruner: Pruner) -> list[float]:
    """The last loss of each sample as closed epochs left it; -1 where there is none."""
    return pruner._clock.ledger["loss"].nan_to_num(-1).tolist()  # type: ignore[union-attr]


def flat(batches: Iterable[list[int]]) -> list[int]:
    return [id_ for batch in batches for id_ in batch]


def assert_trains_its_plans(
    pruner: Pruner,
    loader: Any,
    *,
    batch_size: int,
    epochs: int = 3,
    drop_last: bool = False,
    in_order: bool = True,
    ids_in: Callable[[Any], Tensor] = lambda batch: batch,
) -> list[list[int]]:
    """The law of a wrapped loader: it yields the plan, and each loss is found at its own sample.

    Returns the plans.
    """
    num_samples = len(loader.dataset)
    last: dict[int, float] = {}
    plans: list[list[int]] = []
    for epoch in range(epochs):
        expected_batches = len(loader)
        trained = train(pruner, loader, epoch, ids_in)
        ids = pruner.plan(epoch).ids.tolist()
        stop = len(ids) - len(ids) % batch_size if drop_last else len(ids)
        whole = [ids[start : min(start + batch_size, stop)] for start in range(0, stop, batch_size)]
        assert (trained if in_order else sorted(trained)) == (whole if in_order else sorted(whole))
        assert len(trained) == expected_batches
        scores = {id_: loss_of(torch.tensor(id_), epoch).item() for id_ in ids[:stop]}
        assert losses_by_id(pruner) == scores
        last |= scores
        plans.append(ids)
    pruner.plan(epochs)
    assert ledger_losses(pruner) == [last.get(id_, -1) for id_ in range(num_samples)]
    return plans
