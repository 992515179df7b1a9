"""Refusals of numbers outside their range, for formulas of plain numbers."""

from __future__ import annotations

from thresher.errors import SettingError


def require(name: str, value: float, interval: str, meaning: str) -> None:
    """Refuse a value outside an interval such as "(0, 1]"; NaN is outside of all."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    is_end = (interval[0] == "[" and value == low) or (interval[-1] == "]" and value == high)
    if not (low < value < high or is_end):
        raise SettingError(f"{name}={value}", f"{meaning}, in {interval}")


def require_sizes(n: int, s: int, q: int) -> None:
    """Refuse sizes that are not 1 <= q <= s <= n."""
    if not 1 <= q <= s <= n:
        raise SettingError(
            f"n={n}, s={s}, q={q}",
            "1 <= q <= s <= n: q are trained of s drawn of n",
            "OrderDP(...).sizes(n) returns s and q",
        )
