"""A paced scheduler keeps the designed curve, whatever the pruned epochs' lengths are."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import optim
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from small_runs import copied
from thresher import Full, Method, Pruner
from thresher.errors import SettingError, ThresherWarning
from thresher.ledger import Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Selection

N, EPOCHS = 12, 5
SIZES = (12, 5, 9, 1, 7)


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Epochs of given sizes, and a learning-rate factor for each."""

    sizes: tuple[int, ...] = SIZES
    factors: tuple[float, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[Reference] = Reference(title="", authors="", year=0)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        kept = torch.zeros(ledger.num_samples, dtype=torch.bool)
        kept[: self.sizes[epoch.number]] = True
        factor = self.factors[epoch.number] if self.factors else 1.0
        return Selection(kept=kept, learning_rate_factor=factor)


def sgd(**settings: Any) -> Optimizer:
    groups = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": [groups[0]]}, {"params": [groups[1]], "lr": 0.03}]  # type: ignore[assignment]
    return optim.SGD(groups, **{"lr": 0.1, "momentum": 0.9, **settings})


Built = Callable[[Optimizer, int], LRScheduler]
SCHEDULERS: dict[type, Built] = {
    lr_scheduler.LambdaLR: lambda o, total: lr_scheduler.LambdaLR(o, lambda s: 1 / (1 + s)),
    lr_scheduler.MultiplicativeLR: lambda o, total: lr_scheduler.MultiplicativeLR(
        o, lambda s: 0.9 + 0.01 * (s % 7)
    ),
    lr_scheduler.StepLR: lambda o, total: lr_scheduler.StepLR(o, 7, gamma=0.5),
    lr_scheduler.MultiStepLR: lambda o, total: lr_scheduler.MultiStepLR(o, [5, 20, 20, 33]),
    lr_scheduler.ConstantLR: lambda o, total: lr_scheduler.ConstantLR(o, 0.3, total_iters=17),
    lr_scheduler.LinearLR: lambda o, total: lr_scheduler.LinearLR(o, 0.1, total_iters=25),
    lr_scheduler.ExponentialLR: lambda o, total: lr_scheduler.ExponentialLR(o, 0.97),
    lr_scheduler.SequentialLR: lambda o, total: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, 0.1, total_iters=10),
            lr_scheduler.CosineAnnealingLR(o, max(1, total - 10)),
        ],
        milestones=[10],
    ),
    lr_scheduler.PolynomialLR: lambda o, total: lr_scheduler.PolynomialLR(o, total, power=2.0),
    lr_scheduler.CosineAnnealingLR: lambda o, total: lr_scheduler.CosineAnnealingLR(o, total),
    lr_scheduler.ChainedScheduler: lambda o, total: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, total_iters=6), lr_scheduler.ExponentialLR(o, 0.95)], o
    ),
    lr_scheduler.CyclicLR: lambda o, total: lr_scheduler.CyclicLR(
        o, 0.01, 0.2, step_size_up=9, mode="triangular2"
    ),
    lr_scheduler.CosineAnnealingWarmRestarts: lambda o, total: (
        lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=8, T_mult=2)
    ),
    lr_scheduler.OneCycleLR: lambda o, total: lr_scheduler.OneCycleLR(
        o, [0.5, 0.2], total_steps=total
    ),
}
every_scheduler = pytest.mark.parametrize("kind", SCHEDULERS, ids=lambda kind: kind.__name__)


def rates(optimizer: Optimizer) -> tuple[float, ...]:
    """Learning rates and momenta, which some schedulers cycle too."""
    groups = optimizer.param_groups
    return tuple(float(g["lr"]) for g in groups) + tuple(g.get("momentum", 0) for g in groups)


