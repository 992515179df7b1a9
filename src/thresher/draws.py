"""Seeded random choices: every draw of the library, and the probabilities a draw needs.

`Draws` turns (seed, epoch, purpose, rank) into random numbers. The functions turn these, one for
each sample, into choices that are relabelled with the samples. They work on numpy views: far faster
than torch here, and the same bits for any number of threads. What they count, add up and rank is
over all samples, of which a shard may have a part (`over`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import check_count, mask, ordering_keys, unit_interval, vector
from thresher._chances import FixedPoint, capped, multiplier, scaled
from thresher._order import local_order, random_order
from thresher.population import EVERYONE, Population

__all__ = ["Draws", "bernoulli", "exact_count", "inclusion_probabilities", "systematic", "top_q"]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one epoch, a pure function of (seed, epoch, purpose, rank).

    Torch's CPU generator (mt19937) reads only the low 32 bits of its seed, so the key is hashed to
    exactly 32 bits: neighbouring seeds share nothing. Two of k streams coincide with probability
    k²/2³³ (600 streams: 4·10⁻⁵), which biases neither.
    A rank of None gives every rank the same numbers: ranks then agree on a plan without talking.
    Ranks that have a shard each draw for their own samples.

    Example:
        >>> sorted(Draws(seed=0, epoch=3).permutation(4, "order").tolist())
        [0, 1, 2, 3]
    """

    seed: int
    epoch: int
    rank: int | None = None

    def generator(self, purpose: str) -> torch.Generator:
        """Return a new CPU generator; the same purpose starts the same numbers again."""
        rank = None if self.rank is None else int(self.rank)
        # The repr of ints and a str is unambiguous and the same on every platform.
        key = repr((int(self.seed), int(self.epoch), str(purpose), rank)).encode()
        digest = hashlib.blake2b(key, digest_size=4, person=b"thresher").digest()
        return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))

    def uniform(self, num: int, purpose: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return uniform numbers in [0, 1), shape `(num,)`; float32 ones are multiples of 2⁻²⁴."""
        return torch.rand(num, generator=self.generator(purpose), dtype=dtype, device="cpu")

    def number(self, purpose: str) -> float:
        """Return one uniform number in [0, 1), float64, the same on every rank."""
        return self.shared.uniform(1, purpose, torch.float64).item()

    @property
    def shared(self) -> Draws:
        """The draws that all ranks have in common."""
        return self if self.rank is None else replace(self, rank=None)

    def permutation(self, num: int, purpose: str, among: Tensor | None = None) -> Tensor:
        """Return a random order of `range(num)`, or that order without those not `among`: int64."""
        return random_order(num, self.generator(purpose), among)

    def local_order(self, num: int, purpose: str) -> Tensor:
        """Return a random order inside blocks of 2¹² neighbours, the blocks ascending: int64."""
        return local_order(num, self.generator(purpose))


def bernoulli(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Keep each sample independently with its own probability: i is kept iff u_i < p_i.

    Args:
        probabilities: p in [0, 1], shape `(num_samples,)`. 1 is always kept, 0 never.
        uniforms: uniform numbers in [0, 1), shape `(num_samples,)`; float64 if a p is below 10⁻⁴,
            as float32 ones round it up to a multiple of 2⁻²⁴.

    Returns:
        bool, shape `(num_samples,)`.

    Raises:
        ValueError: a probability is outside [0, 1] or NaN, or the shapes differ.

    Example:
        >>> bernoulli(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.4, 0.9])).tolist()
        [False, True, True]
    """
    p = unit_interval(probabilities, "probabilities")
    return torch.from_numpy(vector(uniforms, "uniforms", p.size) < p)


def exact_count(
    candidates: Tensor,
    count: int,
    keys: Tensor,
    ties: Callable[[], Tensor] | None = None,
    over: Population = EVERYONE,
) -> Tensor:
    """Keep exactly `count` candidates: those with the smallest keys.

    With independent uniform keys every subset of that size is equally likely.

    Args:
        candidates: who may be kept, bool, shape `(num_samples,)`.
        count: from 0 to the number of candidates.
        keys: random numbers, or scores; no candidate's is NaN; shape `(num_samples,)`.
        ties: draws other keys, called if equal ones must be told apart; None goes by id.
        over: the samples that are counted, those here and those of other shards.

    Returns:
        bool, shape `(num_samples,)`, true `count` times.

    Raises:
        ValueError: `count` is out of range, a candidate's key is NaN, or the shapes differ.

    Cost: O(n), about 3 ms per 10⁶ samples; one copy of the keys.

    Example:
        >>> keys = torch.tensor([0.9, 0.2, 0.1, 0.5])
        >>> exact_count(torch.tensor([True, True, False, True]), 2, keys).tolist()
        [False, True, False, True]
    """
    among = mask(candidates, "candidates")
    num = over.count(among)
    check_count("count", count, num)
    told = None if ties is None else (lambda: ordering_keys(ties(), among.size))
    found = over.smallest(ordering_keys(keys, among.size, among), count, among, num, told)
    return torch.from_numpy(found)


def top_q(
    scores: Tensor,
    q: int,
    keys: Tensor | Callable[[], Tensor],
    among: Tensor | None = None,
    over: Population = EVERYONE,
) -> Tensor:
    """Keep exactly the `q` largest scores; equal scores by smaller key, then by id.

    NaN and infinite scores (unseen, broken) come before every finite one and tie with each other.

    Args:
        scores: shape `(num_samples,)`.
        q: from 0 to the number of candidates.
        keys: random numbers without NaN, shape `(num_samples,)`; or what draws them, if needed.
        among: who may be kept, bool, shape `(num_samples,)`; None means everybody.
        over: the samples that are ranked, those here and those of other shards.

    Returns:
        bool, shape `(num_samples,)`, true `q` times.

    Raises:
        ValueError: `q` is out of range, a key is NaN, or the shapes differ.

    Cost: O(n), 2 to 4 ms per 10⁶ samples; at most two copies of the scores.

    Example:
        >>> scores = torch.tensor([1.0, float("nan"), 2.0, 2.0])
        >>> top_q(scores, 2, torch.tensor([0.1, 0.9, 0.8, 0.3])).tolist()
        [False, True, False, True]
    """
    values = vector(scores, "scores")
    if not callable(keys):
        ordering_keys(keys, values.size)  # refused even where they would not be needed
    allowed = None if among is None else mask(among, "among", values.size)
    num_candidates = over.size(values) if allowed is None else over.count(allowed)
    check_count("q", q, num_candidates)
    if q == 0:
        return torch.zeros(values.size, dtype=torch.bool, device="cpu")
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values.dtype.type(np.inf))
    threshold = over.kth(values, allowed, num_candidates - q)
    kept, tied = values > threshold, values == threshold
    if allowed is not None:
        kept &= allowed
        tied &= allowed
    missing, num_tied = q - over.count(kept), over.count(tied)
    if missing < num_tied:
        drawn = keys() if callable(keys) else keys
        tied = over.smallest(ordering_keys(drawn, values.size), missing, tied, num_tied)
    return torch.from_numpy(np.logical_or(kept, tied, out=kept))


