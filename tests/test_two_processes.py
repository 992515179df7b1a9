"""Two processes under gloo: each derives the plan, trains its share, and learns all the scores.

Ids are beyond 2²⁴, where float32 has only every second one; losses come in half precision; the last
batch is shared unequally. Ids and scores travel in tensors of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from thresher import Method, Pruner
from thresher.ledger import Column, Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Plan, Selection, Trace

FIRST, SIZE = 2**24 - 20, 2**24 + 33
BATCH, WORLD, EPOCHS = 4, 2, 2


@dataclass(frozen=True, kw_only=True)
class Last(Method):
    """Trains the last 53 samples, from epoch 1 on without those below their mean loss."""

    needs: ClassVar[tuple[str, ...]] = ("loss",)
    reference: ClassVar[Reference] = Reference(title="", authors="", year=2026)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, float("nan")),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        kept, loss = torch.zeros_like(ledger.everyone), ledger["loss"][FIRST:]
        kept[FIRST:] = ~(loss < loss.double().nanmean())
        return Selection(kept=kept)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")


def loss_of(ids: Tensor) -> Tensor:
    return torch.frac(ids.double() * 0.618034).float()


def gathered(values: Tensor) -> Tensor:
    parts = [torch.empty_like(values) for _ in range(WORLD)]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def train(rank: int, folder: str, dtype: torch.dtype) -> None:
    """What one process does; what it ends with is written for the test to read."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=WORLD)
    pruner, sums, real = Pruner(Last(), epochs=EPOCHS + 1, num_samples=SIZE), list[int](), 0
    for epoch in range(EPOCHS):
        plan = pruner.plan(epoch)
        sums.append(plan.checksum())
        share = plan.share(rank, WORLD, BATCH)
        real += int(share.real.sum())
        for k in range(0, len(share.ids), BATCH):
            ids, is_real = share.ids[k : k + BATCH], share.real[k : k + BATCH]
            scores = loss_of(ids).to(dtype)
            ids, scores, is_real = map(gathered, (ids, scores, is_real))
            pruner.observe(ids[is_real], scores[is_real])
    kept = pruner.plan(EPOCHS).ids
    loss = pruner._clock.ledger["loss"]  # type: ignore[union-attr]
    state = {"sums": sums, "real": real, "kept": kept, "loss": loss[FIRST:].clone()}
    torch.save(state, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_of_two_ranks_land_on_their_samples(dtype: torch.dtype, tmp_path: Path) -> None:
    multiprocessing.start_processes(
        train, (str(tmp_path), dtype), nprocs=WORLD, start_method="fork"
    )
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD))
    assert one["sums"] == two["sums"]
    assert torch.equal(one["kept"], two["kept"])
    expected = loss_of(torch.arange(FIRST, SIZE)).to(dtype).float()
    for state in (one, two):
        assert torch.equal(state["loss"], expected), "each on its own sample, to the bit"
    hard = torch.arange(FIRST, SIZE)[~(expected < expected.double().mean())]
    assert one["kept"].sort().values.tolist() == hard.tolist()
    # 53 = 6 global batches of 8 and one of 5, of which one rank has 3 and the other 2.
    assert one["real"] + two["real"] == 53 + len(hard)
    assert one["real"] != two["real"]
