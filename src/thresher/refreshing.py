"""A pass over some samples, only to score them; and whether a run can make one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thresher._randomness import unmoved_randomness
from thresher.closing import Refresh
from thresher.errors import SamplerError, SettingError, ThresherWarning
from thresher.grid import Grid
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.parallel.sharing import alone, apart, shared
from thresher.parallel.team import Team
from thresher.tagging import is_bulk, iter_quietly, tagged


@final
class Refresher:
    """Scores samples as the user's loader makes batches of them; no global random stream moves.

    Args:
        loader: the user's loader: its data set, batch size, collate function and workers are used.
        judge: scores a batch.
        batch_size: samples a batch.
    """

    def __init__(self, loader: DataLoader[Any], judge: Judge, batch_size: int) -> None:
        self._loader = loader
        self._judge = judge
        self._batch_size = batch_size

    def __call__(self, ids: Tensor) -> dict[str, Tensor]:
        """Return the scores of `ids`, int64 (k,), by name: float32, (k,)."""
        wanted = ids.numpy()
        different, places = np.unique(wanted, return_inverse=True)
        scores = {
            name: torch.empty(len(different), dtype=torch.float32, device="cpu")
            for name in self._judge.method.needs
        }
        with unmoved_randomness():
            for given, batch in iter_quietly(self._passes_over(wanted)):
                where = torch.from_numpy(np.searchsorted(different, given.ids))
                for name, values in self._judge.scores(batch, len(where)).items():
                    scores[name][where] = values
        return {name: values[torch.from_numpy(places)] for name, values in scores.items()}

    def _passes_over(self, ids: np.ndarray) -> DataLoader[Any]:
        size = self._batch_size
        batches = [IdBatch(ids[start : start + size]) for start in range(0, len(ids), size)]
        requests = batches if is_bulk(self._loader) else ids.tolist()
        return tagged(self._loader, requests, persistent_workers=False)


def refresh_of(
    loader: DataLoader[Any], judge: Judge | None, grid: Grid, team: Team
) -> Refresh | None:
    """Return what scores samples anew, a part on each rank; None where nothing does."""
    if judge is None or not refreshes(judge.method):
        return None
    refresher, exchange = Refresher(loader, judge, grid.batch_size), team.exchange
    if exchange is None:
        return alone(refresher)
    if team.has_shards:
        return apart(refresher, exchange, team.population.shard)
    return shared(refresher, exchange)


def refreshes(method: Method) -> bool:
    """Return whether a method may want samples scored anew."""
    return type(method).refreshed is not Method.refreshed


def judge_of(
    loader: DataLoader[Any],
    method: Method,
    score_fn: Callable[[Any], Any] | None,
    *,
    is_stream: bool = False,
) -> Judge | None:
    """Return what scores the samples of a loader for the method; None if nothing does.

    Of a stream whose data set makes batches the rows can be taken.

    Raises:
        SettingError: an online method got no score_fn.
        SamplerError: an online method got a loader that makes no batches.
    """
    name, call = type(method).__name__, "score_fn=thresher.scores.scoring(model, fn)"
    if isinstance(method, OnlineMethod):
        if score_fn is None:
            raise SettingError(
                f"{name} got no score_fn, and looks at candidates before it trains some",
                f"pruner.wrap(loader, {call})",
                "fn(model, batch) returns one score a sample, shape (batch,): "
                + " and ".join(method.needs),
            )
        if loader.batch_sampler is None and not is_stream:
            raise SamplerError(
                f"{name} got a loader with batch_size=None",
                "a loader that makes batches, DataLoader(..., batch_size=...)",
                "A part of each candidate batch is collated anew",
            )
    elif score_fn is None:
        if refreshes(method):
            cure = "a map-style data set, as a stream cannot be asked for them"
            warnings.warn(
                f"{name} wants samples it left out scored anew when an epoch closes, and goes on "
                f"with the scores it has; expected: "
                + (cure if is_stream else f"pruner.wrap(loader, {call})")
                + ".",
                ThresherWarning,
                stacklevel=5 + is_stream,
            )
        return None
    return Judge(method, score_fn, loader.collate_fn)