def bare(kind: type, steps: int, epochs: int = EPOCHS) -> list[tuple[float, ...]]:
    """The designed curve: the rates before each step of the unpruned run, and after the last."""
    optimizer = sgd()
    scheduler = SCHEDULERS[kind](optimizer, steps * epochs)
    curve = [rates(optimizer)]
    for _ in range(steps * epochs):
        optimizer.step()
        scheduler.step()
        curve.append(rates(optimizer))
    return curve


class Loop:
    """A training loop over batches of one sample; `ends` has the rates at each epoch's end."""

    def __init__(
        self,
        method: Method,
        build: Built,
        *,
        per: Any = "step",
        breaks: Sequence[int] = (),
        optimizer: Optimizer | None = None,
        drop_last: bool = False,
        batch_size: int = 1,
        epochs: int = EPOCHS,
        **settings: Any,
    ) -> None:
        self.epochs = epochs
        self.pruner = Pruner(method, epochs=epochs, **settings)
        plain = DataLoader(torch.zeros(N, 1), batch_size, shuffle=True, drop_last=drop_last)
        self.loader = self.pruner.wrap(plain)
        self.optimizer = optimizer or sgd()
        self.micro = settings.get("accumulation_steps", 1)
        self.full = -(-len(plain) // self.micro)
        total = epochs if per == "epoch" else epochs * self.full
        self.scheduler = self.pruner.pace(build(self.optimizer, total), per=per)
        self.per, self.breaks = per, dict(enumerate(breaks))
        self.used: list[tuple[float, ...]] = []
        self.ends: list[tuple[float, ...]] = []

    def steps(self) -> Iterator[None]:
        first = self.pruner.epoch
        for epoch in range(first, self.epochs):
            batches: Any = iter(self.loader)
            # After a load, a part of the first epoch is done already.
            done = len(self.loader) - len(batches) if epoch == first else 0
            num_batches = done + len(batches)
            for k, batch in enumerate(batches, start=done):
                self.pruner.reduce(batch.sum(1))
                if (k + 1) % self.micro == 0 or k + 1 == num_batches:
                    self.used.append(rates(self.optimizer))
                    self.optimizer.step()
                    if self.per == "step":
                        self.scheduler.step()
                yield
                if k + 1 == self.breaks.get(epoch):
                    break
            if self.per == "epoch":
                self.scheduler.step()
            self.ends.append(rates(self.optimizer))

    def run(self) -> Loop:
        for _ in self.steps():
            pass
        return self


def test_no_scheduler_of_torch_is_left_out() -> None:
    found = {
        kind
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, LRScheduler) and not name.startswith("_")
    }
    assert found - {LRScheduler} == {*SCHEDULERS, ReduceLROnPlateau}


# -------------------------------------------------------------------------------- the curve


@every_scheduler
def test_the_rate_at_every_epochs_end_is_the_unpruned_runs(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind]).run()
    assert len(loop.used) == sum(SIZES)
    assert loop.ends == bare(kind, N)[N::N]


@every_scheduler
def test_with_accumulation_too(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], accumulation_steps=3).run()
    assert loop.full == 4
    assert len(loop.used) == sum(-(-size // 3) for size in SIZES)
    assert loop.ends == bare(kind, 4)[4::4]


@every_scheduler
def test_an_early_break_is_caught_up_by_the_next_epoch(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], breaks=(4, 5, 2)).run()
    curve = bare(kind, N)
    assert loop.ends[0] == curve[4]
    assert loop.ends[1] == curve[2 * N]
    assert loop.ends[3:] == curve[4 * N :: N]


@every_scheduler
@pytest.mark.parametrize("settings", [{}, {"accumulation_steps": 5}, {"batch_size": 5}], ids=str)
def test_full_is_the_bare_scheduler_at_every_step(kind: type, settings: dict[str, Any]) -> None:
    for drop_last in (False, True):
        loop = Loop(Full(), SCHEDULERS[kind], drop_last=drop_last, **settings).run()
        curve = bare(kind, loop.full)
        assert loop.used == curve[:-1]
        assert loop.ends[-1] == curve[-1]


@every_scheduler
def test_per_epoch_is_the_bare_scheduler_stepped_once_an_epoch(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], per="epoch").run()
    assert loop.ends == bare(kind, 1)[1:]


