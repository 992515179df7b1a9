"""Loss weights, and what each of them is unbiased for.

Computed in float64, returned in float32; every weight returned is positive and finite.
"""

import math

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.population import EVERYONE, Population

_CHUNK = 1 << 15

__all__ = ["clipped", "cumulative", "inverse_probability", "step_factor", "to_step_exponent"]


def inverse_probability(probabilities: Tensor, population_ratio: float | None = None) -> Tensor:
    """Return 1/p_i, or κ/p_i when `population_ratio` κ is given.

    Args:
        probabilities: the inclusion probability p in (0, 1] of each sample, shape `(num,)`.
        population_ratio: κ = Σp/n over the population, in (0, 1]. None leaves it out.

    Returns:
        float32, shape `(num,)`.

    Guarantees:
        Unbiased for any scores that were fixed before the draw: E[Σ_selected g_i/p_i] = Σ_all g_i.
        As a mean over the selected samples, 1/p estimates (n/S) times the full mean gradient
        (`batch` mode, step exponent 1) and κ/p the full mean gradient itself (`population` mode,
        step exponent 0): exactly when the size S = κn is fixed, up to O(1/S) when it is random.

    Raises:
        ValueError: a probability or the ratio is outside (0, 1], or a weight exceeds float32.

    Example:
        >>> inverse_probability(torch.tensor([1.0, 0.25]), population_ratio=0.5).tolist()
        [0.5, 2.0]

    References:
        D. G. Horvitz and D. J. Thompson, J. Amer. Statist. Assoc. 47 (1952).
    """
    if population_ratio is not None and not 0.0 < population_ratio <= 1.0:
        raise ValueError(
            f"population_ratio must be in (0, 1]; got {population_ratio}. "
            f"Pass probabilities.sum() / num_samples."
        )
    scale = 1.0 if population_ratio is None else float(population_ratio)
    result, low, high = _quotient(scale, probabilities)
    if result.numel():
        cure = "Pass the probabilities of the selected samples only."
        _require_range(low, high, "probabilities", 1.0, cure)
    return _float32(result)


def cumulative(epochs_done: int, counts: Tensor) -> Tensor:
    """Return RePB's cumulative weight E/N_i(E): E epochs done, in N_i of which i was trained.

    The epoch being planned is in neither number. E = 0 gives ones.

    Args:
        epochs_done: E ≥ 0.
        counts: N, how many of those E epochs included the sample, integers in [1, E] once E > 0
            (RePB trains everything in its first epoch), shape `(num,)`.

    Returns:
        float32, shape `(num,)`, from 1 to E.

    Guarantees:
        Not unbiased in any one epoch. In the long run a sample's expected contribution per epoch
        is 1 when its selection probabilities are stable and its first inclusion is epoch 1: exactly
        1 − ρ^E after E epochs for memoryless selection (counting the current epoch in would
        leave a bias of order 1/E). As a mean over the batch that is (n/S) times the full mean
        gradient, step exponent 1.

    Raises:
        ValueError: E is negative, or a count is below 1 or above E while E > 0.

    Example:
        >>> cumulative(4, torch.tensor([4, 2, 1])).tolist()
        [1.0, 2.0, 4.0]

    References:
        RePB, equation 3.
    """
    if epochs_done < 0:
        raise ValueError(f"epochs_done must not be negative; got {epochs_done}. Count from 0.")
    if epochs_done == 0:
        return torch.ones(counts.shape, dtype=torch.float32, device=counts.device)
    result, smallest, largest = _quotient(float(epochs_done), counts)
    if counts.numel() and not (smallest >= 1 and largest <= epochs_done):
        raise ValueError(
            f"counts must be in [1, {epochs_done}], the epochs done; got values from "
            f"{smallest:g} to {largest:g}. Count an epoch once for each of its planned samples, "
            f"when it ends."
        )
    return _float32(result)


def clipped(weights: Tensor, max_weight: float) -> Tensor:
    """Return min(w_i, max_weight).

    Args:
        weights: positive and finite, shape `(num,)`.
        max_weight: the largest weight allowed, positive and finite.

    Returns:
        float32, shape `(num,)`.

    Guarantees:
        Biased wherever it binds: a clipped sample contributes max_weight/w_i of its share. It buys
        a bound on the variance, so report how many it touched.

    Raises:
        ValueError: `max_weight` or a weight is not positive and finite.

    Example:
        >>> clipped(torch.tensor([1.0, 8.0]), max_weight=4.0).tolist()
        [1.0, 4.0]
    """
    if not 0.0 < max_weight < math.inf:
        raise ValueError(
            f"max_weight must be positive and finite; got {max_weight}. "
            f"Leave weights unclipped by not calling this."
        )
    _check_range(weights, "weights", math.inf, "Clip weights, not scores.")
    return _float32(weights.double().clamp(max=max_weight))