def systematic(
    probabilities: Tensor, order: Tensor | None, offset: float, over: Population = EVERYONE
) -> Tensor:
    """Keep order[k] iff ⌊C_k − u⌋ ≠ ⌊C_{k−1} − u⌋: inclusion probabilities p and a fixed size.

    C is the cumulative sum of p in the given order, C₀ = 0, u the offset. For u uniform on [0, 1)
    each sample is kept with probability p_i, and the number kept is ⌊Σp⌋ or ⌈Σp⌉.

    The sum runs in integers, in units of 2⁻ᵏ (k = 42 at Σp = 5·10⁵). Additions are then exact: p
    = 1 is always kept, p = 0 never. A sum within 10⁻⁹ (or 10⁻¹⁴ of itself) of an integer is taken
    as that integer, unless this changes a p by more than 10⁻⁴ of itself or of 1 − p.

    Args:
        probabilities: p in [0, 1], shape `(num_samples,)`.
        order: a permutation of the samples (not checked), int64, shape `(num_samples,)`; None: as
            they lie, which has to be a random order already.
        offset: u in [0, 1).
        over: the samples over which C runs: those of the shards before this one come first.

    Returns:
        bool, shape `(num_samples,)`.

    Raises:
        ValueError: a probability or the offset is out of range, or a shape or dtype is wrong.

    Cost: O(n), about 8 ms per 10⁶ samples; no memory beside the result.

    Example:
        >>> systematic(torch.tensor([0.5, 0.5, 1.0, 0.0]), torch.tensor([0, 1, 2, 3]), 0.7).tolist()
        [False, True, True, False]

    References: Madow, On the theory of systematic sampling II, Ann. Math. Statist. 20 (1949).
    """
    p = unit_interval(probabilities, "probabilities")
    positions = None if order is None else vector(order, "order", p.size)
    if positions is not None and positions.dtype != np.int64:
        raise ValueError(f"order must be int64; got {positions.dtype}. Use Draws.permutation.")
    if not 0.0 <= offset < 1.0:
        raise ValueError(f"offset must be in [0, 1); got {offset}. Draw it with Draws.uniform.")
    laid = FixedPoint(p, positions, over)
    # floor(C - u) + 1 = floor(C + (1 - u)), and these terms are positive.
    cumulated = (1 << laid.bits) - round(offset * (1 << laid.bits)) + over.before(laid.here)
    kept = np.empty(p.size, dtype=np.bool_)
    for place, units in laid.pieces():
        before = cumulated >> laid.bits
        units[0] += cumulated
        np.cumsum(units, out=units)
        cumulated = int(units[-1])
        units >>= laid.bits
        steps = kept[place] if positions is None else np.empty(len(units), dtype=np.bool_)
        steps[0] = units[0] != before
        np.not_equal(units[1:], units[:-1], out=steps[1:])
        if positions is not None:
            kept[positions[place]] = steps
    return torch.from_numpy(kept)