@every_scheduler
def test_within_an_epoch_the_rate_is_one_of_the_designed_curve_in_order(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind]).run()
    curve, at, used = bare(kind, N), 0, 0
    for epoch, size in enumerate(SIZES):
        for step in range(size):
            at = epoch * N + (2 * step * N + size) // (2 * size)
            assert loop.used[used] == curve[at]
            used += 1


@given(
    kind=st.sampled_from(list(SCHEDULERS)),
    sizes=st.lists(st.integers(1, N), min_size=EPOCHS, max_size=EPOCHS),
    breaks=st.lists(st.integers(1, 2 * N), max_size=EPOCHS - 1),
    micro=st.integers(1, 4),
)
@examples(max_examples=60)
def test_any_lengths_end_at_the_final_rate_without_an_error(
    kind: type, sizes: list[int], breaks: list[int], micro: int
) -> None:
    method = Scripted(sizes=tuple(sizes))
    loop = Loop(method, SCHEDULERS[kind], breaks=breaks, accumulation_steps=micro).run()
    assert loop.ends[-1] == bare(kind, loop.full)[-1]


@given(sizes=st.lists(st.integers(1, N), min_size=1, max_size=8))
@examples(max_examples=40)
def test_one_cycle_ends_at_its_final_rate_for_any_lengths(sizes: list[int]) -> None:
    method, epochs = Scripted(sizes=tuple(sizes)), len(sizes)
    loop = Loop(method, SCHEDULERS[lr_scheduler.OneCycleLR], epochs=epochs).run()
    assert loop.ends == bare(lr_scheduler.OneCycleLR, N, epochs)[N::N]
    assert loop.scheduler.last_epoch == N * epochs


@pytest.mark.parametrize("kind", [lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR])
def test_momentum_cycles_with_the_rate(kind: type) -> None:
    momenta = {end[2] for end in Loop(Scripted(), SCHEDULERS[kind]).run().ends}
    assert len(momenta) > 2


def test_adams_first_beta_cycles_with_one_cycle() -> None:
    adam = optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    loop = Loop(
        Scripted(), lambda o, total: lr_scheduler.OneCycleLR(o, 0.5, total), optimizer=adam
    ).run()
    assert adam.param_groups[0]["betas"][0] == pytest.approx(0.95, abs=1e-3)
    assert loop.ends[1][0] > 0.4


def test_a_run_of_steps_is_stepped_once_an_optimizer_step() -> None:
    for kind in SCHEDULERS:
        pruner = Pruner(Scripted(sizes=(3,) * 30), steps=30, accumulation_steps=2)
        loader = pruner.wrap(DataLoader(torch.zeros(N, 1), 2, shuffle=True))
        optimizer, used = sgd(), []
        scheduler = pruner.pace(SCHEDULERS[kind](optimizer, 30))
        while not pruner.finished:
            for batch in loader:
                pruner.reduce(batch.sum(1))
            used.append(rates(optimizer))
            optimizer.step()
            scheduler.step()
        assert used == bare(kind, 30, 1)[:-1]


# --------------------------------------------------------------------------- metrics, per epoch


def test_reduce_on_plateau_gets_its_metric_per_epoch() -> None:
    metrics = [1.0, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5]
    plain = ReduceLROnPlateau(sgd(), patience=1, factor=0.1)
    inner = ReduceLROnPlateau(sgd(), patience=1, factor=0.1)
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    paced = pruner.pace(inner, per="epoch")
    for epoch, metric in enumerate(metrics):
        pruner.observe(pruner.plan(epoch).ids, torch.zeros(4))
        plain.step(metric)
        paced.step(metrics=metric) if epoch % 2 else paced.step(metric)
        assert rates(inner.optimizer) == rates(plain.optimizer)
    assert inner.optimizer.param_groups[0]["lr"] < 0.1
    assert paced.best == 0.5


