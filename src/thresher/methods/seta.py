"""SeTa: a window that slides over groups of samples, from easy to hard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher.clustering import boundaries
from thresher.draws import exact_count
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_share
from thresher.plan import Epoch, Plan, Selection, Trace


@final
@dataclass(frozen=True, kw_only=True)
class SeTa(Method):
    """Of a random part of the data, train the groups of like loss that a sliding window covers.

    In epoch c (from 0, after the warm-up) draw ⌊(1 - r) n⌋ samples, cluster their last losses into
    k groups by one-dimensional k-means, and keep w of these: from number c mod (k - w + 1) on, 0
    being the easiest; at c = 0 all, as the code does. Weight 1. A sample without a finite loss is
    in every window. Fewer distinct losses make g < k groups; the window then covers ⌈w g / k⌉.
    After ⌊δE⌋ epochs the random part alone is trained, without a window ("partial annealing").

    With `prune_ratio` exactly round((1 - R) n) samples train, R the epoch's share to leave out: of
    groups of all samples the window's in random order, then the others'. r is not used.

    Args:
        r: r, the share that is left out at random (`prune_ratio` in the released code).
        k: the number of groups, at most 512.
        window: w, the groups in the window, as `window_of` counts them. As it comes, all is as in
            the released CIFAR script; its ImageNet one has r = 0, k = 5, w = 3.

    Guarantees: over k - w + 1 epochs in which samples keep their groups, group j (from 1) is in the
        window for min(j, w, k - w + 1, k - j + 1). Biased: both ends are visited less.
    Cost: 4 bytes a sample, and about 50 ms per 10⁶ samples for the clustering.

    Example:
        >>> from thresher import Pruner, SeTa
        >>> pruner = Pruner(SeTa(r=0.0, k=2, window=1), epochs=9, num_samples=4)
        >>> pruner.observe(pruner.plan(0).ids, torch.tensor([1.0, 1.0, 1.2, 9.0]))
        >>> len(pruner.plan(1))  # c = 1: the harder group
        1

    References:
        Zhou et al., Scale Efficient Training for Large Datasets, CVPR 2025, and its code.
    """

    delta: float = 0.875
    r: float = 0.1
    k: int = 5
    window: int = 4

    prunes_to_the_end: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Scale Efficient Training for Large Datasets",
        authors="Zhou, Gao and Wang",
        year=2025,
        venue="CVPR",
        arxiv="2503.13385",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("SeTa", "r", self.r)
        if not 1 <= self.window <= self.k <= 512:
            came = f"SeTa(k={self.k}, window={self.window})"
            raise SettingError(came, "1 <= window <= k <= 512 groups")

    @staticmethod
    def window_of(k: int, alpha: float, rounding: Literal["code", "paper"] = "code") -> int:
        """Return w for k groups: round(αk), halves to even, in the code; ⌈αk⌉ in the paper.

        >>> SeTa.window_of(5, 0.9), SeTa.window_of(5, 0.9, rounding="paper")
        (4, 5)
        """
        # The small term keeps a product such as 0.28 * 25 from rising above its integer.
        return round(alpha * k) if rounding == "code" else math.ceil(alpha * k - 1e-9)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, math.nan),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, share = ledger.num_samples, epoch.target
        # The small term keeps a product such as (1 - 0.9) * 10 from falling below its integer.
        count = math.floor((1 - self.r) * n + 1e-9) if share is None else round((1 - share) * n)
        quota = max(1, count)

        def drawn(count: int, among: Tensor) -> Tensor:
            keys = epoch.draws.uniform(len(among), "selection", torch.float64)
            return exact_count(among, count, keys, over=ledger.population)

        if epoch.is_annealing:
            return Selection(kept=drawn(quota, ledger.everyone))
        among = drawn(quota, ledger.everyone) if share is None else ledger.everyone
        inside = among & self._inside(ledger, among, epoch.number - self.warmup_epochs)
        missing = 0 if share is None else quota - ledger.count(inside)
        if missing < 0:
            return Selection(kept=drawn(quota, inside))
        return Selection(kept=inside | drawn(missing, ~inside) if missing else inside)

    def _inside(self, ledger: Ledger, among: Tensor, cycle: int) -> Tensor:
        """Return which losses are in the window over the groups of `among`, NaN being so."""
        values = ledger["loss"].numpy()
        edges = boundaries(values, self.k, among.numpy() & ~np.isnan(values), ledger.population)
        edges = np.concatenate([[-np.inf], edges, [np.inf]]).astype(np.float32)
        groups = len(edges) - 1
        covered = groups if cycle == 0 else -(-self.window * groups // self.k)
        start = cycle % (groups - covered + 1)
        return torch.from_numpy(~((values < edges[start]) | (values >= edges[start + covered])))

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")
