"""What a run did with each sample: how often it was trained, and if its label is suspicious."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.diagnostics.visits import Visits
from thresher.errors import SettingError


@final
class SampleRecorder:
    """Counts each sample's visits in a run, and adds up how far its loss was above the others'.

    The *excess* of a sample is the mean, over the times it was trained, of its loss less the mean
    loss of all that the same epoch trained:

        excess_i = (1/|V_i|) Σ_{e ∈ V_i} (ℓ_ie − mean_j ℓ_je)

    A wrong label keeps a sample's loss above the others' for as long as the model resists learning
    it by heart, so `suspects` are in the order of excess. The epoch's mean is taken off because
    losses fall in the course of training: without that, a sample that was visited early and pruned
    later would be suspected for it. Under full training it takes the same off everybody, and the
    order is that of the mean loss. Hard samples are suspected, too: look before you delete.

    Args:
        num_samples: n.

    Cost: 24 bytes a sample, and an epoch's losses until it is closed. A step appends to a list;
        nothing is read from the device before the epoch is over.

    Example:
        >>> recorder = SampleRecorder(3)
        >>> for losses in ([1.0, 3.0, 2.0], [0.0, 4.0, 0.5]):
        ...     recorder.take(np.array([0, 1, 2]), torch.tensor(losses))
        ...     recorder.close_epoch()
        >>> recorder.excess.tolist(), recorder.suspects().tolist(), recorder.visits.counts.tolist()
        ([-1.25, 1.75, -0.5], [1, 2, 0], [2, 2, 2])

    References:
        Ranking by loss averaged over training: Pleiss et al., "Identifying Mislabeled Data using
        the Area Under the Margin Ranking", 2020 (arXiv:2001.10528), which has the margin in the
        loss's place.
    """

    def __init__(self, num_samples: int) -> None:
        if num_samples < 1:
            raise SettingError(f"num_samples={num_samples}", "1 sample or more")
        self._visits = np.zeros(num_samples, dtype=np.int64)
        self._losses = np.zeros(num_samples, dtype=np.int64)
        self._excess = np.zeros(num_samples, dtype=np.float64)
        self._batches: list[tuple[np.ndarray, Tensor]] = []
        self._epochs = 0

    def take(self, ids: np.ndarray, losses: Tensor) -> None:
        """Note a batch.

        Args:
            ids: int64, (m,), such as `loader.batch_ids`.
            losses: (m,), before weights.
        """
        self._batches.append((ids, losses.detach()))

    def close_epoch(self) -> None:
        """Count what the epoch trained; a loss that is NaN or infinite is a visit and no loss."""
        self._epochs += 1
        if not self._batches:
            return
        ids = np.concatenate([ids for ids, _ in self._batches])
        losses = torch.cat([losses for _, losses in self._batches]).double().cpu().numpy()
        self._batches.clear()
        size, finite = len(self._visits), np.isfinite(losses)
        self._visits += np.bincount(ids, minlength=size)
        if finite.any():
            ids, losses = ids[finite], losses[finite]
            self._losses += np.bincount(ids, minlength=size)
            self._excess += np.bincount(ids, weights=losses - losses.mean(), minlength=size)

    @property
    def visits(self) -> Visits:
        """How often each sample was trained in the epochs that are closed."""
        return Visits(counts=torch.from_numpy(self._visits.copy()), epochs=self._epochs)

    @property
    def excess(self) -> Tensor:
        """The excess of each sample, float32 (n,); NaN for one without a loss."""
        with np.errstate(invalid="ignore"):
            return torch.from_numpy((self._excess / self._losses).astype(np.float32))

    def suspects(self) -> Tensor:
        """Return all ids, int64 (n,), the most suspected first; without a loss last; ties by id."""
        return torch.from_numpy(by_excess(self.excess.numpy()))


def by_excess(excess: np.ndarray) -> np.ndarray:
    """Return all ids in the order of suspicion.

    Example:
        >>> by_excess(np.array([0.5, np.nan, 2.0])).tolist()
        [2, 0, 1]
    """
    known = np.asarray(excess, dtype=np.float32)
    return np.argsort(np.where(np.isnan(known), np.inf, -known), kind="stable")