def test_reduce_on_plateau_per_step_is_refused() -> None:
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    with pytest.raises(SettingError, match=r"ReduceLROnPlateau.*metric.*per='epoch'"):
        pruner.pace(ReduceLROnPlateau(sgd()))


def test_an_unknown_pace_is_refused() -> None:
    with pytest.raises(SettingError, match=r"per='batch'.*'step' or 'epoch'"):
        Loop(Full(), SCHEDULERS[lr_scheduler.StepLR], per="batch")


def test_a_position_given_to_a_scheduler_paced_per_step_is_refused() -> None:
    loop = Loop(Full(), SCHEDULERS[lr_scheduler.CosineAnnealingWarmRestarts])
    next(loop.steps())
    with pytest.raises(SettingError, match=r"\(0\.5,\).*without arguments.*per='epoch'"):
        loop.scheduler.step(0.5)
    loop.scheduler.step(None)


def test_per_step_without_a_loader_is_refused() -> None:
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    paced = pruner.pace(lr_scheduler.StepLR(sgd(), 1))
    pruner.observe(pruner.plan(0).ids, torch.zeros(4))
    with pytest.raises(SettingError, match=r"without a wrapped loader.*per='epoch'"):
        paced.step()


# ---------------------------------------------------------------------------- what it looks like


def test_a_paced_scheduler_is_a_scheduler_with_the_inner_ones_attributes() -> None:
    loop = Loop(Full(), SCHEDULERS[lr_scheduler.OneCycleLR])
    scheduler = loop.scheduler
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.optimizer is loop.optimizer
    assert scheduler.total_steps == N * EPOCHS
    assert scheduler.last_epoch == 0
    next(loop.steps())
    assert scheduler.last_epoch == 1
    assert scheduler.get_last_lr() == [g["lr"] for g in loop.optimizer.param_groups]
    with pytest.raises(AttributeError, match="nonsense"):
        scheduler.nonsense  # noqa: B018


@every_scheduler
@pytest.mark.parametrize("factors", [(), (1.0, 0.5, 2.0, 0.25, 0.5)], ids=["", "factors"])
def test_a_paced_scheduler_resumes_at_every_step(kind: type, factors: tuple[float, ...]) -> None:
    method = Scripted(sizes=(4, 2, 3, 1, 2), factors=factors)
    whole = Loop(method, SCHEDULERS[kind])
    states: list[Any] = [copied(snapshot(whole)) for _ in whole.steps()]
    for cursor, state in enumerate(states, start=1):
        resumed = Loop(method, SCHEDULERS[kind])
        resumed.pruner.load_state_dict(state["pruner"])
        resumed.optimizer.load_state_dict(state["optimizer"])
        resumed.scheduler.load_state_dict(state["scheduler"])
        resumed.run()
        assert resumed.used == whole.used[cursor:]
        assert resumed.ends[-1:] == whole.ends[-1:] or cursor == len(states)


def snapshot(loop: Loop) -> dict[str, Any]:
    return {
        "pruner": loop.pruner.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "scheduler": loop.scheduler.state_dict(),
    }


# ------------------------------------------------------------------------------ the method's factor

FACTORS = (1.0, 0.5, 2.0, 2.0, 0.125)  # powers of two, so that products are exact


def rates_of_epochs(loop: Loop) -> list[list[float]]:
    used = iter(loop.used)
    return [[next(used)[0] for _ in range(size)] for size in SIZES]


