"""What every test shares: one thread, the same examples each time, a guard on global randomness."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

# Before torch is imported, and inherited by the processes that tests start: with one pytest worker
# per core, more threads only take turns.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# A deadline measures the machine, and a run of the tests has to find what the last one found; for
# other examples: pytest --hypothesis-profile=explore.
settings.register_profile("thresher", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("thresher")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def _global_rng() -> tuple[object, ...]:
    algorithm, keys, *rest = np.random.get_state()  # noqa: NPY002 - looking at it is the purpose
    return random.getstate(), (algorithm, keys.tobytes(), *rest), torch.get_rng_state().tolist()


@pytest.fixture
def unchanged_global_rng() -> Iterator[None]:
    """Fail the test if it moved a global random stream: random's, numpy's or torch's.

    The test itself has to draw its inputs from generators of its own.
    """
    before = _global_rng()
    yield
    moved = [
        name
        for name, old, new in zip(("random", "numpy", "torch"), before, _global_rng(), strict=True)
        if old != new
    ]
    assert not moved, f"global random state moved: {', '.join(moved)}"
