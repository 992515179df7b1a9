"""A claim of unbiasedness is measured: the weighted gradient of a linear model, over many runs.

The claim is that E[Σ_S w_i g_i] is proportional to Σ g_i: as a ratio, E[Σ_S w g] / E[Σ_S w] is the
mean gradient of all samples. By the delta method the ratio's standard error is that of the
mean of Σ_S w_i (g_i - ḡ), divided by the mean of Σ_S w_i: so that difference is what is tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from contracts.drive import EPOCHS
from contracts.found import METHODS, short
from contracts.test_laws_can_fail import Half
from thresher import InfoBatch, Omission, draws
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Plan, Selection, Trace
from thresher.planning import Planner
from thresher.schedule import Budget

SIZE = 23
"""Small and prime, so that every rounding of a count shows."""
RUNS = 600
TRAINED = 2
"""Epochs before the one that is measured: the scores it chooses by are of these."""


def linear_model() -> tuple[Tensor, Tensor]:
    """Gradients of squared residuals, float64 (n, 3), and the residuals, at fixed parameters."""
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(SIZE, 3, generator=generator, dtype=torch.float64) + 0.5
    residuals = torch.randn(SIZE, generator=generator, dtype=torch.float64).exp()
    return inputs * residuals[:, None], residuals


def measured_plan(method: Method, seed: int, scores: dict[str, Tensor]) -> Plan:
    """The plan of epoch `TRAINED` of a run of its own: the history is drawn anew as well."""
    planner, budget = Planner(method=method, seed=seed), Budget(num_samples=SIZE, epochs=EPOCHS)
    ledger = Ledger(SIZE, method.columns(), method.scalars)
    visits = 0
    for epoch in range(TRAINED):
        plan = planner.plan(ledger, budget, epoch=epoch, visits=visits)
        visits += len(plan)
        step = torch.arange(len(plan), dtype=torch.int32) // 5
        seen = {name: scores[name][plan.ids] for name in method.needs}
        method.observe(ledger, plan, Trace(scores=seen, step=step))
    return planner.plan(ledger, budget, epoch=TRAINED, visits=visits)


def standard_errors_off(method: Method) -> float:
    """How far the weighted gradient is from the full one, in its largest coordinate."""
    gradients, residuals = linear_model()
    scores = {"loss": (residuals**2 / 2).float(), "logit_grad_norm": residuals.float()}
    off_mean = gradients - gradients.mean(0)
    rows = []
    for seed in range(RUNS):
        plan = measured_plan(method, seed, scores)
        rows.append((plan.weights.double()[:, None] * off_mean[plan.ids]).sum(0))
    difference = torch.stack(rows)
    error = difference.std(0) / math.sqrt(RUNS)
    # Weights are float32: below their rounding a difference is no bias.
    rounding = 1e-6 * gradients.abs().sum(0)
    return float((difference.mean(0).abs() / (error + rounding)).max())


CLAIMING = [method for method in METHODS if method.claims_unbiased]


@pytest.mark.parametrize("method", CLAIMING, ids=short)
def test_claim_holds_for(method: Method) -> None:
    assert standard_errors_off(method) < 4


@dataclass(frozen=True, kw_only=True)
class TopHalf(Half):
    """Trains the half with the largest losses, and claims that this is unbiased."""

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        keys = epoch.draws.uniform(SIZE, "ties")
        return Selection(kept=draws.top_q(ledger["loss"], SIZE // 2, keys))


@dataclass(frozen=True, kw_only=True)
class PublishedInfoBatch(Half):
    """Weights by 1 / (1 - r) what an exact count kept, as the published code does."""

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        rule = InfoBatch(r=0.85)
        chosen = rule.select(ledger, epoch)
        weights = chosen.weights
        assert weights is not None
        return replace(chosen, weights=torch.where(weights > 1, 1 / (1 - rule.r), 1.0))


@dataclass(frozen=True, kw_only=True)
class UnweightedOmission(Half):
    """Draws by importance and forgets to divide by the probability."""

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        scores = Ledger(SIZE, Omission().columns())
        scores.columns["score"] = ledger["loss"]
        return replace(Omission().select(scores, epoch), weights=None)


@pytest.mark.parametrize(
    "method",
    [TopHalf(), PublishedInfoBatch(), UnweightedOmission()],
    ids=lambda method: type(method).__name__,
)
def test_a_false_claim_is_refuted_for(method: Method) -> None:
    assert standard_errors_off(method) > 4


def test_a_sound_draw_is_not_refuted() -> None:
    assert standard_errors_off(Half()) < 4


def test_biased_methods_claim_nothing() -> None:
    """The papers' own statements: RePB only in the long run, OrderDP for another loss."""
    claims = {type(method).__name__: type(method).claims_unbiased for method in METHODS}
    assert not claims["RePB"]
    assert not claims["OrderDP"]
    assert claims["InfoBatch"]
    assert claims["Omission"]
    assert claims["RandomPruning"]
