"""SelectiveBackprop: train what has a large loss among those seen lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher.draws import bernoulli, exact_count
from thresher.errors import SettingError
from thresher.methods._method import Reference, require_one_of, require_within
from thresher.online._method import Candidates, Choice, OnlineMethod

_LEAST = 0.05  # is kept to reach a ratio; with less, a batch takes too many looks


@final
@dataclass(frozen=True, kw_only=True)
class SelectiveBackprop(OnlineMethod):
    """Keep a candidate with chance max(p_min, F(ℓ)^β), F the share of recent losses below its own.

    The kept wait until b are there; then they are trained, with weight 1. F counts strictly smaller
    losses among the last R, these candidates included, so the smallest has no chance and about
    1 / (1 + β) are kept. A loss that is not finite is kept, and not remembered.

    Args:
        beta: β; None solves 1 / (1 + β) = κ for the ratio asked, β = 1 without one.
        p_min: the least chance.
        rule: "history" is the paper's. "batch" ranks in a candidate batch of b/κ, as the Omission
            paper ran it. "composer" keeps ⌊B / (1 + β)⌋ of it, drawn without replacement by
            ((rank + 1/2) / B)^β; Composer's start and end are the warm-up and δ.
        history: R, losses that are remembered.
        interrupt: every so many candidate batches one is trained whole, unseen (Composer: 2).

    Guarantees: none; hard samples count for more.
    Cost: 1/κ extra forward passes for each trained sample; 4 bytes a sample.

    Example:
        >>> from thresher.online import SelectiveBackprop
        >>> SelectiveBackprop(beta=3.0).kept
        0.25

    References:
        Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers, 2019.
    """

    beta: float | None = None
    p_min: float = 0.0
    rule: Literal["history", "batch", "composer"] = "history"
    history: int = 1024
    interrupt: int = 0

    waits: ClassVar[bool] = True
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Accelerating Deep Learning by Focusing on the Biggest Losers",
        authors="Jiang et al.",
        year=2019,
        arxiv="1910.00762",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "rule", "history", "batch", "composer")
        require_within(self, "p_min", "[0, 1]", "a probability")
        require_within(self, "history", "[1, inf)", "losses to remember")
        if self.beta is not None:
            require_within(self, "beta", "[0, inf)", "an exponent")
        if self.interrupt == 1 or self.interrupt < 0:
            raise SettingError(f"SelectiveBackprop(interrupt={self.interrupt})", "0, 2 or more")

    @property
    def kept(self) -> float:
        share = 1 / (1 + (1.0 if self.beta is None else self.beta))
        return share + (1 - share) / self.interrupt if self.interrupt else share

    def num_candidates(self, batch_size: int, kept: float) -> int:
        needed = 1.0 if self.rule == "history" else 1 + self._exponent(kept)
        return round(batch_size * (self.candidates or needed))

    def memory(self) -> dict[str, Tensor]:
        losses = torch.full((self.history,), torch.nan, dtype=torch.float32, device="cpu")
        return {"losses": losses, "turn": torch.zeros((), dtype=torch.int64, device="cpu")}

    def wants_scores(self, candidates: Candidates) -> bool:
        return not self.interrupt or (int(candidates.memory["turn"]) + 1) % self.interrupt != 0

    def choose(self, candidates: Candidates) -> Choice:
        memory = {**candidates.memory, "turn": candidates.memory["turn"] + 1}
        if not candidates.scores:
            return Choice(candidates.everybody, None, memory)
        loss, beta = candidates.scores["loss"].numpy(), self._exponent(candidates.kept)
        random = candidates.draws.uniform(candidates.size, "selection", torch.float64)
        if self.rule == "composer":
            return Choice(_fixed(loss, random, beta), None, memory)
        known = loss[np.isfinite(loss)]
        if self.rule == "history":  # the newest first; NaN is what the memory starts with
            recent = np.concatenate([known, memory["losses"].numpy()])[: self.history]
            memory["losses"], known = torch.from_numpy(recent), recent[~np.isnan(recent)]
        chance = (np.searchsorted(np.sort(known), loss) / max(1, len(known))) ** beta
        chance[~np.isfinite(loss)] = 1
        kept = bernoulli(torch.from_numpy(np.maximum(self.p_min, chance)), random)
        return Choice(kept.nonzero().squeeze(1), None, memory)

    def _exponent(self, kept: float) -> float:
        share = (kept * self.interrupt - 1) / (self.interrupt - 1) if self.interrupt else kept
        return 1 / max(_LEAST, share) - 1 if self.beta is None else self.beta


def _fixed(loss: np.ndarray, random: Tensor, beta: float) -> Tensor:
    """Return the positions of a fixed number, drawn one by one in proportion to percentile^β."""
    order = np.argsort(np.where(np.isfinite(loss), loss, np.inf), kind="stable")
    rank = np.argsort(order)
    # The smallest of exponential times are such a draw (Efraimidis and Spirakis).
    times = -torch.log1p(-random) / torch.from_numpy((rank + 0.5) / len(loss)) ** beta
    count = max(1, int(len(loss) / (1 + beta) + 1e-9))
    return exact_count(torch.ones_like(times, dtype=torch.bool), count, times).nonzero().squeeze(1)
