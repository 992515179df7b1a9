"""Which runs make a comparison: rows × seeds, and the controls its achieved rates call for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, final

from thresher.bench.catalogue import BASELINES, has_step_length, is_control, is_pruned
from thresher.bench.chosen_once import STATIC
from thresher.bench.spelling import base_name

SAME_RATE = 0.0101
"""How far rates may be apart and pass for the same (0.01, and rounding)."""

SAME_TIME = 0.02
"""How much less of full training's time may pass for the same: what clocks cannot tell."""

Source = tuple[str, str]
"""Data that runs are trained on: their task, by its name, and their checksum."""


@final
@dataclass(frozen=True)
class Row:
    """One row of the table: everything about a run except its seed.

    Args:
        method: its name on the command line.
        prune_ratio: asked for the whole run; None where a ratio means nothing.
        step_exponent: γ; None is the published step length.
        is_added: not asked for, but added because a method's achieved rate called for it.
    """

    method: str
    prune_ratio: float | None = None
    step_exponent: float | None = None
    is_added: bool = False

    @property
    def label(self) -> str:
        """The method, and for an added control the rate it was added at."""
        return f"{self.method} @ {self.prune_ratio:.2f}" if self.is_added else self.method

    @property
    def step_length(self) -> str:
        """The step length in words: `published`, or the exponent, or a dash where there is none."""
        if not has_step_length(self.method):
            return "–"
        return "published" if self.step_exponent is None else f"{self.step_exponent:g}"

    def __str__(self) -> str:
        parts = [self.label]
        if self.prune_ratio is not None and not self.is_added:
            parts.append(f"{self.prune_ratio:g}")
        if self.step_exponent is not None:
            parts.append(f"γ={self.step_exponent:g}")
        return " ".join(parts)


