"""Intervals, Holm's correction and verdicts, against scipy and against known truths."""

import math

import numpy as np
import pytest
from scipy import stats

from thresher.bench.statistics import (
    Difference,
    comparisons,
    holm,
    resolution,
    standard_deviation,
    verdicts,
)


def pairs(seed: int, num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    full = 91 + rng.normal(size=num_seeds)
    return full + 0.2 + 0.3 * rng.normal(size=num_seeds), full


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.95, 0.999])
def test_interval_is_scipys_paired_t_interval(num_seeds: int, level: float) -> None:
    method, full = pairs(num_seeds, num_seeds)
    expected = stats.ttest_rel(method, full).confidence_interval(level)
    assert Difference(tuple(method - full)).interval(level) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("limit", [-0.5, 0.0, 0.3])
def test_p_values_are_scipys_one_sided_ones(limit: float) -> None:
    method, full = pairs(7, 5)
    difference = Difference(tuple(method - full))
    for ours, side in ((difference.p_above, "greater"), (difference.p_below, "less")):
        expected = stats.ttest_1samp(method - full, limit, alternative=side).pvalue
        assert ours(limit) == pytest.approx(expected)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    num = 800
    covered = 0
    for values in rng.normal(0.3, 0.2, size=(num, 4)):
        interval = Difference(tuple(values)).interval()
        assert interval is not None
        covered += interval[0] <= 0.3 <= interval[1]
    assert abs(covered / num - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / num)


def test_sd_is_numpys() -> None:
    values = [91.2, 90.8, 91.5]
    assert standard_deviation(values) == pytest.approx(np.std(values, ddof=1))
    assert math.isnan(standard_deviation([91.2]))


def holm_by_adjusted_p_values(p_values: list[float], alpha: float) -> list[bool]:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return [p < alpha for p in adjusted]


def test_holm_agrees_with_its_adjusted_p_values() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        p_values = (rng.random(rng.integers(1, 12)) ** 4).tolist()
        assert holm(p_values, 0.05) == holm_by_adjusted_p_values(p_values, 0.05)


def test_holm_steps_down_and_stops_at_the_first_no() -> None:
    assert holm([0.012, 0.016, 0.02, 0.04], 0.05) == [True, True, True, True]
    assert holm([0.012, 0.02, 0.02, 0.04], 0.05) == [True, False, False, False]
    assert holm([math.nan, 0.03], 0.05) == [False, True]
    assert holm([], 0.05) == []


@pytest.mark.parametrize(
    ("truth", "wrong"),
    [(0.0, ("better",)), (-0.5, ("better", "lossless")), (0.0, ("worse",))],
    ids=["never-better", "never-lossless", "never-worse"],
)
def test_a_table_of_many_rows_is_rarely_wrong_anywhere(truth: float, wrong: tuple[str]) -> None:
    # The hardest truth for each word: exactly at its limit, in all of 12 rows.
    rng = np.random.default_rng(2)
    num, failures = 400, 0
    for table in rng.normal(truth, 0.2, size=(num, 12, 4)):
        words = verdicts([Difference(tuple(row)) for row in table], margin=0.5)
        failures += any(word.startswith(wrong) for word in words)
    assert failures / num <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / num)


def around(mean: float, half: float) -> Difference:
    """Three differences whose 95 % interval is mean ± half."""
    step = half * math.sqrt(3) / stats.t.ppf(0.975, 2)
    return Difference((mean - step, mean, mean + step))


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (0.25, 0.2, "better (equivalent)"),
        (0.6, 0.2, "better"),
        (0.0, 0.4, "lossless (equivalent)"),
        (-0.2, 0.1, "lossless (equivalent)"),  # below full, but by less than the margin
        (0.3, 0.4, "lossless"),
        (-0.5, 0.2, "worse"),
        (-0.2, 0.6, "undecided"),
        (0.0, 0.6, "undecided"),
    ],
)
def test_one_row_is_judged_by_its_own_interval(mean: float, half: float, word: str) -> None:
    difference = around(mean, half)
    assert difference.interval() == pytest.approx((mean - half, mean + half))
    assert verdicts([difference], margin=0.5) == [word]


def test_more_rows_make_each_verdict_harder() -> None:
    just, noise = around(-0.3, 0.19), around(0.0, 5.0)
    assert verdicts([just], margin=0.5) == ["lossless (equivalent)"]
    assert verdicts([just, noise, noise], margin=0.5)[0] == "undecided"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0.0, 0.0, 0.0), "lossless (equivalent)"),
        ((0.1, 0.1, 0.1), "better (equivalent)"),  # 0.1 + 0.1 + 0.1 is not 3 · 0.1
        ((-0.6, -0.6), "worse"),
        ((-0.5, -0.5), "worse"),  # at the margin is not above it
    ],
)
def test_differences_that_do_not_vary_are_taken_at_their_word(
    values: tuple[float, ...], word: str
) -> None:
    assert verdicts([Difference(values)], margin=0.5) == [word]


def test_one_seed_proves_nothing() -> None:
    assert Difference((3.0,)).interval() is None
    assert verdicts([Difference((3.0,))], margin=0.5) == ["one seed"]
    assert comparisons([Difference((3.0,))]) == ["one seed"]


def test_a_row_of_one_seed_does_not_count_for_holm() -> None:
    row = around(0.3, 0.29)
    assert verdicts([row, Difference((0.0,))], margin=0.5)[0] == "better"


def test_comparisons_say_yes_no_or_not_shown() -> None:
    rows = [around(0.9, 0.1), around(-0.9, 0.1), around(0.1, 0.5), None]
    assert comparisons(rows) == ["yes", "no", "not shown", "–"]


@pytest.mark.parametrize("values", [(1.25, 1.25, 1.25), (0.0, 0.0), (-1.25, -1.25, -1.25)])
def test_equal_differences_of_a_coarse_metric_prove_less_than_its_step(
    values: tuple[float, ...],
) -> None:
    """80 clips have steps of 1.25 points, and three seeds are equal by chance now and then."""
    assert verdicts([Difference(values, step=1.25)] * 5, margin=0.5) == ["undecided"] * 5
    assert verdicts([Difference((0.0,) * 5, step=0.01)], margin=0.5) == ["lossless (equivalent)"]


def test_a_coarse_metric_is_rarely_called_better_by_chance() -> None:
    """Two runs of equal quality on 80 clips: words of a table of 20 rows, 3 seeds."""
    drawn = np.random.default_rng(0).binomial(80, 0.99, size=(300, 21, 3)) * 1.25
    wrong = 0
    for table in drawn:
        step = resolution(table.ravel().tolist())
        rows = [Difference(tuple((row - table[0]).tolist()), step) for row in table[1:]]
        wrong += any(word.startswith("better") for word in verdicts(rows, margin=0.5))
    assert wrong <= 300 * 0.025 + 3 * (300 * 0.025 * 0.975) ** 0.5
