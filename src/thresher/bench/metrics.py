"""What a run reached, in which unit, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is measured on the test split after the last epoch.

    Args:
        name: in tables.
        unit: of the metric.
        points: of differences between two runs.
        higher_is_better: its direction; differences are counted so that plus is better.
        margin: δ that counts as lossless unless the user says otherwise, in points.
        digits: behind the decimal point.

    Example:
        >>> ACCURACY.text(91.287), BITS.text(2.5), BITS.gain(2.5, 2.25)
        ('91.29 %', '2.500 bits', -0.25)
    """

    name: str
    unit: str
    points: str
    higher_is_better: bool
    margin: float
    digits: int

    def text(self, value: float) -> str:
        """Return a value as a person reads it."""
        return f"{value:.{self.digits}f} {self.unit}"

    def gain(self, ours: float, theirs: float) -> float:
        """Return by how many points `ours` is better than `theirs`."""
        return ours - theirs if self.higher_is_better else theirs - ours

    def in_record(self) -> dict[str, Any]:
        """Return what a run's record says about its metric."""
        return asdict(self)


ACCURACY = Metric(
    name="accuracy", unit="%", points="points", higher_is_better=True, margin=0.5, digits=2
)
"""The share of test samples that are labelled right."""

BITS = Metric(
    name="bits per character",
    unit="bits",
    points="bits",
    higher_is_better=False,
    margin=0.02,
    digits=3,
)
"""The mean test loss of one character, in bits."""


def metric_of(run: Mapping[str, Any]) -> Metric:
    """Return the metric of a run's record; runs from before there were others have accuracy.

    Example:
        >>> metric_of({"metric": 91.3}).name, metric_of({"measure": BITS.in_record()}).name
        ('accuracy', 'bits per character')
    """
    return Metric(**run["measure"]) if "measure" in run else ACCURACY