@final
@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Every knob of one run; nothing about when, where or with which version it is made.

    Args:
        task: its name.
        data: the data's checksum.
        model: the network, written out.
        method: the row's name for it.
        setting: the method with all its hyper-parameters, written out.
        prune_ratio: asked; None where it means nothing.
        step_exponent: γ; None is the published step length.
        epochs: of full training.
        batch_size: samples a step.
        learning_rate: the peak, before `fewer-epochs-scaled` multiplies it.
        momentum: of SGD; None without SGD.
        weight_decay: of the optimizer.
        warm_up: share of the cycle before the peak.
        flip: whether training images are mirrored; None where there are none.
        shift: by how many pixels they are moved at most, or (up and down, left and right).
        seed: of weights, order, augmentation and the method's draws.
        device: where the network is.
        threads: of torch.
        reference_epochs: of the model that a static method sees; None if it sees none.
        optimizer: None is SGD with Nesterov momentum.
        hidden: share of a text's words that are hidden in an epoch; None if none are.
        drop_last: True if an epoch's last batch is left out where it is not full, else None.
    """

    task: str
    data: str
    model: str
    method: str
    setting: str
    prune_ratio: float | None
    step_exponent: float | None
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float | None
    weight_decay: float
    warm_up: float
    flip: bool | None
    shift: int | tuple[int, int] | None
    seed: int
    device: str
    threads: int
    reference_epochs: int | None = None
    optimizer: str | None = None
    hidden: float | None = None
    drop_last: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the knobs by name, ready for JSON, without those that the run does not have.

        So runs keep the key they had before there were references, or optimizers to choose among.
        """
        knobs = asdict(self)
        return {
            name: value
            for name, value in knobs.items()
            if value is not None or name in ("prune_ratio", "step_exponent")
        }

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that differ between any two different configurations."""
        text = json.dumps(self.as_dict(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def source(self) -> Source:
        """What data it is trained on."""
        return self.task, self.data

    @property
    def trained_epochs(self) -> int:
        """Epochs that this run goes through: round(κE) for the fewer-epochs baselines."""
        return trained_epochs(self.method, self.prune_ratio, self.epochs)

    @property
    def expected_epochs(self) -> float:
        """About how much work the run is, in full epochs."""
        return expected_epochs(self.method, self.prune_ratio, self.epochs)


def trained_epochs(method: str, prune_ratio: float | None, epochs: int) -> int:
    """Return round(κE), at least 1, for the fewer-epochs baselines and E for everything else.

    Halves are rounded up, unlike Python's round: 0.5 of 5 epochs and of 7 are both rounded up.

    Example:
        >>> trained_epochs("fewer-epochs", 0.7, 10), trained_epochs("infobatch", 0.7, 10)
        (3, 10)
    """
    if not method.startswith("fewer-epochs"):
        return epochs
    return _rounded((1 - (prune_ratio or 0.0)) * epochs)


def expected_epochs(method: str, prune_ratio: float | None, epochs: int) -> float:
    """Return about how much work a run is, in full epochs, that of its reference model too.

    Example:
        >>> [expected_epochs(name, 0.5, 10) for name in ("full", "fewer-epochs", "repb", "el2n")]
        [10.0, 5.0, 5.0, 7.0]
    """
    if not has_step_length(method):
        return float(trained_epochs(method, prune_ratio, epochs))
    return epochs * (1 - (prune_ratio or 0.0)) + (reference_epochs(method, epochs) or 0)


def reference_epochs(method: str, epochs: int) -> int | None:
    """Return how long the reference of a static method is trained; None where there is none.

    Example:
        >>> [reference_epochs(name, 10) for name in ("el2n", "forgetting", "static-random", "repb")]
        [2, 10, None, None]
    """
    static = STATIC.get(base_name(method))
    return _rounded(static.share * epochs) if static and static.share else None


def _rounded(epochs: float) -> int:
    # Decimal ratios are not binary fractions: 1 - 0.7 is a little above 0.3.
    return max(1, int(round(epochs, 9) + 0.5))


def asked_rows(
    methods: Sequence[str], prune_ratios: Sequence[float], step_exponents: Sequence[float | None]
) -> list[Row]:
    """Return the rows that were asked for, baselines first.

    Example:
        >>> [str(row) for row in asked_rows(["repb"], [0.5], [None, 0.5])]
        ['full', 'random 0.5', 'random 0.5 γ=0.5', 'fewer-epochs 0.5', 'repb 0.5', 'repb 0.5 γ=0.5']
    """
    rows: dict[Row, None] = {}
    names = dict.fromkeys((*BASELINES, *methods))
    for ratio in dict.fromkeys(prune_ratios):
        for name in names:
            exponents = dict.fromkeys(step_exponents) if has_step_length(name) else (None,)
            for exponent in exponents:
                rows[Row(name, ratio if is_pruned(name) else None, exponent)] = None
    return list(rows)


def added_rows(
    rates: Mapping[Row, float], epochs: int, shares: Mapping[Row, float] | None = None
) -> list[Row]:
    """Return the controls for methods whose cost is not what was asked: as dear, and no method.

    A method is compared with the fewest epochs that cost at least as much, in samples; one that
    does more than train, such as scoring samples first, with the fewest that take as long, too.
    One whose achieved rate differs by more than 0.01 from the asked one is compared with random
    pruning at the achieved rate and the same step length. Rows that are there already serve.

    Args:
        rates: achieved rate, mean over seeds, of every asked row that has all its seeds.
        epochs: of full training.
        shares: of rows that do more than train, the time as a share of full's.
    """
    present = {(row.method, row.prune_ratio, row.step_exponent) for row in rates}
    lengths = {
        trained_epochs(row.method, row.prune_ratio, epochs)
        for row in rates
        if row.method in ("full", "fewer-epochs")
    }
    added: dict[Row, None] = {}
    for row, rate in rates.items():
        if is_control(row.method) or row.prune_ratio is None:
            continue
        ratio = round(rate, 2)
        is_off = abs(rate - row.prune_ratio) > 0.01 and 0 < ratio < 1
        if is_off and ("random", ratio, row.step_exponent) not in present:
            added[Row("random", ratio, row.step_exponent, is_added=True)] = None
    costs = {row: 1 - rate for row, rate in rates.items()}
    wanted = [
        as_many_epochs(cost, epochs, tolerance)
        for of_rows, tolerance in ((costs, SAME_RATE), (shares or {}, SAME_TIME))
        for row, cost in of_rows.items()
        if has_step_length(row.method) and not is_control(row.method) and cost < 1
    ]
    for length in dict.fromkeys(wanted):
        if length not in lengths and length < epochs:
            added[Row("fewer-epochs", round(1 - length / epochs, 4), is_added=True)] = None
    return list(added)


def as_many_epochs(cost: float, epochs: int, tolerance: float) -> int:
    """Return the fewest epochs that cost at least as much, or a little less; at most all.

    Args:
        cost: as a share of full training's.
        epochs: of full training.
        tolerance: what passes for nothing, as a share of full training's.

    Example:
        >>> [as_many_epochs(cost, 10, 0.01) for cost in (0.5, 0.505, 0.52, 1.2)]
        [5, 5, 6, 10]
    """
    return min(epochs, max(1, math.ceil(round((cost - tolerance) * epochs, 9))))
