"""What a selection does to the gradient: its bias, its variance and its direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from thresher.diagnostics.estimate import Estimate
from thresher.diagnostics.per_sample import Losses, gradient_sums
from thresher.errors import SettingError
from thresher.plan import Plan


@final
@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How a plan's weighted gradient ĝ = (1/S) Σ w_i g_i compares with the full one, ḡ.

    Expectations are over the draws of one epoch's selection; standard errors are over the draws
    that were made. All but the cosine are relative to ‖ḡ‖ or its square.

    Args:
        draws: plans drawn.
        kept: the mean share of the samples in a plan.
        cosine: E[cos(ĝ, ḡ)].
        length: E[⟨ĝ, ḡ⟩] / ‖ḡ‖²: 1 if unbiased.
        bias_squared: ‖E[ĝ] - ḡ‖² / ‖ḡ‖², estimated without its own bias (a U-statistic), so that
            it may come out below 0. Its error is a jackknife's.
        variance: E‖ĝ - E[ĝ]‖² / ‖ḡ‖².
    """

    draws: int
    kept: float
    cosine: Estimate
    length: Estimate
    bias_squared: Estimate
    variance: Estimate

    @property
    def bias(self) -> float:
        """‖E[ĝ] - ḡ‖ / ‖ḡ‖."""
        return max(0.0, self.bias_squared.value) ** 0.5

    @property
    def shows_bias(self) -> bool:
        """Whether the 95 % interval of the squared bias lies above 0."""
        # Rounding of float32 gradients is no bias.
        return self.bias_squared.low > 1e-10

    def __str__(self) -> str:
        said = "" if self.shows_bias else ", not shown"
        return (
            f"cosine {self.cosine}, bias {self.bias:.3f}{said}, variance {self.variance}, "
            f"length {self.length}; {self.kept:.1%} kept, {self.draws} draws"
        )


def gradient_fidelity(
    model: nn.Module,
    losses: Losses,
    batches: Iterable[Any],
    plans: Sequence[Plan],
    *,
    target: Tensor | None = None,
    chunk_size: int = 256,
) -> Fidelity:
    """Measure the weighted gradient of plans drawn from one state against the full gradient.

    Args:
        model: the network, at the parameters that matter; evaluated in evaluation mode.
        losses: (what to call as the model, a batch) -> one loss a sample.
        batches: all samples in the order of their ids; see `gradient_sums`.
        plans: three or more, such as `redraw(method, ledger, epoch=...)` draws.
        target: weights of all samples, shape (n,), whose weighted mean gradient is compared with
            instead of the plain mean's: `thresher.theory.surrogate.surrogate_weights` for OrderDP.
        chunk_size: samples whose gradients exist at once.

    Returns:
        A `Fidelity`.

    Cost: one forward and backward pass over the data; memory for (chunk_size + 2 draws) gradients
        and a weight for each sample and draw.

    Example:
        >>> from thresher import RandomPruning
        >>> from thresher.diagnostics import redraw
        >>> from thresher.ledger import Ledger
        >>> x, y = torch.randn(50, 4), torch.randn(50)
        >>> half = RandomPruning(prune_ratio=0.5)
        >>> found = gradient_fidelity(
        ...     nn.Linear(4, 1),
        ...     lambda model, batch: (model(batch[0])[:, 0] - batch[1]).square(),
        ...     [(x, y)],
        ...     redraw(half, Ledger(50), epoch=1),
        ... )
        >>> found.kept, found.cosine.value > 0.5
        (0.5, True)

    References:
        OrderDP compares methods so (its Tables 9 and 11).
    """
    compared = compare_fidelity(
        model, losses, batches, {"": plans}, target=target, chunk_size=chunk_size
    )
    return compared[""]


def compare_fidelity(
    model: nn.Module,
    losses: Losses,
    batches: Iterable[Any],
    plans: Mapping[str, Sequence[Plan]],
    *,
    target: Tensor | None = None,
    chunk_size: int = 256,
) -> dict[str, Fidelity]:
    """Do as `gradient_fidelity` for several sets of plans, in one pass over the data.

    Args:
        model: see `gradient_fidelity`.
        losses: see there.
        batches: see there.
        plans: name -> plans.
        target: see there.
        chunk_size: see there.

    Returns:
        name -> its `Fidelity`.
    """
    if not plans or min(map(len, plans.values())) < 3:
        raise SettingError("fewer than 3 draws", "three or more, such as redraw(...) makes")
    every = [plan for group in plans.values() for plan in group]
    size = every[0].num_samples
    weights = torch.zeros(len(every) + 1, size, dtype=torch.float32, device="cpu")
    for row, plan in zip(weights, every, strict=False):
        row[plan.ids] = plan.weights / len(plan)
    weights[-1] = 1 / size if target is None else _normalised(target, size)
    sums = gradient_sums(model, losses, batches, weights, chunk_size=chunk_size)
    groups = sums[:-1].split([len(group) for group in plans.values()])
    return {
        name: _measured(drawn, sums[-1], kept=sum(map(len, group)) / len(group) / size)
        for (name, group), drawn in zip(plans.items(), groups, strict=True)
    }


def _normalised(target: Tensor, size: int) -> Tensor:
    values = target.detach().double().cpu()
    if values.shape != (size,) or not float(values.sum()) > 0:
        raise SettingError(
            f"target of shape {tuple(target.shape)}", f"weights of all samples, shape ({size},)"
        )
    return values / values.sum()


def _measured(drawn: Tensor, full: Tensor, kept: float) -> Fidelity:
    """Summarise gradients, (draws, p), against the full one, (p,)."""
    norm = full.norm()
    if float(norm) == 0:
        raise SettingError(
            "The full gradient is zero", "one with a direction", "Measure before training ends"
        )
    drawn, full = drawn / norm, full / norm
    along = drawn @ full
    off, num = drawn - full, len(drawn)
    total = off.sum(0)
    own = off.square().sum(1)
    # Σ_{k≠l} ⟨off_k, off_l⟩, of all draws and without each of them in turn.
    pairs = total @ total - own.sum()
    without = (pairs - 2 * (off @ total - own)) / ((num - 1) * (num - 2))
    jackknife = ((num - 1) * without.var(correction=0)).sqrt()
    around = (drawn - drawn.mean(0)).square().sum(1) * num / (num - 1)
    return Fidelity(
        draws=num,
        kept=kept,
        cosine=Estimate.mean_of(along / drawn.norm(dim=1).clamp(min=1e-300)),
        length=Estimate.mean_of(along),
        bias_squared=Estimate(float(pairs / (num * (num - 1))), float(jackknife)),
        variance=Estimate.mean_of(around),
    )
