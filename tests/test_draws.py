"""Laws of the draws: exact marginals and sizes, the optimal budget, nothing global touched."""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from thresher import draws
from thresher.draws import Draws

FEW = settings(max_examples=60, deadline=None)

magnitudes = st.one_of(
    st.just(0.0),
    st.sampled_from([1.0, 2.0, 0.5]),  # ties
    st.floats(0.0, 10.0),
    st.floats(-300.0, 300.0).map(lambda power: 10.0**power),  # heavy tails
)
importances = st.lists(magnitudes, min_size=1, max_size=40)
shares = st.one_of(st.floats(1e-3, 1.2), st.sampled_from([0.25, 0.5, 1.0]))


@pytest.fixture
def two_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def normal(num: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=num))


def float64(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def solve_by_sorting(importance: list[float], budget: float) -> list[float]:
    """methods.md §1.2 to the letter: sort, suffix sums, the first k that meets the condition."""
    n = len(importance)
    positive = sum(a > 0 for a in importance)
    if budget >= n:
        return [1.0] * n
    if positive <= budget:
        return [1.0 if a > 0 else (budget - positive) / (n - positive) for a in importance]
    exact = [Fraction(a) for a in importance]
    descending, b = sorted(exact, reverse=True), Fraction(budget)
    for k in range(math.ceil(budget)):
        rest = sum(descending[k:], Fraction())
        if descending[k] * (b - k) <= rest:
            return [float(min(a * (b - k) / rest, Fraction(1))) for a in exact]
    raise AssertionError("the condition holds at k = ceil(budget) - 1")


# --- the numbers -----------------------------------------------------------------------------


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


# --- bernoulli -------------------------------------------------------------------------------


def assert_marginals(counts: Tensor, p: Tensor, num_draws: int) -> None:
    """Within 4.5 standard errors at every sample, and 4 for the mean square (k of them at once)."""
    certain = (p == 0) | (p == 1)
    assert torch.equal(counts[certain], (p * num_draws)[certain])
    z = (counts - p * num_draws)[~certain] / (p * (1 - p) * num_draws)[~certain].sqrt()
    assert float(z.abs().max()) < 4.5
    assert float(z.square().mean()) < 1 + 4 * math.sqrt(2 / len(z))


def test_bernoulli_keeps_each_sample_with_its_probability() -> None:
    p = torch.tensor([0.0, 1e-3, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    num_draws = 20_000
    u = Draws(0, 0).uniform(num_draws * len(p), "u", torch.float64)
    kept = draws.bernoulli(p.repeat(num_draws), u).view(num_draws, -1)
    assert_marginals(kept.double().sum(0), p, num_draws)


def test_bernoulli_compares_mixed_precision_exactly() -> None:
    u = torch.tensor([0.1], dtype=torch.float32)  # the float32 0.1 is above the float64 one
    assert not draws.bernoulli(torch.tensor([0.1], dtype=torch.float64), u).item()


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_probabilities_outside_the_unit_interval_are_refused(bad: float) -> None:
    p = torch.tensor([0.5, bad])
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\]"):
        draws.bernoulli(p, torch.rand(2, generator=torch.Generator()))
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\]"):
        draws.systematic(p, torch.arange(2), 0.5)


# --- exact count and top q -------------------------------------------------------------------

small_keys = st.integers(0, 3).map(float)


@FEW
@given(st.lists(st.tuples(st.booleans(), small_keys), min_size=0, max_size=30), st.data())
def test_exact_count_keeps_the_smallest_keys_even_when_they_tie(
    samples: list[tuple[bool, float]], data: st.DataObject
) -> None:
    candidates = torch.tensor([c for c, _ in samples], dtype=torch.bool)
    keys = torch.tensor([k for _, k in samples])
    count = data.draw(st.integers(0, int(candidates.sum())))
    members = [i for i, (c, _) in enumerate(samples) if c]
    expected = sorted(members, key=lambda i: (samples[i][1], i))[:count]
    kept = draws.exact_count(candidates, count, keys)
    assert kept.dtype == torch.bool
    assert kept.nonzero().flatten().tolist() == sorted(expected)


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan, math.inf, -math.inf]),
            small_keys,
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.data(),
)
def test_top_q_matches_a_sort(
    samples: list[tuple[float, float, bool]],
    restricted: bool,
    dtype: torch.dtype,
    data: st.DataObject,
) -> None:
    scores = torch.tensor([s for s, _, _ in samples], dtype=dtype)
    keys = torch.tensor([k for _, k, _ in samples])
    among = torch.tensor([a for _, _, a in samples]) if restricted else None
    members = [i for i in range(len(samples)) if among is None or among[i]]
    q = data.draw(st.integers(0, len(members)))

    def rank(i: int) -> tuple[float, float, int]:
        score = samples[i][0]
        return (-score if math.isfinite(score) else -math.inf), samples[i][1], i

    kept = draws.top_q(scores, q, keys, among)
    assert kept.nonzero().flatten().tolist() == sorted(sorted(members, key=rank)[:q])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.integers(0, 3).map(float), st.booleans()
        ),
        min_size=1,
        max_size=20,
    ),
    st.data(),
)
def test_exact_count_of_scores_tells_ties_apart_by_the_second_keys(
    samples: list[tuple[float, float, bool]], data: st.DataObject
) -> None:
    """NaN only where nobody may be kept; the second keys are drawn only where they decide."""
    scores, ties = (torch.tensor([each[k] for each in samples]) for k in range(2))
    members = [i for i, (s, _, may) in enumerate(samples) if may and not math.isnan(s)]
    among = torch.zeros(len(samples), dtype=torch.bool)
    among[members] = True
    count, drawn = data.draw(st.integers(0, len(members))), list[int]()

    def draw() -> torch.Tensor:
        drawn.append(1)
        return ties

    kept = draws.exact_count(among, count, scores, draw).nonzero().flatten().tolist()
    ranked = sorted(members, key=lambda i: (samples[i][0], samples[i][1], i))
    assert kept == sorted(ranked[:count])
    cut = 0 < count < len(ranked) and samples[ranked[count - 1]][0] == samples[ranked[count]][0]
    assert len(drawn) == cut


