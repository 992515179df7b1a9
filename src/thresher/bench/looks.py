"""Seeds that are added: how much error each look at the results may spend.

Whoever looks at a table of 3 seeds, adds seeds because it is undecided, and looks again, asks every
question more than once, and is wrong more often than a single look is. It is allowed if the looks
are named before the first run. With looks at m_1 < … < m_K seeds, the k-th is judged with

    α_k = α · m_k / (m_1 + … + m_K)

in place of α, in every interval and in every Holm correction. Then the chance that any row is
wrongly given a word at *any* look is at most Σ α_k = α (Boole), however looks, rows and seeds hang
together, and whatever decides whether to go on. So it holds too for who stops at the first look
that pleases. Student's t is exact for few seeds, and nothing is assumed of many; group sequential
boundaries (Pocock; O'Brien and Fleming) are for normal statistics and would be wrong at 3 seeds.

The shares grow with the seeds, because a later look can do more with them: three looks at 3, 5 and
10 seeds have 17, 28 and 56 % of α.

Source: the union bound. Spending functions in general: K. K. G. Lan and D. L. DeMets, "Discrete
sequential boundaries for clinical trials", Biometrika 70, 1983.
"""

from __future__ import annotations

from collections.abc import Sequence

from thresher.bench.statistics import ALPHA
from thresher.errors import SettingError


def alpha_of(num_seeds: int, looks: Sequence[int] = ()) -> float:
    """Return what a look at that many seeds may spend; all of α if no looks were named.

    A number that is not among the looks is judged as the look before it (or the first) would be.

    Args:
        num_seeds: that are there.
        looks: the numbers of seeds that were named, ascending.

    Example:
        >>> [round(alpha_of(m, (3, 5, 10)), 4) for m in (3, 5, 10)], alpha_of(3)
        ([0.0083, 0.0139, 0.0278], 0.05)
    """
    if not looks:
        return ALPHA
    reached = max((look for look in looks if look <= num_seeds), default=looks[0])
    return ALPHA * reached / sum(looks)


def require_looks(looks: Sequence[int], num_seeds: int, name: str = "--looks") -> None:
    """Refuse looks that nothing can be judged at.

    Args:
        looks: as they were given.
        num_seeds: that the comparison may have.
        name: of the setting, for the message.

    Raises:
        SettingError: they do not ascend from 2, or do not end with all seeds.
    """
    if not looks:
        return
    given = f"{name} {' '.join(map(str, looks))}"
    if looks[0] < 2 or sorted(set(looks)) != list(looks):
        raise SettingError(given, "ascending numbers of seeds, from 2 up")
    if looks[-1] != num_seeds:
        raise SettingError(
            f"{given} with {num_seeds} seeds",
            "looks of which the last has all seeds",
            "Leave the seeds out, or name as many",
        )
