"""A draw is a function of its key alone, and touches nothing global."""

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from draw_checks import normal
from thresher import draws
from thresher.draws import Draws


@pytest.fixture
def two_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_draws_are_a_function_of_seed_epoch_purpose_and_rank() -> None:
    keys = [
        (Draws(seed, epoch, rank), purpose)
        for seed in (0, 1, -1, 2**32, 2**64 + 1)
        for epoch in (0, 1, 11)
        for rank in (None, 0, 1)
        for purpose in ("order", "keep", "1")
    ]
    streams = {tuple(d.uniform(4, purpose).tolist()) for d, purpose in keys}
    assert len(streams) == len(keys)
    for d, purpose in keys:
        again = Draws(d.seed, d.epoch, d.rank)
        assert torch.equal(d.uniform(4, purpose), again.uniform(4, purpose))
        assert torch.equal(d.permutation(9, purpose), again.permutation(9, purpose))


def test_draws_are_the_same_on_every_machine() -> None:
    generator = Draws(seed=7, epoch=3).generator("order")
    assert generator.initial_seed() == 976979720
    assert Draws(seed=7, epoch=3).permutation(8, "order").tolist() == [6, 0, 2, 5, 1, 3, 4, 7]
    assert generator.device.type == "cpu"


def test_numpy_integers_make_the_same_key() -> None:
    same = Draws(np.int64(7), np.int64(3), np.int32(1))  # pyright: ignore[reportArgumentType]
    assert torch.equal(same.uniform(5, "a"), Draws(7, 3, 1).uniform(5, "a"))


def test_torch_reads_only_32_bits_of_a_seed_which_is_why_keys_are_hashed() -> None:
    low = torch.rand(3, generator=torch.Generator().manual_seed(1))
    high = torch.rand(3, generator=torch.Generator().manual_seed(1 + 2**32))
    assert torch.equal(low, high)
    assert not torch.equal(Draws(1, 0).uniform(3, "a"), Draws(1 + 2**32, 0).uniform(3, "a"))


def test_neighbouring_streams_are_uncorrelated() -> None:
    table = torch.stack([Draws(0, epoch).uniform(2000, "a", torch.float64) for epoch in range(40)])
    correlation = np.corrcoef(table.numpy())[np.triu_indices(40, 1)]
    assert np.abs(correlation).max() < 5 / math.sqrt(2000)
    assert abs(float(table.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / table.numel())


def test_uniform_and_permutation_have_their_range_and_dtype() -> None:
    d = Draws(0, 0)
    assert d.uniform(3, "a").dtype == torch.float32
    assert d.uniform(3, "a", torch.float64).dtype == torch.float64
    u = d.uniform(10_000, "a")
    assert bool(((u >= 0) & (u < 1)).all())
    order = d.permutation(1000, "a")
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(1000))


def run_every_draw(n: int = 50_000) -> list[Tensor]:
    d = Draws(5, 2)
    scores, uniforms, order = normal(n), d.uniform(n, "u"), d.permutation(n, "o")
    p = draws.inclusion_probabilities(scores.abs(), 0.37 * n)
    return [
        uniforms,
        order,
        p,
        draws.bernoulli(p, uniforms),
        draws.systematic(p, order, 0.25),
        draws.exact_count(scores > 0, n // 5, uniforms),
        draws.top_q(scores.float(), n // 3, uniforms, among=scores < 1),
    ]


def test_every_draw_gives_the_same_bits_for_any_number_of_threads(
    two_threads: Callable[[int], None],
) -> None:
    two_threads(1)
    one = run_every_draw()
    two_threads(2)
    for a, b in zip(one, run_every_draw(), strict=True):
        assert torch.equal(a, b)


def numpy_state() -> str:
    with np.printoptions(threshold=10_000):
        return repr(np.random.get_state())  # noqa: NPY002 - the global state that must not move


def test_no_draw_touches_a_global_generator_or_its_inputs() -> None:
    before = torch.get_rng_state(), random.getstate(), numpy_state()
    first = run_every_draw(1000)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy_state() == before[2]

    p, order, scores = first[2].clone(), first[1].clone(), normal(1000)
    draws.systematic(p, order, 0.5)
    draws.top_q(scores, 10, first[0])
    draws.exact_count(scores > 0, 10, first[0])
    draws.inclusion_probabilities(scores.abs(), 100)
    assert torch.equal(p, first[2])
    assert torch.equal(order, first[1])
    assert torch.equal(scores, normal(1000))