def to_step_exponent(
    weights: Tensor, num_samples: int, exponent: float, over: Population = EVERYONE
) -> Tensor:
    """Scale an epoch's weights to mean (n/S)^γ over the S samples of its plan.

    γ = 0 is `population` mode (the full-data step length; movement per epoch falls with S), γ = 1
    is `batch` mode (steps n/S as long; movement per epoch about that of the full data).

    Args:
        weights: over the plan, positive and finite, shape `(S,)`.
        num_samples: n ≥ S, the size of the data set.
        exponent: γ, finite.
        over: the samples that the mean and S are over, those here and those of other shards.

    Returns:
        float32, shape `(S,)`. The ratios between weights are unchanged.

    Guarantees:
        With inverse-probability weights and a fixed-size draw, E[(1/S)Σ w_i g_i] = (n/S)^γ ḡ up to
        the O(1/S) of dividing by a mean that was itself drawn. The mean is summed by numpy in a
        fixed order: the same bits for any number of threads.

    Raises:
        ValueError: the plan is empty or larger than n, γ is not finite, or a weight is not
            positive and finite before or after scaling.

    Example:
        >>> to_step_exponent(torch.tensor([1.0, 3.0]), num_samples=8, exponent=0.5).tolist()
        [1.0, 3.0]
    """
    return _float32(weights.detach().double() * step_factor(weights, num_samples, exponent, over))


def step_factor(
    weights: Tensor, num_samples: int, exponent: float, over: Population = EVERYONE
) -> float:
    """Return what `to_step_exponent` multiplies weights by: (n/S)^γ over their mean.

    Example:
        >>> step_factor(torch.tensor([1.0, 3.0]), num_samples=8, exponent=0.5)
        1.0
    """
    values = weights.detach().double().cpu().numpy()
    num_planned = over.size(values)
    if not 0 < num_planned <= num_samples:
        raise ValueError(
            f"weights must cover a plan of 1 to num_samples={num_samples} samples; "
            f"got {num_planned}. Pass the weights of the plan, and the size of the whole data set."
        )
    if not math.isfinite(exponent):
        raise ValueError(
            f"exponent must be finite; got {exponent}. Use 0 for population mode, 1 for batch mode."
        )
    _check_range(weights, "weights", math.inf, "Leave samples out of the plan instead.")
    mean = over.plus(float(np.sum(values))) / num_planned
    # A tensor's power overflows to inf, which is refused later; a float's raises OverflowError.
    power = torch.tensor(num_samples / num_planned, dtype=torch.float64).pow(exponent)
    return float(power) / mean


def _check_range(values: Tensor, name: str, largest: float, cure: str) -> None:
    """Raise ValueError unless 0 < values <= largest, and finite."""
    if values.numel() == 0:
        return
    array = _host(values)
    _require_range(array.min().item(), array.max().item(), name, largest, cure)


def _require_range(low: float, high: float, name: str, largest: float, cure: str) -> None:
    # Comparisons with NaN are false, so NaN is refused too.
    if not (low > 0.0 and high <= largest and high < math.inf):
        bound = "positive and finite" if largest == math.inf else f"in (0, {largest:g}]"
        raise ValueError(f"{name} must be {bound}; got values from {low} to {high}. {cure}")


def _host(values: Tensor) -> Array:
    # numpy has no bfloat16; its min and max are several times faster than torch's.
    half = values.is_floating_point() and values.itemsize < 4
    return (values.float() if half else values).detach().cpu().numpy()


def _quotient(numerator: float, denominators: Tensor) -> tuple[Tensor, float, float]:
    """Return float32(numerator / denominators), divided in float64, and the denominators' range."""
    array = _host(denominators)
    result = np.empty(array.shape, dtype=np.float32)
    low, high = np.float64(math.inf), np.float64(-math.inf)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A piece is compared and divided while it is in the cache.
        for start in range(0, array.size, _CHUNK):
            part, out = array[start : start + _CHUNK], result[start : start + _CHUNK]
            low, high = np.minimum(low, part.min()), np.maximum(high, part.max())
            np.divide(numerator, part, out=out, dtype=np.float64, casting="same_kind")
    return torch.from_numpy(result).to(denominators.device), float(low), float(high)


def _float32(weights: Tensor) -> Tensor:
    result = weights.detach().float()
    _check_range(result, "weights", math.inf, "They leave the range of float32; clip them.")
    return result
