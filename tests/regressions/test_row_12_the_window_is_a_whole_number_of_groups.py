"""SeTa's code rounds α k, halves to even; its paper writes ⌈α k⌉. Where it rounds to 0 it asserts.

So one α names two windows, (5, 0.9) prunes in the code and never in the paper, and a window of no
groups is found out in the first epoch that prunes.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from thresher import SeTa
from thresher.errors import SettingError


@pytest.mark.parametrize(
    ("k", "alpha", "code", "paper"),
    [(5, 0.9, 4, 5), (5, 0.5, 2, 3), (10, 0.25, 2, 3), (5, 0.6, 3, 3), (10, 0.5, 5, 5)],
)
def test_both_windows_have_a_name(k: int, alpha: float, code: int, paper: int) -> None:
    assert SeTa.window_of(k, alpha) == SeTa.window_of(k, alpha, rounding="code") == code
    assert SeTa.window_of(k, alpha, rounding="paper") == paper


@pytest.mark.parametrize("k", [3, 5, 10, 25])
@pytest.mark.parametrize("percent", range(1, 101, 3))
def test_the_papers_window_is_the_exact_one(k: int, percent: int) -> None:
    """0.28 * 25 is 7.000000000000001 in floats, and its window 7."""
    exact = math.ceil(Fraction(percent, 100) * k)
    assert SeTa.window_of(k, percent / 100, rounding="paper") == exact


def test_the_published_scripts_settings_are_what_their_code_makes_of_them() -> None:
    cifar, imagenet = SeTa(), SeTa(r=0.0, k=5, window=SeTa.window_of(5, 0.6))
    assert (cifar.r, cifar.k, cifar.window, cifar.delta) == (0.1, 5, SeTa.window_of(5, 0.9), 0.875)
    assert imagenet.window == 3


def test_a_window_of_no_groups_is_refused_when_it_is_named() -> None:
    assert SeTa.window_of(3, 0.1) == 0
    with pytest.raises(SettingError, match="window=0"):
        SeTa(k=3, window=SeTa.window_of(3, 0.1))
