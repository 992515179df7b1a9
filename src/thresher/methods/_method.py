"""What a method is: all that a new one must read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.plan import Epoch, Plan, Selection, Trace


@final
@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where a method was published."""

    title: str
    authors: str
    year: int
    venue: str = ""
    arxiv: str = ""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A published rule for what to train on: settings only, no state.

    A frozen dataclass of its paper's hyper-parameters: declares the columns it remembers, chooses
    from them before an epoch, updates them after it; never sees a rank, a loader or a clock.

    Args:
        prune_ratio: the share of all sample visits to save over the *whole run*, in [0, 1), warm-up
            and annealing included; None leaves the rate to the method's own parameters.
        delta: δ: epoch e (from 0) is pruned only if e + 1 <= δE; later ones train on everything.
        warmup_epochs: epochs at the start that train on everything.
    """

    prune_ratio: float | None = None
    delta: float = 1.0
    warmup_epochs: int = 0

    needs: ClassVar[tuple[str, ...]] = ("loss",)
    """Names of the scores the method wants of every trained sample."""
    scalars: ClassVar[dict[str, float]] = {}
    """Numbers the method remembers beside its columns, as they are before anything is observed."""
    claims_unbiased: ClassVar[bool] = False
    """Whether Σ w_i g_i over a plan is, in expectation over its draws, proportional to Σ g_i."""
    unbiased_for: ClassVar[str] = ""
    """What the weighted gradient is unbiased for, in words; empty if for nothing that is named."""
    follows_prune_ratio: ClassVar[bool] = True
    """Whether `prune_ratio` steers it; if not, a report only compares the rate with it."""
    prunes_to_the_end: ClassVar[bool] = False
    """Whether epochs after δ leave samples out too, by another rule (`Epoch.is_annealing`)."""
    has_exact_rate: ClassVar[bool] = False
    """Whether settings alone decide how many samples an epoch trains on, whatever their scores."""
    family: ClassVar[str] = "historical"
    """Which of the library's families the method is of: historical, online or static."""
    reference: ClassVar[Reference]
    """The source the method is faithful to."""

    def __post_init__(self) -> None:
        if self.prune_ratio is not None:
            require_share(type(self).__name__, "prune_ratio", self.prune_ratio)
        require_within(self, "delta", "(0, 1]", "the share of the epochs in which to prune")
        require_within(self, "warmup_epochs", "[0, inf)", "a number of epochs")

    def columns(self) -> tuple[Column, ...]:
        """Return the per-sample columns this method remembers."""
        return ()

    @property
    def first_prunable_epoch(self) -> int:
        """The first epoch this method can prune: later than the warm-up if it must see scores."""
        return self.warmup_epochs

    @abstractmethod
    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        """Choose the samples of an epoch, and their weights, from what earlier epochs left."""

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        """Update the ledger in place from the scores of the epoch that `plan` was made for."""

    def refreshed(self, ledger: Ledger, plan: Plan) -> Tensor | None:
        """Return rows, int64, to score by an extra forward after `observe`; None means nobody."""
        return None

    def observe_refreshed(self, ledger: Ledger, rows: Tensor, scores: Mapping[str, Tensor]) -> None:
        """Update the ledger in place from those scores, by name, float32, one for each row."""


def require_within(method: object, name: str, interval: str, meaning: str) -> None:
    """Refuse a setting outside an interval such as "(0, 1]"; NaN is outside of all."""
    value = getattr(method, name)
    low, high = (float(end) for end in interval[1:-1].split(","))
    is_end = (interval[0] == "[" and value == low) or (interval[-1] == "]" and value == high)
    if not (low < value < high or is_end):
        raise SettingError(f"{type(method).__name__}({name}={value})", f"{meaning}, in {interval}")


def require_one_of(method: object, name: str, *choices: str) -> None:
    """Refuse a setting that is none of its choices."""
    value = getattr(method, name)
    if value not in choices:
        came = f"{type(method).__name__}({name}={value!r})"
        raise SettingError(came, " or ".join(map(repr, choices)))


def require_share(owner: str, name: str, value: float) -> None:
    """Refuse a ratio outside [0, 1)."""
    if not 0 <= value < 1:
        raise SettingError(
            f"{owner}({name}={value})",
            "a share in [0, 1), where 0.5 means that half is left out",
            f"If you meant {value} percent, write {value / 100}" if 1 <= value < 100 else "",
        )