@pytest.mark.parametrize("per", ["step", "epoch"])
@every_scheduler
def test_every_step_of_an_epoch_has_that_epochs_factor_once(kind: type, per: str) -> None:
    designed = rates_of_epochs(Loop(Scripted(), SCHEDULERS[kind], per=per).run())
    loop = Loop(Scripted(factors=FACTORS), SCHEDULERS[kind], per=per).run()
    for epoch, used in enumerate(rates_of_epochs(loop)):
        assert used == [rate * FACTORS[epoch] for rate in designed[epoch]]


def test_a_factor_in_the_first_epoch_is_there_at_the_first_step() -> None:
    constant: Built = lambda o, total: lr_scheduler.LambdaLR(o, lambda s: 1.0)  # noqa: E731
    loop = Loop(Scripted(factors=(0.5,) * 5), constant).run()
    assert {used[0] for used in loop.used} == {0.05}
    assert loop.ends[-1][0] == 0.05


def test_two_schedulers_of_one_optimizer_share_the_factor() -> None:
    constant: Built = lambda o, total: lr_scheduler.ExponentialLR(o, 0.5)  # noqa: E731
    loop = Loop(Scripted(sizes=(12,) * 5, factors=FACTORS), constant)
    second = loop.pruner.pace(lr_scheduler.ExponentialLR(loop.optimizer, 2.0))
    for _ in loop.steps():
        second.step()
    assert [used[0] for used in loop.used] == [0.1 * f for f in FACTORS for _ in range(12)]


def test_a_factor_changes_a_rate_that_is_a_tensor_in_place() -> None:
    rate = torch.tensor(0.5)
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    constant: Built = lambda o, total: lr_scheduler.ExponentialLR(o, 1.0)  # noqa: E731
    loop = Loop(Scripted(factors=FACTORS), constant, optimizer=optimizer).run()
    assert [rates[0] for rates in rates_of_epochs(loop)] == [0.5 * f for f in FACTORS]
    assert optimizer.param_groups[0]["lr"] is rate


@every_scheduler
def test_a_step_exponent_switches_the_factor_off(kind: type) -> None:
    plain = Loop(Scripted(), SCHEDULERS[kind]).run()
    loop = Loop(Scripted(factors=FACTORS), SCHEDULERS[kind], step_exponent=0.0).run()
    assert loop.used == plain.used


# -------------------------------------------------------------------------------------- warnings

CANCELLING = {
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
}


def test_a_step_exponent_with_an_optimizer_that_cancels_it_warns_once() -> None:
    kinds = {k for k in vars(optim).values() if inspect.isclass(k) and issubclass(k, Optimizer)}
    pruner = Pruner(Full(), epochs=3, num_samples=4, step_exponent=0.5)
    warned = set()
    for kind in kinds - {Optimizer}:
        optimizer = kind([torch.zeros(2, 2, requires_grad=True)], lr=0.1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pruner.pace(lr_scheduler.StepLR(optimizer, 1))
        assert len(caught) <= 1
        for warning in caught:
            assert kind.__name__ in str(warning.message)
            assert "step_exponent=0.5" in str(warning.message)
            assert warning.filename == __file__
            warned.add(kind.__name__)
    assert warned == CANCELLING
    Pruner(Full(), epochs=3, num_samples=4).pace(
        lr_scheduler.StepLR(optim.Adam([torch.zeros(1, requires_grad=True)]), 1)
    )


def test_more_calls_than_planned_steps_warn_once_and_stay_at_the_epochs_end() -> None:
    kind = lr_scheduler.OneCycleLR
    loop = Loop(Scripted(), SCHEDULERS[kind])
    steps = loop.steps()
    for _ in range(12):
        next(steps)
    with pytest.warns(
        ThresherWarning, match=r"more often than the 12 .*accumulation_steps"
    ) as all_:
        loop.scheduler.step()
    loop.scheduler.step()
    assert len(all_) == 1
    assert all_[0].filename == __file__
    assert rates(loop.optimizer) == bare(kind, N)[N]
    for _ in steps:
        pass
    assert loop.ends[1:] == bare(kind, N)[2 * N :: N]