def test_top_q_draws_keys_only_where_scores_tie() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("nothing to tell apart")

    scores = torch.tensor([1.0, 3.0, 2.0, 2.0, math.nan])
    assert draws.top_q(scores, 2, never).tolist() == [False, True, False, False, True]
    assert draws.top_q(scores, 4, never).tolist() == [False, True, True, True, True]
    keys = torch.tensor([0.0, 0.0, 0.9, 0.1, 0.0])
    assert draws.top_q(scores, 3, lambda: keys).tolist() == [False, True, False, True, True]


def test_top_q_takes_integer_scores() -> None:
    kept = draws.top_q(torch.tensor([3, 1, 2, 3]), 2, torch.arange(4))
    assert kept.tolist() == [True, False, False, True]


def test_exact_count_draws_every_subset_equally_often() -> None:
    candidates = torch.tensor([True, True, False, True, True])
    u = Draws(0, 0).uniform(5 * 6000, "keys").view(6000, 5)
    kept = torch.stack([draws.exact_count(candidates, 2, keys) for keys in u])
    _, counts = np.unique(kept.numpy(), axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 4 * math.sqrt(1000 * 5 / 6)


def test_top_q_breaks_ties_at_random() -> None:
    scores = torch.tensor([1.0, 5.0, 1.0, 1.0, 0.0])
    u = Draws(0, 0).uniform(5 * 3000, "keys").view(3000, 5)
    counts = torch.stack([draws.top_q(scores, 2, keys) for keys in u]).sum(0)
    assert counts[[1, 4]].tolist() == [3000, 0]
    assert float((counts[[0, 2, 3]] - 1000).abs().max()) < 4 * math.sqrt(1000 * 2 / 3)


def test_relabelling_the_samples_relabels_every_choice() -> None:
    n, d = 500, Draws(1, 1)
    order, shuffle = d.permutation(n, "order"), d.permutation(n, "shuffle")
    position = torch.argsort(shuffle)  # where sample i of the old labels went
    scores, keys, u = normal(n), d.uniform(n, "keys", torch.float64), d.uniform(n, "u")
    p = draws.inclusion_probabilities(scores.abs(), 200.5)
    moved = draws.inclusion_probabilities(scores.abs()[shuffle], 200.5)
    assert torch.allclose(p[shuffle], moved, rtol=1e-14, atol=0)
    pairs = [
        (draws.bernoulli(p, u), draws.bernoulli(p[shuffle], u[shuffle])),
        (
            draws.exact_count(scores > 0, 99, keys),
            draws.exact_count((scores > 0)[shuffle], 99, keys[shuffle]),
        ),
        (draws.top_q(scores, 99, keys), draws.top_q(scores[shuffle], 99, keys[shuffle])),
        (
            draws.systematic(p, order, 0.3),
            draws.systematic(p[shuffle], position[order], 0.3),
        ),
    ]
    for original, relabelled in pairs:
        assert torch.equal(original[shuffle], relabelled)


def test_counts_out_of_range_and_bad_keys_are_refused() -> None:
    keys, mask = torch.rand(3, generator=torch.Generator()), torch.tensor([True, False, True])
    with pytest.raises(ValueError, match=r"count must be from 0 to 2.*got 3"):
        draws.exact_count(mask, 3, keys)
    with pytest.raises(ValueError, match=r"q must be from 0 to 3.*got 4"):
        draws.top_q(keys, 4, keys)
    with pytest.raises(ValueError, match=r"q must be from 0 to 2.*got -1"):
        draws.top_q(keys, -1, keys, among=mask)
    with pytest.raises(ValueError, match="keys must be numbers; got NaN"):
        draws.top_q(keys, 1, torch.tensor([0.0, math.nan, 1.0]))
    with pytest.raises(ValueError, match="keys must be numbers; got NaN"):
        draws.exact_count(mask, 1, torch.tensor([0.0, 0.5, math.nan]))
    with pytest.raises(ValueError, match="candidates must be a bool mask"):
        draws.exact_count(keys, 1, keys)
    with pytest.raises(ValueError, match=r"keys must have shape \(3,\); got \(2,\)"):
        draws.exact_count(mask, 1, keys[:2])
    with pytest.raises(ValueError, match=r"scores must have shape \(num_samples,\)"):
        draws.top_q(keys.view(1, 3), 1, keys)


# --- inclusion probabilities -----------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(importances, shares)
def test_solver_meets_the_budget_and_the_optimality_conditions(
    values: list[float], share: float
) -> None:
    n, a = len(values), float64(values)
    budget = share * n
    p = draws.inclusion_probabilities(a, budget)
    assert p.dtype == torch.float64
    assert float(p.min()) >= 0
    assert float(p.max()) <= 1
    assert math.fsum(p.tolist()) == pytest.approx(min(budget, n), rel=1e-12)
    free = (p < 1) & (p > 1e-290)  # below that p is subnormal, and a/p coarse
    if free.any() and int((a > 0).sum()) > budget:
        # a/p is one number where p < 1, and no smaller where p = 1.
        ratio = (a / p)[free]
        c = float(ratio.max())
        assert float(ratio.min()) == pytest.approx(c, rel=1e-12)
        assert bool((a[p == 1] >= c * (1 - 1e-12)).all())


@settings(max_examples=300, deadline=None)
@given(importances, shares)
def test_solver_matches_the_sorted_form(values: list[float], share: float) -> None:
    budget = share * len(values)
    p = draws.inclusion_probabilities(float64(values), budget)
    assert p.tolist() == pytest.approx(solve_by_sorting(values, budget), rel=1e-11, abs=1e-290)


@FEW
@given(st.lists(st.floats(0.01, 10.0), min_size=3, max_size=12), st.floats(0.1, 0.95), st.data())
def test_no_feasible_perturbation_lowers_the_variance(
    values: list[float], share: float, data: st.DataObject
) -> None:
    a = np.array(values)
    p = draws.inclusion_probabilities(torch.from_numpy(a), share * len(a)).numpy()

    def variance(q: np.ndarray) -> float:
        return float((a**2 * (1 - q) / q).sum())

    for _ in range(20):
        i, j = data.draw(st.permutations(range(len(a))))[:2]
        step = data.draw(st.floats(0, 1)) * min(p[i], 1 - p[j])
        q = p.copy()
        q[i] -= step
        q[j] += step
        if q[i] > 1e-12:
            assert variance(q) >= variance(p) * (1 - 1e-12)


@FEW
@given(
    st.lists(st.floats(0.0, 1e6), min_size=2, max_size=50).filter(lambda s: sum(s) > 1e-100),
    st.floats(0.01, 0.99),
    st.floats(0.01, 1.0),
)
def test_smoothed_importances_bound_the_probabilities(
    scores: list[float], share: float, alpha: float
) -> None:
    s = torch.tensor(scores, dtype=torch.float64)
    a = ((1 - alpha) * s + alpha * s.mean()).sqrt()
    p = draws.inclusion_probabilities(a, share * len(s))
    assert float(p.min()) >= share * math.sqrt(alpha) * (1 - 1e-12)


@FEW
@given(importances, shares, st.integers(-200, 200))
def test_scale_does_not_matter(values: list[float], share: float, power: int) -> None:
    a = torch.tensor([v if v < 1e200 else 1.0 for v in values], dtype=torch.float64)
    assume(float(a[a > 0].min() if (a > 0).any() else 1) > 1e-200)
    budget = share * len(values)
    scaled = draws.inclusion_probabilities(a * 2.0**power, budget)
    assert torch.equal(scaled, draws.inclusion_probabilities(a, budget))


def test_solver_edges() -> None:
    def solve(values: list[float], budget: float) -> list[float]:
        return draws.inclusion_probabilities(float64(values), budget).tolist()

    assert solve([1.0, 2.0, 0.0], 3) == [1.0, 1.0, 1.0]
    assert solve([1.0, 2.0], 7.5) == [1.0, 1.0]
    assert solve([0.0, 0.0, 0.0, 0.0], 1.0) == [0.25] * 4
    assert solve([5.0, 0.0, 0.0], 1.0) == [1.0, 0.0, 0.0]
    assert solve([5.0, 0.0, 0.0], 2.0) == [1.0, 0.5, 0.5]
    assert solve([3.0] * 5, 2.5) == [0.5] * 5
    assert solve([1.0, 1.0], 1e-9) == [5e-10, 5e-10]
    assert solve([7.0], 0.5) == [0.5]
    assert sum(solve([1.0] * 3, math.nextafter(3, 0))) == pytest.approx(3, rel=1e-15)


def test_solver_survives_the_ends_of_float64() -> None:
    def solve(values: list[float], budget: float) -> list[float]:
        return draws.inclusion_probabilities(float64(values), budget).tolist()

    tiny, huge = 5e-324, 1.7e308
    assert solve([huge] * 4, 2) == [0.5] * 4
    assert solve([tiny] * 3, 2) == pytest.approx([2 / 3] * 3, rel=1e-15)
    assert solve([tiny, 2 * tiny, 1.0], 2) == pytest.approx([1 / 3, 2 / 3, 1], rel=1e-15)
    assert solve([huge, 1e-300, 1e-300, 0.0], 2) == [1.0, 0.5, 0.5, 0.0]
    for values in ([huge, tiny, tiny, tiny], [huge, 1e250, 1e-20, 1e-300, tiny, 0.0]):
        for budget in (0.3, 1.0, 1.5, 2.5, 3.0):
            p = solve(values, budget)
            assert all(0 <= x <= 1 for x in p)
            assert sum(p) == pytest.approx(budget, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_solver_works_in_float64_whatever_comes(dtype: torch.dtype) -> None:
    a = torch.tensor([1, 2, 3, 4, 100]).to(dtype)
    p = draws.inclusion_probabilities(a, 2.5)
    assert p.tolist() == pytest.approx([0.15, 0.3, 0.45, 0.6, 1.0], rel=1e-15)


@pytest.mark.parametrize("tail", ["normal", "lognormal", "pareto", "constant", "one outlier"])
def test_solver_at_scale(tail: str) -> None:
    n, x = 200_000, normal(200_000)
    a = {
        "normal": x.abs(),
        "lognormal": (5 * x).exp(),
        "pareto": Draws(0, 0).uniform(n, "u").double().clamp(min=1e-7) ** -2,
        "constant": torch.ones(n, dtype=torch.float64),
        "one outlier": torch.where(x == x.max(), 1e30, x.abs()),
    }[tail]
    for share in (0.1, 0.5, 0.9):
        p = draws.inclusion_probabilities(a, share * n)
        assert float(p.numpy().sum()) == pytest.approx(share * n, rel=1e-13)


@pytest.mark.parametrize(
    ("values", "budget", "message"),
    [
        ([1.0, -1.0], 1.0, r"importance must be finite and not negative; got values from -1"),
        ([1.0, math.nan], 1.0, "importance must be finite"),
        ([1.0, math.inf], 1.0, "importance must be finite"),
        ([], 1.0, "got an empty tensor"),
        ([1.0], 0.0, "budget must be positive; got 0"),
        ([1.0], -1.0, "budget must be positive"),
        ([1.0], math.nan, "budget must be positive"),
        ([1.0], math.inf, "budget must be positive"),
    ],
)
def test_solver_refuses(values: list[float], budget: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draws.inclusion_probabilities(torch.tensor(values), budget)


# --- systematic sampling ---------------------------------------------------------------------

unit = st.one_of(
    st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 0.1, math.ulp(0.0)])
)
offsets = st.one_of(
    st.floats(0.0, 1.0, exclude_max=True), st.sampled_from([0.0, 1e-300, 1e-18, 1 - 2.0**-53])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(unit, min_size=0, max_size=40), offsets, st.randoms(use_true_random=False))
def test_systematic_has_a_fixed_size_and_certain_certainties(
    values: list[float], offset: float, shuffler: random.Random
) -> None:
    p = float64(values)
    order = list(range(len(values)))
    shuffler.shuffle(order)
    kept = draws.systematic(p, torch.tensor(order, dtype=torch.int64), offset)
    total = math.fsum(values)
    # A sum of rounded numbers may itself be off an integer by rounding.
    assert math.floor(total - 1e-9) <= int(kept.sum()) <= math.ceil(total + 1e-9)
    assert bool(kept[p == 1].all())
    assert not bool(kept[p == 0].any())


@settings(max_examples=150, deadline=None)
@given(st.lists(magnitudes, min_size=2, max_size=40), offsets, st.data())
def test_a_whole_budget_gives_exactly_that_many(
    values: list[float], offset: float, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(values) - 1))
    p = draws.inclusion_probabilities(float64(values), budget)
    # Probabilities within 1e-5 of 0 or 1 alone cannot absorb the rounding of their sum.
    assume(bool(((p > 1e-4) & (p < 1 - 1e-4)).any()) or bool(((p == 0) | (p == 1)).all()))
    kept = draws.systematic(p, Draws(0, 0).permutation(len(values), "order"), offset)
    assert int(kept.sum()) == budget


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 64), min_size=1, max_size=30), st.integers(0, 1023))
def test_systematic_matches_its_definition(numerators: list[int], step: int) -> None:
    # Multiples of 1/64 and offsets between them: every sum below is exact.
    p, offset = [k / 64 for k in numerators], step / 1024
    cumulated = np.concatenate([[0.0], np.cumsum(p)])
    steps = np.diff(np.floor(cumulated - offset)) != 0
    order = np.random.default_rng(step).permutation(len(p))
    placed = np.empty(len(p))
    placed[order] = p
    kept = draws.systematic(torch.from_numpy(placed), torch.from_numpy(order), offset)
    assert kept.numpy()[order].tolist() == steps.tolist()


