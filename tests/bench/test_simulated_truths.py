"""Thousands of made-up comparisons whose truth is known: words are wrong as rarely as is said.

Bounds are the stated rates and four standard errors of the number of comparisons; whoever is right
never fails one by chance (1 in 30,000), and the last tests show what failing looks like.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from thresher.bench.front import Point, places
from thresher.bench.looks import alpha_of
from thresher.bench.statistics import ALPHA, Difference, comparisons, verdicts

NUM = 2000
MARGIN = 0.5
LOOKS = (3, 5, 10)
SD = 0.2


def at_most(rate: float, num: int = NUM) -> float:
    return rate + 4 * math.sqrt(rate * (1 - rate) / num)


def at_least(rate: float, num: int = NUM) -> float:
    return rate - 4 * math.sqrt(rate * (1 - rate) / num)


def tables(truths: Sequence[float], num_seeds: int, kind: str, seed: int = 0) -> np.ndarray:
    """Differences to full, (NUM, rows, seeds), each N(truth, SD²) and dependent over rows."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(NUM, len(truths), num_seeds))
    shared = rng.normal(size=(NUM, 1, num_seeds))
    if kind == "independent":
        noise = own
    elif kind == "one full run in all rows":
        noise = (own - shared) / math.sqrt(2)
    elif kind == "nearly the same rows":
        noise = math.sqrt(0.05) * own + math.sqrt(0.95) * shared
    else:  # neighbours lean to opposite sides
        signs = np.where(np.arange(len(truths)) % 2, 1.0, -1.0)[:, None]
        noise = math.sqrt(0.2) * own + math.sqrt(0.8) * signs * shared
    return np.asarray(truths)[:, None] + SD * noise


KINDS = ["independent", "one full run in all rows", "nearly the same rows", "opposite rows"]
FALSE: dict[str, Callable[[float], bool]] = {
    "better": lambda truth: truth <= 0,
    "lossless": lambda truth: truth <= -MARGIN,
    "worse": lambda truth: truth >= 0,
    "(equivalent)": lambda truth: truth >= MARGIN,
}


def is_wrong(word: str, said: str, truth: float) -> bool:
    # Who is better is lossless, too.
    return (word in said or (word == "lossless" and "better" in said)) and FALSE[word](truth)


def wrong_tables(
    word: str, truths: Sequence[float], made: np.ndarray, alpha: float = ALPHA
) -> list[bool]:
    found: list[bool] = []
    for table in made:
        words = verdicts([Difference(tuple(row)) for row in table.tolist()], MARGIN, alpha)
        found.append(any(is_wrong(word, *pair) for pair in zip(words, truths, strict=True)))
    return found


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_intervals_cover_the_truth_in_95_percent(num_seeds: int) -> None:
    rng = np.random.default_rng(num_seeds)
    covered = 0
    for values in rng.normal(0.3, SD, size=(NUM, num_seeds)).tolist():
        low, high = Difference(tuple(values)).interval() or (math.nan, math.nan)
        covered += low <= 0.3 <= high
    assert at_least(0.95) <= covered / NUM <= at_most(0.95)


# Truths exactly at a word's limit, where it is most easily said wrongly, alone and beside rows of
# which it is said rightly, so that Holm's steps come far down.
HARDEST = [
    ("better", [0.0] * 6),
    ("better", [0.0, 0.0, 3.0, 3.0, 3.0, 3.0]),
    ("lossless", [-MARGIN] * 6),
    ("lossless", [-MARGIN, -MARGIN, 0.5, 0.5, 0.5, 3.0]),
    ("worse", [0.0] * 6),
    ("worse", [0.0, 0.0, -3.0, -3.0, -3.0, -3.0]),
    ("(equivalent)", [MARGIN] * 6),
]


@pytest.mark.parametrize(
    ("word", "truths", "kind"),
    [(*case, KINDS[index % len(KINDS)]) for index, case in enumerate(HARDEST)]
    + [(*HARDEST[2], kind) for kind in KINDS[:2] + KINDS[3:]],
)
def test_no_word_is_wrong_anywhere_in_a_table_more_often_than_stated(
    word: str, truths: list[float], kind: str
) -> None:
    wrong = wrong_tables(word, truths, tables(truths, 4, kind))
    assert sum(wrong) / NUM <= at_most(ALPHA / 2)


