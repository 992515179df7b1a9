"""ImportanceSampling: draw in proportion to the gradient norm, once that is worth a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.methods._method import Reference, require_within
from thresher.online._method import Candidates, Choice, Memory, OnlineMethod, filled
from thresher.theory.importance import tau, tau_threshold

# Keeps a chance of drawing a candidate whose norm is 0, or rounded to 0.
_SMOOTHING = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class ImportanceSampling(OnlineMethod):
    """Of B candidates draw b with replacement, in proportion to g_i, and weight by 1 / (B g_i).

    g_i = G_i / Σ G, G the logit-gradient norm at the present parameters (an upper bound of the
    gradient norm, up to a constant). τ = sqrt(B Σ g²) says what that saves: 1/τ² of the second
    moment. While τ̂, its moving average from 0, is not above τ_th, candidates are trained uniformly
    with weight 1. A candidate that is drawn c times is trained once with c times the weight. A norm
    that is not finite counts as average; g is mixed with 0.1 % of uniform, so that norms of 0
    do not divide by 0.

    As in the paper, uniform batches move τ̂ by their training scores, if the loop gives them:
    `pruner.reduce(losses, scores=logit_grad_norm(logits, y))`; else candidates are scored for it.

    Args:
        tau_th: τ_th; None is (B + 3b) / (3b), above which looking pays if a backward pass costs
            two forward passes. 0 always draws by importance.
        decay: of τ̂, for each look.

    Guarantees: unbiased for the mean gradient of the candidates, and so of the data.
    Cost: B/b extra forward passes for each draw; 4 bytes a sample. The paper has `candidates=3`,
        the Omission paper's "Weighted Replacement" `candidates=2`, tau_th=0.

    Example:
        >>> from thresher.online import ImportanceSampling
        >>> ImportanceSampling(candidates=3).num_candidates(batch_size=32, kept=0.5)
        96

    References:
        Katharopoulos and Fleuret, Not All Samples Are Created Equal: Deep Learning with Importance
        Sampling, ICML 2018.
    """

    tau_th: float | None = None
    decay: float = 0.9

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
    waits: ClassVar[bool] = True
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    reference: ClassVar[Reference] = Reference(
        title="Not All Samples Are Created Equal: Deep Learning with Importance Sampling",
        authors="Katharopoulos and Fleuret",
        year=2018,
        venue="ICML",
        arxiv="1803.00942",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "decay", "[0, 1)", "a decay")
        if self.tau_th is not None and not self.tau_th >= 0:
            raise SettingError(f"ImportanceSampling(tau_th={self.tau_th})", "0 or more, or None")

    def memory(self) -> dict[str, Tensor]:
        zero = torch.zeros((), dtype=torch.float64, device="cpu")
        return {"tau": zero, "is_told": zero}

    def wants_scores(self, candidates: Candidates) -> bool:
        return self._is_worth(candidates) or not bool(candidates.memory["is_told"])

    def choose(self, candidates: Candidates) -> Choice:
        size, num, memory = candidates.size, candidates.batch_size, candidates.memory
        if not candidates.scores:
            return Choice(candidates.everybody, None, memory)
        share = _shares(candidates.scores)
        memory = {**memory, "tau": self._moved(memory["tau"], share)}
        if not self._is_worth(candidates):
            return Choice(candidates.everybody, None, memory)
        uniform = candidates.draws.uniform(num, "draws", dtype=torch.float64).numpy()
        total = np.cumsum(share)
        drawn = np.searchsorted(total, uniform * total[-1], side="right")
        positions, times = np.unique(np.minimum(drawn, size - 1), return_counts=True)
        # The batch divides by the number of its samples, the rule by the number of draws.
        weights = times * (len(positions) / num) / (size * share[positions])
        return Choice(
            torch.from_numpy(positions), torch.from_numpy(weights.astype(np.float32)), memory
        )

    def learned(self, memory: Memory, scores: Mapping[str, Tensor]) -> Memory:
        told = torch.ones_like(memory["is_told"])
        return {"tau": self._moved(memory["tau"], _shares(scores)), "is_told": told}

    def _is_worth(self, candidates: Candidates) -> bool:
        tau_th = self.tau_th
        if tau_th is None:
            tau_th = tau_threshold(candidates.size, candidates.batch_size)
        return tau_th == 0 or bool(candidates.memory["tau"] > tau_th)

    def _moved(self, average: Tensor, share: np.ndarray) -> Tensor:
        return self.decay * average + (1 - self.decay) * tau(torch.from_numpy(share))


def _shares(scores: Mapping[str, Tensor]) -> np.ndarray:
    norm = filled(scores["logit_grad_norm"])
    mean = norm.mean()
    smooth = norm + _SMOOTHING * mean if mean > 0 else np.ones_like(norm)
    return smooth / smooth.sum()
