"""What each shard trains in a step: everybody once, in as many steps, with true divisors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.together import together
from thresher import Plan
from thresher._arrays import Array
from thresher.grid import Grid
from thresher.parallel.even_steps import EvenSteps
from thresher.parallel.evened import Evened
from thresher.population import Population

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=4)
quickly = settings(deadline=None, max_examples=40)


@dataclass
class Shards:
    """Plans of a made-up epoch, one for each shard; share r of the samples of shard r is in it."""

    shares: list[float]
    num_samples: int
    batch_size: int
    full: bool = False

    def __post_init__(self) -> None:
        random, count = np.random.default_rng(len(self.shares)), len(self.shares)
        self.ids: list[Array] = []
        for rank, share in enumerate(self.shares):
            own = np.arange(rank, self.num_samples, count)
            self.ids.append(random.permutation(own)[: round(share * len(own))])
        if not any(map(len, self.ids)):
            self.ids[0] = np.array([0])
        self.weights = random.random(self.num_samples).astype(np.float32) + 0.1
        self.sizes = tuple(map(len, self.ids))

    def evened(
        self, over: Population, done: Array | None = None, *, is_cut_anew: bool = False
    ) -> Evened:
        """Of one shard; every shard has to ask."""
        index, count = over.shard.index, over.shard.count
        ids = self.ids[index]
        plan = Plan(
            epoch=0,
            ids=torch.from_numpy(ids),
            weights=torch.from_numpy(self.weights[ids]),
            num_samples=self.num_samples,
            shard=over.shard,
            sizes=self.sizes,
        )
        grid = Grid(batch_size=self.batch_size, rank=index, world_size=count, drop_last=self.full)
        return Evened(plan, grid, over, done, is_cut_anew=is_cut_anew)


def batches(even: Evened) -> list[tuple[list[int], list[float], list[bool]]]:
    """Of each batch that is left: ids, what a loss counts in it, and who counts."""
    part, starts = even.part(), even.starts.tolist()
    found = []
    for start, stop in pairwise(starts):
        place = slice(start, stop)
        real = even.real(place)
        counts = [True] * (stop - start) if real is None else real.tolist()
        shares = (part.weights[place] / (stop - start)).tolist()
        found.append((part.ids[place].tolist(), shares, counts))
    return found


@quickly
@given(SHARES, st.integers(1, 40), st.integers(1, 7), st.booleans())
def test_everybody_is_trained_once_and_counts_as_in_the_global_batch(
    shares: list[float], num_samples: int, batch_size: int, full: bool
) -> None:
    shards = Shards(shares, num_samples, batch_size, full)
    every = together(len(shares), lambda over, _: batches(shards.evened(over)))
    assert len({len(each) for each in every}) == 1
    for rank, each in enumerate(every):
        trained = [i for ids, _, counts in each for i, c in zip(ids, counts, strict=True) if c]
        planned = shards.ids[rank].tolist()
        assert trained == planned[: len(trained)]
        assert full or len(trained) == len(planned)
        spare = [ids for ids, _, counts in each if not all(counts)]
        assert all(len(ids) == 1 and ids[0] not in planned for ids in spare)
        assert len({ids[0] for ids in spare}) == len(spare), "so that a place can be looked up"
    for step in zip(*every, strict=True):
        size = sum(sum(counts) for _, _, counts in step)
        assert not full or all(len(ids) == batch_size for ids, _, _ in step)
        for ids, counted, counts in step:
            for id_, share, is_real in zip(ids, counted, counts, strict=True):
                wanted = shards.weights[id_] * len(shares) / size
                assert not is_real or np.isclose(share, wanted, rtol=1e-6)


@quickly
@given(SHARES, st.integers(1, 40), st.integers(1, 7), st.integers(0, 10))
def test_after_a_resume_the_batches_that_are_left_are_those_that_were_left(
    shares: list[float], num_samples: int, batch_size: int, taken: int
) -> None:
    shards = Shards(shares, num_samples, batch_size)

    def left(over: Population, _: object) -> tuple[object, object]:
        whole = shards.evened(over)
        stop = whole.starts[min(taken, len(whole.reals))]
        seen = np.arange(stop) if whole.real(slice(0, stop)) is None else None
        real = np.arange(stop) if seen is not None else np.flatnonzero(whole.real(slice(0, stop)))
        again = shards.evened(over, np.arange(len(real)))
        assert again.starts[0] == len(real)
        return batches(whole)[taken:], batches(again)

    for whole, again in together(len(shares), left):
        assert whole == again


@quickly
@given(SHARES, st.integers(2, 40), st.integers(1, 7), st.integers(0, 2**31), st.booleans())
def test_whatever_is_done_the_rest_is_trained_once_in_equal_steps(
    shares: list[float], num_samples: int, batch_size: int, seed: int, is_cut_anew: bool
) -> None:
    shards = Shards(shares, num_samples, batch_size)

    def left(over: Population, _: object) -> tuple[int, list[int]]:
        rank = over.shard.index
        done = np.flatnonzero(np.random.default_rng(seed + rank).random(shards.sizes[rank]) < 0.5)
        even = shards.evened(over, done, is_cut_anew=is_cut_anew)
        found = batches(even)
        ids = [i for b, _, counts in found for i, c in zip(b, counts, strict=True) if c]
        values = np.arange(float(shards.sizes[rank]))
        assert np.array_equal(even.merged(even.local(values, -1), -1), values)
        assert sorted(ids) == sorted(np.delete(shards.ids[rank], done).tolist())
        return len(found), ids

    assert len({number for number, _ in together(len(shares), left)}) == 1


@quickly
@given(SHARES, st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_all_beginnings_are_those_of_each_batch(
    shares: list[float], num_samples: int, batch_size: int, full: bool
) -> None:
    sizes = Shards(shares, num_samples, batch_size).sizes
    for rank in range(len(sizes)):
        even = EvenSteps(sizes=sizes, rank=rank, batch_size=batch_size, drops_remainder=full)
        assert even.begins().tolist() == [even.begin(t) for t in range(even.num_batches + 1)]