def judged_with_looks(
    made: np.ndarray,
    alpha_at: Callable[[int], float],
    looks: Sequence[int] = LOOKS,
    hoped_for: str = "",
) -> list[list[str]]:
    """What a comparison says that adds seeds while a row is undecided, table by table.

    Or while no row has the word that is hoped for, which is the worst of rules.
    """
    said: list[list[str]] = []
    for table in made.tolist():
        words: list[str] = []
        for look in looks:
            differences = [Difference(tuple(row[:look])) for row in table]
            words = verdicts(differences, MARGIN, alpha_at(look))
            if hoped_for in "".join(words) if hoped_for else "undecided" not in words:
                break
        said.append(words)
    return said


def share_wrong(word: str, truths: Sequence[float], said: list[list[str]]) -> float:
    wrong = [
        any(is_wrong(word, *pair) for pair in zip(words, truths, strict=True)) for words in said
    ]
    return sum(wrong) / len(wrong)


@pytest.mark.parametrize("kind", ["independent", "one full run in all rows"])
@pytest.mark.parametrize(
    ("word", "truths"),
    [
        ("better", [0.0] * 3),
        ("lossless", [-MARGIN] * 3),
        ("worse", [0.0] * 3),
        ("lossless", [-0.5]),
    ],
)
def test_adding_seeds_at_named_looks_is_wrong_no_more_often(
    word: str, truths: list[float], kind: str
) -> None:
    said = judged_with_looks(tables(truths, 10, kind), lambda look: alpha_of(look, LOOKS))
    assert share_wrong(word, truths, said) <= at_most(ALPHA / 2)


def test_whoever_looks_until_it_pleases_is_wrong_no_more_often_but_only_at_named_looks() -> None:
    looks, truths = tuple(range(2, 15)), [-MARGIN]
    made = tables(truths, looks[-1], "independent")
    named = judged_with_looks(made, lambda look: alpha_of(look, looks), looks, "lossless")
    naive = judged_with_looks(made, lambda _: ALPHA, looks, "lossless")
    assert share_wrong("lossless", truths, named) <= at_most(ALPHA / 2)
    # What the looks are for, and the proof that tests like these can fail.
    assert share_wrong("lossless", truths, naive) > 1.5 * at_most(ALPHA / 2)


def test_without_correction_for_rows_a_table_is_wrong_more_often() -> None:
    wrong = 0
    for table in tables([0.0] * 6, 4, "independent").tolist():
        wrong += any(verdicts([Difference(tuple(row))], MARGIN)[0][:6] == "better" for row in table)
    assert wrong / NUM > 2 * at_most(ALPHA / 2)


def power(truth: float, limit: float, num_seeds: int, alpha: float) -> float:
    """The chance that a one-sided t test shows "above the limit"."""
    freedom = num_seeds - 1
    needed = stats.t.ppf(1 - alpha / 2, freedom)
    shift = (truth - limit) / SD * math.sqrt(num_seeds)
    return float(stats.nct.sf(needed, freedom, shift))


@pytest.mark.parametrize("num_seeds", [5, 10])
@pytest.mark.parametrize("num_rows", [1, 6])
def test_what_is_true_is_said_as_often_as_the_t_test_can(num_seeds: int, num_rows: int) -> None:
    said = 0
    for table in tables([0.0] * num_rows, num_seeds, "independent").tolist():
        words = verdicts([Difference(tuple(row)) for row in table], MARGIN)
        said += words[0].startswith(("lossless", "better"))
    # Holm is at least as strong as Bonferroni, and no stronger than no correction.
    assert said / NUM >= at_least(power(0.0, -MARGIN, num_seeds, ALPHA / num_rows))
    assert said / NUM <= at_most(power(0.0, -MARGIN, num_seeds, ALPHA))
    assert num_seeds < 10 or said / NUM > 0.95, "a comparison that never says anything is no use"


