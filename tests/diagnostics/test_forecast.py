"""Forecasts of the prune rate against runs and against the closed forms."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from contracts.drive import run
from contracts.found import METHODS, short
from thresher import Full, InfoBatch, OrderDP, RandomPruning, RePB
from thresher.diagnostics import forecast, redraw
from thresher.errors import SettingError, ThresherWarning
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Selection
from thresher.theory.saving import expected_saving
from thresher.theory.stationary import run_rate

EPOCHS = 24


@pytest.mark.parametrize("method", METHODS, ids=short)
@pytest.mark.filterwarnings("ignore::thresher.errors.ThresherWarning")
def test_every_method_has_a_forecast(method: Method) -> None:
    found = forecast(method, epochs=6)
    assert 0 <= found.low <= found.high < 1
    assert repr(method) in str(found)
    assert len(found.rates) == (1 if method.has_exact_rate else 3)


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        (Full(), 0.0),
        (RandomPruning(prune_ratio=0.3), 0.3),
        (OrderDP(rho_s=0.5, rho_q=0.5), 0.75),
        (OrderDP(prune_ratio=0.6, warmup_epochs=4), 0.6),
    ],
    ids=repr,
)
def test_an_exact_rate_is_forecast_exactly(method: Method, rate: float) -> None:
    found = forecast(method, epochs=EPOCHS)
    assert found.low == found.high == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_repb_is_forecast_as_its_chain_says(rho: float) -> None:
    found = forecast(RePB(rho=rho), epochs=EPOCHS)
    below = 0.632  # of exponential losses, anew at each visit
    assert found.rates["fresh exponential losses"] == pytest.approx(
        run_rate(rho, below, EPOCHS), abs=0.01
    )
    assert found.high - found.low > 0.01


def test_infobatch_is_forecast_near_its_closed_form() -> None:
    """Stored losses are of older epochs, and so above today's: a little more is below the mean."""
    found = forecast(InfoBatch(), epochs=EPOCHS)
    closed = expected_saving(0.5, 0.632, EPOCHS)
    assert closed <= found.rates["fresh exponential losses"] < closed + 0.06


def test_a_forecast_holds_for_a_run() -> None:
    table = torch.empty(EPOCHS, 3000).exponential_(generator=torch.Generator().manual_seed(1))
    pruner, _ = run(RePB(rho=0.6), table, batch_size=100)
    found = forecast(RePB(rho=0.6), epochs=EPOCHS)
    rate = pruner.report().prune_rate
    assert found.rates["fresh exponential losses"] == pytest.approx(rate, abs=0.015)


def test_a_ratio_out_of_reach_is_said_before_training() -> None:
    with pytest.warns(ThresherWarning, match=r"asked: 90\.0%.*exact rate"):
        forecast(InfoBatch(prune_ratio=0.9), epochs=EPOCHS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forecast(InfoBatch(prune_ratio=0.3), epochs=EPOCHS)
        forecast(RePB(prune_ratio=0.7), epochs=EPOCHS)


@pytest.mark.usefixtures("unchanged_global_rng")
def test_a_forecast_is_the_same_again() -> None:
    first, again = (forecast(RePB(rho=0.5), epochs=5, seed=3) for _ in range(2))
    assert first == again
    assert first != forecast(RePB(rho=0.5), epochs=5, seed=4)


def test_a_run_without_epochs_is_refused() -> None:
    with pytest.raises(SettingError, match="1 or more"):
        forecast(Full(), epochs=0)


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Method):
    """Chooses while training goes on."""

    family: ClassVar[str] = "online"

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        raise AssertionError


def test_a_method_that_chooses_while_training_is_refused() -> None:
    with pytest.raises(SettingError, match="online family; expected: a historical method"):
        forecast(Elsewhere(), epochs=5)
    with pytest.raises(SettingError, match="online family; expected: a historical method"):
        redraw(Elsewhere(), Ledger(3), epoch=1)
