"""Several processes under gloo: ledgers in shards, or whole ones that share a plan.

Sharded, every process plans and closes its part as `Pruner` does, with made-up scores; nothing is
trained. Replicated, a wrapped loader trains on samples that cost nothing, and the report's own
numbers of bytes are taken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

import thresher
from parts.common import BATCH, METHODS, scores_of
from parts.scale import memory, reset_peak
from parts.selection import Nothing, same
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.parallel.even_steps import EvenSteps
from thresher.parallel.sharded import Sharded
from thresher.parallel.transport import Distributed, Transport
from thresher.plan import Plan, Trace
from thresher.planning import Planner
from thresher.population import Population
from thresher.schedule import Budget

_EPOCHS = 3  # the plans of epochs 1 to 3 are measured, as in parts/scale.py
_RUN = 1000  # epochs of the run they are of
# Left alone, glibc keeps freed blocks of up to 32 MB, some bytes a row in shards of 10^7 rows.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}


@final
@dataclass
class Counted:
    """A transport that knows how often it was asked.

    Attributes:
        reductions: calls that add up or compare.
        gathers: calls that collect every rank's numbers.
    """

    inner: Distributed
    reductions: int = 0
    gathers: int = 0

    @property
    def rank(self) -> int:
        return self.inner.rank

    @property
    def size(self) -> int:
        return self.inner.size

    def all_sum(self, numbers: np.ndarray) -> np.ndarray:
        self.reductions += 1
        return self.inner.all_sum(numbers)

    def all_max(self, numbers: np.ndarray) -> np.ndarray:
        self.reductions += 1
        return self.inner.all_max(numbers)

    def all_gather(self, numbers: np.ndarray) -> np.ndarray:
        self.gathers += 1
        return self.inner.all_gather(numbers)


@final
@dataclass
class Epochs:
    """A shard's epochs, closed and planned as the clock of a pruner does it."""

    method: Method
    num_samples: int
    population: Population
    losses: np.ndarray
    visits: int = 0
    plan: Plan | None = None
    score: torch.Tensor | None = None
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            self.num_samples,
            self.method.columns(),
            self.method.scalars,
            population=self.population,
        )
        self._planner = Planner(method=self.method, seed=0)
        self._budget = Budget(num_samples=self.num_samples, epochs=_RUN)

    def next(self, epoch: int) -> None:
        """Close the epoch in progress and plan the next one, both ledgers and plans in memory."""
        ledger = self.ledger if self.plan is None else self._closed(self.plan)
        coming = self._planner.plan(ledger, self._budget, epoch=epoch, visits=self.visits)
        self.visits += coming.num_planned
        self.plan, self.ledger, self.score = coming, ledger, None

    def _closed(self, plan: Plan) -> Ledger:
        even, after = self._even(plan), self.ledger.copy()
        begins = np.array([even.begin(t) for t in range(even.num_batches + 1)])
        step = np.repeat(np.arange(even.num_batches, dtype=np.int32), np.diff(begins))
        assert self.score is not None
        scores = dict.fromkeys(self.method.needs, self.score)
        self.method.observe(after, plan, Trace(scores=scores, step=torch.from_numpy(step)))
        after.settle()
        return after

    def train(self) -> int:
        """Make scores up for the plan; return its steps."""
        assert self.plan is not None
        self.score = torch.from_numpy(np.resize(self.losses, len(self.plan)))
        return self._even(self.plan).num_batches

    def _even(self, plan: Plan) -> EvenSteps:
        rank = self.population.shard.index
        return EvenSteps(sizes=plan.sizes or (len(plan),), rank=rank, batch_size=BATCH)


def _sharded(label: str, num_samples: int, prune_ratio: float) -> dict[str, Any]:
    transport = Counted(Distributed())
    checked: Transport = transport
    population, method = Sharded(checked), METHODS[label][0](prune_ratio)
    generator = torch.Generator().manual_seed(transport.rank)
    losses = torch.empty(1 << 20).exponential_(generator=generator).numpy()
    warm = Epochs(method, 1000 * transport.size, population, losses)
    for epoch in range(3):
        warm.next(epoch)
        warm.train()
    before = memory("VmRSS")
    run = Epochs(method, num_samples, population, losses)
    found: list[dict[str, float]] = []
    for epoch in range(_EPOCHS + 1):
        steps = run.train() if run.plan is not None else 0
        dist.barrier()
        reset_peak()
        inner = transport.inner
        sent, waited = inner.bytes_sent, inner.seconds
        calls = transport.reductions, transport.gathers
        wall, cpu = time.perf_counter(), time.process_time()
        run.next(epoch)
        assert run.plan is not None
        found.append(
            {
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "peak": memory("VmHWM") - before,
                "planned": run.plan.num_planned / num_samples,
                "steps": steps,
                "bytes_sent": inner.bytes_sent - sent,
                "reductions": transport.reductions - calls[0],
                "gathers": transport.gathers - calls[1],
                "seconds_in_reductions": inner.seconds - waited,
            }
        )
    return {"plans": found}


def _replicated(label: str, num_samples: int, prune_ratio: float) -> dict[str, Any]:
    method = METHODS[label][0](prune_ratio)
    losses = torch.empty(BATCH).exponential_(generator=torch.Generator().manual_seed(0))
    before = memory("VmRSS")
    pruner = thresher.Pruner(method, epochs=_RUN)
    plain: DataLoader[Any] = DataLoader(Nothing(num_samples), BATCH, shuffle=True, collate_fn=same)
    loader: Any = pruner.wrap(plain)
    for _ in range(_EPOCHS):
        reset_peak()
        for _ in loader:
            ids = loader.batch_ids
            some = losses[: len(ids)]
            pruner.reduce(some, scores=scores_of(pruner, some), ids=ids)
    loader = iter(loader)  # closes the last epoch
    peak = memory("VmHWM") - before
    row = pruner.report().rows[-1]
    return {
        "bytes_sent": row.bytes_sent,
        "planned": row.planned / num_samples,
        "gathering_seconds": row.gathering_seconds,
        "peak": peak,
    }


_MODES: dict[str, Callable[[str, int, float], dict[str, Any]]] = {
    "sharded": _sharded,
    "replicated": _replicated,
}


def answered() -> bool:
    """Whether this process is a rank that `on_ranks` started; then do its part and print it."""
    if sys.argv[1:2] != ["--rank"]:
        return False
    rank, world_size, store, mode, label, size, ratio = sys.argv[2:]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=int(rank), world_size=int(world_size)
    )
    found = _MODES[mode](label, int(size), float(ratio))
    dist.barrier()
    dist.destroy_process_group()
    print(json.dumps(found))
    return True


def on_ranks(
    mode: str, world_size: int, label: str, num_samples: int, prune_ratio: float
) -> list[dict[str, Any]]:
    """Return what each of so many processes measured."""
    script = str(Path(sys.argv[0]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        given = [str(Path(folder) / "store"), mode, label, str(num_samples), str(prune_ratio)]
        ranks = [
            subprocess.Popen(
                [sys.executable, script, "--rank", str(rank), str(world_size), *given],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | _ALLOCATOR,
            )
            for rank in range(world_size)
        ]
        told = [process.communicate()[0] for process in ranks]
    if any(process.returncode for process in ranks):
        raise RuntimeError(f"A rank of {mode} {label} failed")
    return [json.loads(text.splitlines()[-1]) for text in told]