def inclusion_probabilities(
    importance: Tensor, budget: float, over: Population = EVERYONE
) -> Tensor:
    """Return p_i = min(a_i/c, 1) with Σp = b, which minimises Σ a_i²(1 − p_i)/p_i for that budget.

    c is found without a sort: from c = Σa/b on, cap what exceeds c, put c = (sum of the uncapped) /
    (b − number capped), until nothing new is capped (Newton's method in 1/c on a concave, piecewise
    linear function). b ≥ n gives p = 1. If at most b are positive, these get p = 1.

    Args:
        importance: a ≥ 0, finite, shape `(num_samples,)`; its scale does not matter.
        budget: b > 0, the expected number of samples kept; need not be an integer.
        over: the samples that Σ and n are over, those here and those of other shards.

    Returns: float64, shape `(num_samples,)`, with Σp = min(b, n) up to rounding.

    Raises:
        ValueError: an importance is negative, NaN or infinite, or b is not positive.

    Cost: O(n) a pass, about 4 passes, 8 ms per 10⁶ samples; one temporary beside the result.

    Example:
        >>> inclusion_probabilities(torch.tensor([8.0, 1.0, 1.0, 0.0]), 2.0).tolist()
        [1.0, 0.5, 0.5, 0.0]
    """
    a = vector(importance, "importance")
    budget = float(budget)
    if not 0.0 < budget < math.inf:
        raise ValueError(f"budget must be positive; got {budget}. Pass keep_ratio * num_samples.")
    # Comparisons with NaN are false, so NaN is refused too, and no samples at all.
    least, most = over.extremes(a)
    size = over.size(a)
    if not (least >= 0.0 and most < math.inf):
        came = f"values from {least} to {most}" if size else "an empty tensor"
        cure = "Replace the scores of unseen or broken samples first."
        raise ValueError(f"importance must be finite and not negative; got {came}. {cure}")
    if budget >= size or most == 0.0:
        return torch.from_numpy(np.full(a.size, min(1.0, budget / size)))
    # With the largest near 2**900 no sum overflows, and a c that one of `large` sets is normal.
    raised, large = scaled(a, 2.0 ** min(900 - math.frexp(most)[1], 1000))
    rest = budget - over.count(large)
    if rest >= 0.0:
        p = large.astype(np.float64)
        if rest > 0.0:
            small = torch.from_numpy(a[~large])
            p[~large] = inclusion_probabilities(small, rest, over).numpy()
        return torch.from_numpy(p)
    return torch.from_numpy(capped(raised, multiplier(raised, budget, over)))
