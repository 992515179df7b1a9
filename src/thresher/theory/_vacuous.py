"""The warning of a bound that says nothing."""

from __future__ import annotations

import warnings

from thresher.errors import ThresherWarning


def warn_vacuous(bound: str, trivial: str, cure: str) -> None:
    """Warn the caller's caller that a bound is no better than what holds anyway."""
    warnings.warn(
        f"This bound is vacuous: {bound}; {trivial}. {cure}.", ThresherWarning, stacklevel=3
    )
