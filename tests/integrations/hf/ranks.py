"""Two ranks as torchrun would start them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from parallel import processes

WORLD = 2

processes.preload("transformers.trainer")


def succeed(job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `job(rank, *arguments)` on two ranks; return what each returned."""
    return processes.succeed(_launched, WORLD, job, arguments)


def _launched(rank: int, job: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    # What torchrun says to each process, and accelerate reads.
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ.update({name: str(value) for name, value in named.items()})
    return job(rank, *arguments)