def test_looks_decide_what_is_clear_early_and_what_is_not_later() -> None:
    made = tables([0.0], 10, "independent")
    said = judged_with_looks(made, lambda look: alpha_of(look, LOOKS))
    decided = sum("undecided" not in words for words in said) / NUM
    assert decided >= at_least(power(0.0, -MARGIN, 10, alpha_of(10, LOOKS))) > 0.9
    early = judged_with_looks(made, lambda look: alpha_of(look, LOOKS), LOOKS[:2])
    share = sum("undecided" not in words for words in early) / NUM
    assert at_least(power(0.0, -MARGIN, 5, alpha_of(5, LOOKS))) <= share < decided


@pytest.mark.parametrize(("truth", "word"), [(1.0, "yes"), (-1.0, "no")])
def test_beating_a_control_is_said_when_true_and_hardly_when_not(truth: float, word: str) -> None:
    made = tables([0.0, 0.0, truth], 5, "one full run in all rows")
    words = [comparisons([Difference(tuple(row)) for row in table]) for table in made.tolist()]
    for index, said in ((0, "yes"), (0, "no")):
        assert sum(each[index] == said for each in words) / NUM <= at_most(ALPHA / 2)
    wrong = sum("yes" in each[:2] for each in words) / NUM
    assert wrong <= at_most(ALPHA / 2)
    assert sum(each[2] == word for each in words) / NUM >= at_least(power(1.0, 0.0, 5, ALPHA / 3))


@pytest.fixture
def _without_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words do not depend on them, and 2,000 tables of them take a while."""
    monkeypatch.setattr("thresher.bench.front.RESAMPLES", 1)


def fronts(truths: Sequence[float], num_seeds: int = 5) -> list[list[str]]:
    """The words of rows that cost 1, 2, 3, …, table by table."""
    found: list[list[str]] = []
    for table in tables(truths, num_seeds, "one full run in all rows").tolist():
        points = [Point(cost, dict(enumerate(row))) for cost, row in enumerate(table, start=1)]
        found.append([place.word for place in places(points)])
    return found


@pytest.mark.usefixtures("_without_resamples")
def test_no_row_of_a_front_is_called_dominated_more_often_than_stated() -> None:
    # All are equally good, so whoever is called dominated is called so wrongly.
    assert sum("no" in words for words in fronts([0.0] * 4)) / NUM <= at_most(ALPHA / 2)


@pytest.mark.usefixtures("_without_resamples")
def test_a_row_that_is_dear_and_bad_is_called_dominated() -> None:
    words = fronts([0.0, -1.5, 1.5], num_seeds=8)
    assert sum(each[1] == "no" for each in words) / NUM > 0.95
    assert all(each[0] == "yes" for each in words), "nobody is as cheap as the cheapest"
    assert sum(each[2] == "yes" for each in words) / NUM > 0.95


def test_the_share_of_a_row_tells_how_steady_its_place_is() -> None:
    seeds = range(6)
    first = Point(1, dict.fromkeys(seeds, 90.0))
    below = Point(2, dict.fromkeys(seeds, 89.0))
    unsteady = Point(3, {seed: 90.0 + (-1) ** seed for seed in seeds})
    best, worse, same, missing = places([first, below, unsteady, Point(math.nan, {0: 1.0})])
    assert (best.word, best.share) == ("yes", 1.0)
    assert (worse.word, worse.share) == ("no", 0.0)
    # Half of the draws of six have a mean of at least 90: (1 + C(6, 3)/2⁶)/2.
    assert same.word == "yes"
    assert abs(same.share - (1 + 20 / 64) / 2) < 4 * math.sqrt(0.25 / 1000)
    assert missing.word == "–"
    assert math.isnan(missing.share)


def test_a_row_that_diverged_shows_nothing() -> None:
    words = verdicts([Difference((math.nan, 0.1, 0.2)), Difference((0.0, 0.01, 0.02))], MARGIN)
    assert words == ["diverged", "lossless (equivalent)"]
    lost, fine = Point(1, {0: math.nan, 1: 90.0}), Point(2, {0: 90.0, 1: 90.0})
    assert [place.word for place in places([lost, fine])] == ["yes", "yes"]
