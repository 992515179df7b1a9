"""A measured number and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the interval is value ± 1.96 errors.

    Args:
        value: the estimate.
        error: its standard error.

    Example:
        >>> print(Estimate.mean_of(torch.tensor([0.9, 1.0, 1.1])))
        1.000 ± 0.058
    """

    value: float
    error: float

    @classmethod
    def mean_of(cls, values: Tensor) -> Estimate:
        """Return the mean of independent values, shape (k,), k >= 2, and its standard error."""
        values = values.double()
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value - 1.96 * self.error

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.value + 1.96 * self.error

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"
