"""Data that tests of the bench share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from bench.stand_ins import TASKS, made
from thresher.bench.tasks import Data, cifar, task


@pytest.fixture(scope="module")
def images_once() -> Iterator[None]:
    """50,000 images take seconds to decode, and several tasks read the same file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "read_strips", cache(cifar.read_strips))
        yield


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory, images_once: None) -> Callable[[str], Data]:
    """Made-up data of a task, by its name."""
    parent = tmp_path_factory.mktemp("data")
    return cache(lambda name: task(name).load(made(parent, TASKS[name])))
