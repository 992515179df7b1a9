"""How plans and weights change when scores are stored in fewer bytes.

A float32 run leads. A ledger of each dtype observes the *same history*, that run's plans and
scores, and is asked for the plan of every pruned epoch with the same random numbers: what differs
is due to storing alone. Another run has its *own history*, and sees what its own plans trained.
A draw that walks along cumulated probabilities (Omission) is another draw as soon as one of them
differs, so its plans may differ as much as those of *another seed*; what counts there is weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

import thresher
from parts.common import METHODS as ALL
from parts.small_runs import SETUPS, Driven, load, train
from thresher.plan import Plan, Trace

DTYPES = ("float32", "bfloat16", "float16", "uint8")
METHODS = [
    "InfoBatch",
    "OrderDP",
    "KAKURENBO",
    "SeTa",
    "Omission systematic",
    "Omission bernoulli",
    "Persistent importance",
    "Historical ranking",
    "EpsilonGreedy",
    "UCB",
    "RePB importance",
]
"""Those of the other benchmarks that remember scores."""

_BATCH = 128
_SEED, _ANOTHER = 0, 1

Table = dict[str, Tensor]
"""Name -> scores by epoch and id, float32, (epochs, n)."""


@final
@dataclass(frozen=True)
class Change:
    """What a dtype changes, beside float32; means over the pruned epochs of a run.

    Args:
        scores: where they are from.
        method: whose.
        dtype: what scores are stored as.
        bytes_per_sample: of the whole ledger, between epochs.
        score_error: root mean square of (stored / float32 - 1), after the last epoch.
        largest_score_error: its 99.9 % quantile.
        same_history: |A Δ B| / (|A| + |B|) of the plans after the same history.
        own_history: of runs that each saw what they trained.
        another_seed: of float32 runs with different random numbers, after the same history.
        weight_error: root mean square of (weight / float32's - 1) over the samples in both plans.
        largest_weight_error: its 99.9 % quantile.
    """

    scores: str
    method: str
    dtype: str
    bytes_per_sample: int
    score_error: float
    largest_score_error: float
    same_history: float
    own_history: float
    another_seed: float
    weight_error: float
    largest_weight_error: float


def lognormal(num_samples: int, epochs: int) -> Table:
    """Return scores of a training that goes well: hard samples stay hard, noise, a slow fall."""
    generator = torch.Generator().manual_seed(0)
    hardness = torch.randn(num_samples, generator=generator).mul_(1.5)
    noise = torch.randn(epochs, num_samples, generator=generator).mul_(0.5)
    loss = (hardness - 1 + noise - 0.1 * torch.arange(epochs)[:, None]).exp_()
    correct = (loss < 0.7).float()
    sure = (-loss).exp()
    # Of two classes the norm is √2 (1 - p).
    norm = 2**0.5 * (1 - sure)
    return {"loss": loss, "logit_grad_norm": norm, "correct": correct, "confidence": sure}


def real(epochs: int) -> Table:
    """Return scores of a perceptron on Fashion-MNIST, seen in its own training."""
    setup = replace(SETUPS["fashion-mnist"], epochs=epochs)
    names = ("loss", "logit_grad_norm", "correct", "confidence")
    table = {name: torch.empty(epochs, setup.samples) for name in names}

    def keep(plan: Plan, trace: Trace) -> None:
        for name in names:
            table[name][plan.epoch, plan.ids] = trace.scores[name]

    train(
        setup, load("fashion-mnist"), thresher.Full(), _SEED, after_epoch=keep, also=set(names[1:])
    )
    return table


def _traced(plan: Plan, table: Table) -> Trace:
    scores = {name: values[plan.epoch, plan.ids] for name, values in table.items()}
    return Trace(scores=scores, step=torch.arange(len(plan), dtype=torch.int32) // _BATCH)


def _looking(plan: Plan, table: Table) -> Callable[[Tensor], Table]:
    return lambda ids: {name: values[plan.epoch, ids] for name, values in table.items()}


def _differing(one: Plan, other: Plan) -> float:
    masks = [torch.zeros(one.num_samples, dtype=torch.bool) for _ in range(2)]
    for mask, plan in zip(masks, (one, other), strict=True):
        mask[plan.ids] = True
    return float((masks[0] ^ masks[1]).sum()) / (len(one) + len(other))


def _weight_errors(one: Plan, other: Plan) -> Tensor:
    weights = [torch.zeros(one.num_samples) for _ in range(2)]
    for weight, plan in zip(weights, (one, other), strict=True):
        weight[plan.ids] = plan.weights
    both = (weights[0] > 0) & (weights[1] > 0)
    return weights[1][both] / weights[0][both] - 1


def _score_errors(one: Driven, other: Driven) -> Tensor:
    errors = [torch.zeros(0)]
    for column in one.method.columns():
        if column.is_score:
            exact, stored = one.ledger[column.name], other.ledger[column.name]
            usable = exact.isfinite() & (exact.abs() > 1e-4)
            errors.append(stored[usable] / exact[usable] - 1)
    one.ledger.settle()
    other.ledger.settle()
    return torch.cat(errors)


def _rms(errors: Tensor) -> float:
    return float(errors.double().square().mean().sqrt())


def _most(errors: Tensor) -> float:
    place = min(len(errors), 1 + int(0.999 * len(errors)))
    return float(errors.abs().kthvalue(place).values)


def changes(scores: str, label: str, table: Table, prune_ratio: float) -> Iterator[Change]:
    """Yield what each dtype changes of one method's run."""
    method, (epochs, size) = ALL[label][0](prune_ratio), table["loss"].shape

    def driven(seed: int = _SEED, dtype: str = "float32") -> Driven:
        return Driven(method, size, epochs, seed, getattr(torch, dtype))

    lead, reseeded = driven(), driven(_ANOTHER)
    shadows = {dtype: driven(dtype=dtype) for dtype in DTYPES[1:]}
    own = {dtype: driven(dtype=dtype) for dtype in DTYPES[1:]}
    same: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    apart: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    weights: dict[str, list[Tensor]] = {dtype: [] for dtype in DTYPES}
    for epoch in range(epochs):
        plan = lead.plan(epoch)
        others = {dtype: shadow.plan(epoch) for dtype, shadow in shadows.items()}
        others["float32"] = reseeded.plan(epoch)
        for dtype, other in others.items():
            if len(plan) < size:
                same[dtype].append(_differing(plan, other))
                weights[dtype].append(_weight_errors(plan, other))
            driven_by = reseeded if dtype == "float32" else shadows[dtype]
            driven_by.close(plan, _traced(plan, table), _looking(plan, table))
        for dtype, alone in own.items():
            chosen = alone.plan(epoch)
            if len(plan) < size:
                apart[dtype].append(_differing(plan, chosen))
            alone.close(chosen, _traced(chosen, table), _looking(chosen, table))
        lead.close(plan, _traced(plan, table), _looking(plan, table))
    for dtype in DTYPES[1:]:
        errors, of_weights = _score_errors(lead, shadows[dtype]), torch.cat(weights[dtype])
        yield Change(
            scores=scores,
            method=label,
            dtype=dtype,
            bytes_per_sample=shadows[dtype].ledger.bytes_per_sample,
            score_error=_rms(errors),
            largest_score_error=_most(errors),
            same_history=sum(same[dtype]) / len(same[dtype]),
            own_history=sum(apart[dtype]) / len(apart[dtype]),
            another_seed=sum(same["float32"]) / len(same["float32"]),
            weight_error=_rms(of_weights),
            largest_weight_error=_most(of_weights),
        )
