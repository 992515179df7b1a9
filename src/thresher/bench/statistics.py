"""What paired runs prove: intervals of differences, Holm's correction, verdicts.

For seeds s = 1…m let d_s = metric(method, s) − metric(full, s), in points. All runs under one seed
share initial weights, data order and augmentation, so the d_s vary less than the metrics do.

The interval is Student's, mean ± t(1 − α/2; m − 1)·sd/√m with α = 0.05. A verdict asks whether a
bound of that interval is beyond some limit: low > 0 for *better*, low > −δ for *lossless*, high < 0
for *worse*, high < δ for *equivalent*. A table with R rows asks each question R times, so each
question is answered with Holm's step-down correction over the rows: order the rows by how strongly
they support "yes"; the k-th is judged by its interval at level 1 − α/(R − k + 1), and from the
first "no" on all are "no". So with probability at least 97.5 % no row of the table carries a wrong
"better", and the same for each of the other words. With one row this is exactly the 95 % interval.

Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

ALPHA = 0.05
"""Intervals have level 1 − ALPHA; a one-sided question has error ALPHA/2 over the whole table."""


@final
@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds.

    Args:
        values: one a seed.
        step: between two values that the metric can have. Rounding to it is a part of the noise:
            that few seeds gave equal differences proves less than the step.
    """

    values: tuple[float, ...]
    step: float = 0.0

    @cached_property
    def has_diverged(self) -> bool:
        """Whether a value is infinite or NaN."""
        return not all(map(math.isfinite, self.values))

    @cached_property
    def mean(self) -> float:
        """The mean difference; NaN if a run diverged."""
        if self.has_diverged:
            return math.nan
        return math.fsum(self.values) / len(self.values)

    @cached_property
    def standard_error(self) -> float:
        """sd/√m, with m − 1 in the sd; NaN for a single seed, or if a run diverged.

        The variance counts as no less than that of rounding two metrics: 2·step²/12.
        """
        if self.has_diverged:
            return math.nan
        noise = max(standard_deviation(self.values), self.step / math.sqrt(6))
        return noise / math.sqrt(len(self.values))

    def interval(self, level: float = 1 - ALPHA) -> tuple[float, float] | None:
        """Return the two-sided t interval; None for a single seed.

        Example:
            >>> low, high = Difference((1.0, 2.0, 3.0)).interval()
            >>> round(low, 3), round(high, 3)
            (-0.484, 4.484)
        """
        if len(self.values) < 2:
            return None
        # Here, because importing scipy's special functions takes a while.
        from scipy.special import stdtrit

        half = float(stdtrit(len(self.values) - 1, (1 + level) / 2)) * self.standard_error
        return self.mean - half, self.mean + half

    def p_above(self, limit: float) -> float:
        """Return the p-value of the one-sided t test for "the true difference is > limit".

        Differences that do not vary at all, of a metric that takes all values, are taken at their
        word: 0 above the limit, else 1. With a run that diverged nothing is shown: 1. A single seed
        is no test: NaN.
        """
        if len(self.values) < 2:
            return math.nan
        if self.has_diverged:
            return 1.0
        distance, error = self.mean - limit, self.standard_error
        # fsum/len of equal values may differ from them in the last bit, and then the sd is not 0.
        if error <= 1e-12 * max(1.0, abs(self.mean)):
            return 0.0 if distance > 1e-12 else 1.0
        from scipy.special import stdtr

        return float(stdtr(len(self.values) - 1, -distance / error))

    def p_below(self, limit: float) -> float:
        """Return the p-value of the one-sided t test for "the true difference is < limit"."""
        return Difference(tuple(-value for value in self.values), self.step).p_above(-limit)


def resolution(metrics: Iterable[float]) -> float:
    """Return the least difference between any two different metrics of a table; 0 if there is none.

    No less than the step of the metric, which nobody has to say then: 1.25 points for 80 clips.

    Example:
        >>> resolution([90.0, 91.25, 90.0, 95.0])
        1.25
    """
    values = sorted({round(metric, 9) for metric in metrics if math.isfinite(metric)})
    return min((high - low for low, high in pairwise(values)), default=0.0)


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation (m − 1); NaN for fewer than two values.

    Example:
        >>> standard_deviation([1.0, 2.0, 3.0])
        1.0
    """
    if len(values) < 2:
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses are rejected with a family-wise error of at most alpha.

    However the tests depend on each other. NaN is a row that was not tested: never rejected, and
    not counted.

    Example:
        >>> holm([0.01, 0.04, 0.03], 0.05)
        [True, False, False]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    rejected = [False] * len(p_values)
    for rank, (p, index) in enumerate(tested):
        if p >= alpha / (len(tested) - rank):
            break
        rejected[index] = True
    return rejected


def verdicts(differences: Sequence[Difference], margin: float, alpha: float = ALPHA) -> list[str]:
    """Return the word each row of a table has earned against full training.

    `better`, else `lossless`, else `worse`, else `undecided`; `(equivalent)` is added to the first
    two where the row is also shown to be no more than the margin better; `one seed` where nothing
    can be tested; `diverged` where a metric is no finite number.

    Args:
        differences: to full, of every row of the table.
        margin: δ, the loss that would be accepted, in points.
        alpha: of the intervals; less than ALPHA at a look of several (`looks.alpha_of`).

    Example:
        >>> close, far = Difference((-0.1, 0.0, -0.1)), Difference((-2.0, -2.1, -2.2))
        >>> verdicts([close, far], margin=0.5)
        ['lossless (equivalent)', 'worse']
    """
    better = holm([difference.p_above(0.0) for difference in differences], alpha / 2)
    lossless = holm([difference.p_above(-margin) for difference in differences], alpha / 2)
    worse = holm([difference.p_below(0.0) for difference in differences], alpha / 2)
    bounded = holm([difference.p_below(margin) for difference in differences], alpha / 2)
    words: list[str] = []
    for row, difference in enumerate(differences):
        if len(difference.values) < 2:
            words.append("one seed")
        elif difference.has_diverged:
            words.append("diverged")
        elif better[row] or lossless[row]:
            word = "better" if better[row] else "lossless"
            words.append(f"{word} (equivalent)" if bounded[row] else word)
        else:
            words.append("worse" if worse[row] else "undecided")
    return words


def comparisons(differences: Sequence[Difference | None], alpha: float = ALPHA) -> list[str]:
    """Return whether each row beats its control: `yes`, `no` (it is worse), `not shown`, or a dash.

    Args:
        differences: of each row to its own control; None where there is none.
        alpha: as for `verdicts`.

    Example:
        >>> comparisons([Difference((1.0, 1.1, 0.9)), None, Difference((0.1, -0.1))])
        ['yes', '–', 'not shown']
    """
    nan = math.nan
    above = holm([d.p_above(0.0) if d else nan for d in differences], alpha / 2)
    below = holm([d.p_below(0.0) if d else nan for d in differences], alpha / 2)
    words: list[str] = []
    for row, difference in enumerate(differences):
        if difference is None:
            words.append("–")
        elif len(difference.values) < 2:
            words.append("one seed")
        else:
            words.append("yes" if above[row] else "no" if below[row] else "not shown")
    return words
