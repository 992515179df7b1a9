"""Processes under gloo do what threads do that only add up arrays: one launch for all checks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from shards import jobs
from shards.together import together

WORLD = 4


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[int, tuple]]]:
    """What each of four processes found, of which two also share the samples by themselves."""
    store: Path = tmp_path_factory.mktemp("ranks") / "store"
    # From a clean process that has imported torch once, so that ranks start in milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shards.jobs"])
    with ProcessPoolExecutor(WORLD, mp_context=context) as pool:
        ranks = [pool.submit(jobs.of_processes, rank, WORLD, str(store)) for rank in range(WORLD)]
        yield [rank.result(timeout=60) for rank in ranks]


@pytest.mark.parametrize("count", [2, WORLD])
def test_processes_find_what_threads_find(count: int, found: list[dict[int, tuple]]) -> None:
    expected = together(
        count,
        lambda population, end: (
            jobs.answers(population),
            jobs.plans(population),
            end.bytes_sent,
        ),
    )
    for rank in range(count):
        answers, plans, bytes_sent = found[rank][count]
        assert answers == expected[rank][0]
        assert len(plans) >= 6
        assert plans == expected[rank][1]
        assert bytes_sent == expected[rank][2]


def test_processes_that_share_less_know_nothing_of_the_others(
    found: list[dict[int, tuple]],
) -> None:
    assert [sorted(each) for each in found] == [[2, 4], [2, 4], [4], [4]]