def test_systematic_marginals_are_exact() -> None:
    # The offset runs through a fine grid instead of being drawn: every marginal is then p.
    p = torch.tensor([0.1, 0.25, 0.9, 1.0, 0.0, 0.05, 0.7], dtype=torch.float64)
    counts = torch.zeros(len(p), dtype=torch.float64)
    for k in range(1000):
        counts += draws.systematic(p, torch.tensor([3, 1, 6, 0, 2, 5, 4]), (k + 0.5) / 1000)
    assert counts.tolist() == pytest.approx((1000 * p).tolist(), abs=1.001)


def test_systematic_marginals_and_size_by_monte_carlo() -> None:
    p = draws.inclusion_probabilities(normal(40).abs().square(), 20)
    counts, num_draws = torch.zeros(40, dtype=torch.float64), 10_000
    u = Draws(0, 0).uniform(num_draws, "offset", torch.float64).tolist()
    orders = Draws(0, 0).uniform(num_draws * 40, "orders").view(num_draws, 40).argsort(1)
    for order, offset in zip(orders, u, strict=True):
        kept = draws.systematic(p, order, offset)
        assert int(kept.sum()) == 20
        counts += kept
    assert_marginals(counts, p, num_draws)


def test_systematic_size_is_floor_or_ceiling_in_proportion() -> None:
    p = torch.full((7,), 0.9, dtype=torch.float64)  # sum 6.3
    sizes = [int(draws.systematic(p, torch.arange(7), (k + 0.5) / 1000).sum()) for k in range(1000)]
    assert set(sizes) == {6, 7}
    assert sizes.count(7) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("offset", [0.0, 1e-300, 1e-17, 0.5, 1 - 2.0**-53])
def test_systematic_size_survives_rounding_at_scale(offset: float) -> None:
    n = 300_000
    for share in (0.1, 1 / 3, 0.7):
        budget = round(share * n)
        p = draws.inclusion_probabilities(normal(n).abs(), budget)
        assert int(draws.systematic(p, torch.arange(n), offset).sum()) == budget
    # 0.1 is no binary fraction: a running float64 sum of these ends 10⁻⁷ above 30,000.
    tenth = torch.full((n,), 0.1, dtype=torch.float64)
    assert int(draws.systematic(tenth, torch.arange(n), offset).sum()) == n // 10


def test_systematic_refuses() -> None:
    p = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="order must be int64"):
        draws.systematic(p, torch.arange(2).int(), 0.5)
    with pytest.raises(ValueError, match=r"order must have shape \(2,\)"):
        draws.systematic(p, torch.arange(3), 0.5)
    for offset in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"offset must be in \[0, 1\)"):
            draws.systematic(p, torch.arange(2), offset)
    with pytest.raises(IndexError):
        draws.systematic(p, torch.tensor([0, 2]), 0.5)
