"""A script for torchrun: every method's plans and gradients; each rank writes them to a file."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from contracts.found import CLASSES
from parallel import jobs, shard_jobs
from thresher import KAKURENBO, UCB, Method, RePB

SIZE, GLOBAL, EPOCHS, STEPS_OF = 61, 8, 4, 45
EVERY: list[Method] = [kind() for kind in CLASSES]
DETERMINISTIC: list[Method] = [
    KAKURENBO(max_fraction=0.4),
    UCB(prune_ratio=0.3, warmup_epochs=1),
    RePB(rho=1.0, window=None, resample=False),
]
"""Each chooses by its ledger alone, once it has seen everybody."""


def main(folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    for known in ("KAKURENBO wants", ".* cannot save ", "This DataLoader will create"):
        warnings.filterwarnings("ignore", known)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    found = {
        "plans": jobs.plans(rank, EVERY, SIZE, GLOBAL, EPOCHS, 1),
        "gradients": jobs.gradients(rank, EVERY, STEPS_OF, GLOBAL, 3, {}),
        "shards": [
            [told._asdict() for told in run]
            for run, _ in shard_jobs.runs(
                rank, DETERMINISTIC, SIZE, GLOBAL // world_size, EPOCHS, {}
            )
        ],
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
