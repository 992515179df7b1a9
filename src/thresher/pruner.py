"""Pruner: the one object with state. Method, ledger and clock behind a training loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar, cast, final

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from thresher import batch, checkpoint
from thresher.accounting import Report
from thresher.clock import Clock
from thresher.course import Course, next_epoch, next_position
from thresher.hand import Hand
from thresher.keeping import IdsOf
from thresher.loader import planned
from thresher.methods._method import Method
from thresher.outline import known
from thresher.pacing import PacedScheduler, RateFactors, position_of, warn_if_cancelled
from thresher.plan import Plan
from thresher.planning import Protection
from thresher.replacement import Replacement, require_replaceable
from thresher.scores.scoring import BatchScores
from thresher.settings import Data, Settings
from thresher.starting import refuse_without_data, reported, started
from thresher.streaming import Asked, course_over

_Loader = TypeVar("_Loader", bound=DataLoader[Any])


@final
class Pruner:
    """Chooses what each epoch trains on, and weights its losses.

    Args:
        method: a published rule, such as `RePB(prune_ratio=0.5)`.
        epochs: E, the epochs of the run; a ratio, a warm-up or an annealing refers to them.
        steps: a budget of optimizer steps instead of epochs: loop `while not pruner.finished`.
        seed: keys every draw, with the epoch and the draw's purpose. No global generator is read.
        num_samples: n, for loops without a DataLoader; `wrap` finds it by itself.
        step_exponent: γ, scales each epoch's weights to mean (n/S)^γ; None leaves the method's own.
        max_weight: clips the method's own weights, 1 or more; None clips none.
        accumulation_steps: micro-batches per optimizer step.
        score_dtype: what scores are kept as between epochs; narrower ones: see `thresher.storage`.
        always_keep: ids that every epoch trains on.
        min_per_class: samples of each class that every epoch trains on; wants `labels`.
        labels: the class of each sample, shape (n,).
        shard: let each of W ranks remember a W-th of the samples, and not all of them; ranks plan
            together then, and no score leaves its rank. On one rank it changes nothing.
        log: called as `log(metrics, step)`, on every rank, when an epoch closes.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from thresher import Pruner, RandomPruning
        >>> pruner = Pruner(RandomPruning(prune_ratio=0.5), epochs=3)
        >>> loader = pruner.wrap(DataLoader(TensorDataset(torch.randn(8, 2)), 2, shuffle=True))
        >>> for (x,) in loader:
        ...     loss = pruner.reduce(x.square().sum(1))
        >>> pruner.report().trained
        4
    """

    def __init__(
        self,
        method: Method,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        step_exponent: float | None = None,
        max_weight: float | None = None,
        accumulation_steps: int = 1,
        score_dtype: torch.dtype = torch.float32,
        always_keep: Tensor | Sequence[int] | None = None,
        min_per_class: int = 0,
        labels: Tensor | Sequence[int] | None = None,
        shard: bool = False,
        log: Callable[[dict[str, float], int], None] | None = None,
    ) -> None:
        self.method = method
        self.settings = Settings(
            epochs=epochs,
            steps=steps,
            seed=seed,
            step_exponent=step_exponent,
            max_weight=max_weight,
            accumulation_steps=accumulation_steps,
            score_dtype=str(score_dtype),
            shard=shard,
        )
        self.settings.check(method, num_samples)
        protection = Protection.of(method, always_keep, min_per_class, labels)
        self._has_seen_losses = False
        self._takes_loss = method.needs in ((), ("loss",)) or method.family == "online"
        self._clock: Clock | None = None
        self._course: Course | None = None
        self._factors = RateFactors()
        self._start = partial(started, method, self.settings, protection, log, self._factors.put_on)
        if num_samples is not None:
            self._clock_of(Data(num_samples))

    def _clock_of(self, data: Data) -> Clock:
        if self._clock is None:
            self._clock = self._start(data)
            self._hand = Hand(self._clock)
        self._clock.require_same(data, is_wrapped=self._course is not None)
        return self._clock

    def _running(self) -> Clock:
        return self._clock or refuse_without_data()

    def wrap(
        self,
        loader: _Loader,
        *,
        score_fn: Callable[[Any], BatchScores] | None = None,
        remainder: Literal["pad", "drop"] | None = None,
        ids: IdsOf | None = None,
        steps_per_epoch: int | None = None,
        batch_size: int | None = None,
    ) -> _Loader:
        """Return a copy of the user's DataLoader that passes over one plan per epoch.

        All of the loader's settings stay; the loader itself is untouched. `len` of the result is a
        true number of batches. Of several ranks each trains its part of every global batch.

        Args:
            loader: the user's. A stream is an IterableDataset.
            score_fn: scores a batch by an extra forward, as `thresher.scores.scoring` makes it,
                for online methods and those that refresh scores.
            remainder: of a last batch that ranks cannot share evenly: "pad" it with copies that do
                not count, or "drop" samples; None: as a DistributedSampler was told.
            ids: of a stream, its samples' ids in a batch: a key into it, or what returns them.
            steps_per_epoch: of a stream under an online method, batches of an epoch; None: a pass.
            batch_size: of a stream whose data set makes the batches, samples of a training batch.

        Raises:
            AlreadyWrappedError, IterableDatasetError, SamplerError: the loader cannot be planned.
            SettingError, DatasetChangedError: no `score_fn`, or another length than before.
        """
        asked = Asked(score_fn, remainder, ids, steps_per_epoch, batch_size)
        run = (self.method, self.settings, self._clock, self._clock_of)
        self._course, judge = course_over(loader, *run, asked)
        return cast("_Loader", planned(loader, self._course, self._hand, judge, self))

    def pace(
        self, scheduler: LRScheduler | ReduceLROnPlateau, per: Literal["step", "epoch"] = "step"
    ) -> PacedScheduler:
        """Return a scheduler that keeps the designed curve although pruned epochs are shorter.

        Build `scheduler` for the unpruned number of steps. With `steps=` calls pass through.
        """
        factor, per = self._factors.of(scheduler.optimizer), "epoch" if self.settings.steps else per
        warn_if_cancelled(factor, self.settings.step_exponent)
        return PacedScheduler(
            scheduler, lambda: position_of(self._running(), self._course), per, factor
        )

    def reduce(
        self, losses: Tensor, *, scores: batch.Scores | None = None, ids: batch.Ids | None = None
    ) -> Tensor:
        """Score a batch and return its weighted mean loss, (1/m) Σ w_i ℓ_i, a scalar.

        Args:
            losses: one loss a sample, shape (m,), with its graph; never changed.
            scores: other scores than the loss, shape (m,), or several by name.
            ids: the samples' ids, where the loop knows better which batch this is.

        Raises:
            ScalarLossError, BatchMismatchError, MissingScoreError: the losses or scores do not fit.
            NotIteratedError, ReducedTwiceError, ReadAheadError, StaleBatchError: the batch is not
                certain, or not of a plan that holds.

        Cost: a slice, a multiply and a mean; nothing goes to the host.
        """
        # Tests are made here, and functions called when one fails: a call costs more than a test.
        if not isinstance(losses, Tensor) or losses.dim() != 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            batch.refuse_shape(losses)
        clock, hand = self._clock or self._running(), self._hand
        is_loss = scores is None and self._takes_loss
        values = {"loss": losses} if is_loss else batch.named_scores(self.method, losses, scores)
        found = hand.check() if ids is None else hand.named(batch.as_ids(ids))
        holder, progress, place = found
        if not isinstance(place, slice) or losses.numel() != place.stop - place.start:
            batch.require_length(losses, place)
        if not self._has_seen_losses:
            if not clock.team.are_many:  # one rank must not stop alone
                batch.check_first_losses(losses)
            self._factors.put_on(progress.plan)
            self._has_seen_losses = True
        clock.admit(progress)
        progress.record(place, values)
        hand.take(holder, is_named=ids is not None)
        mean = progress.weighted_mean(place, losses)
        if progress.is_over:
            clock.look_ahead()
        return mean

    def plan(self, epoch: int) -> Plan:
        """Return the plan of the current epoch, or close it and return the next one's.

        Raises:
            EpochError: `epoch` is neither.
            SettingError: the method is an online one, which has no plans.
        """
        known(self._running().current.plan, self.method)
        return known(self._running().open(epoch).plan, self.method)

    def observe(self, ids: batch.Ids, scores: batch.Scores) -> None:
        """Score one micro-batch of the current plan, for loops that weight their losses themselves.

        Of a repeated id the last score wins. Arguments are of shape (m,), scores maybe by name.

        Raises:
            UnplannedIdError, BatchMismatchError, MissingScoreError: ids or scores do not fit.
        """
        clock, hand, first = self._running(), self._hand, batch.first_of(scores)
        values = batch.named_scores(self.method, first, scores)
        holder, progress, place = hand.named(batch.as_ids(ids))
        batch.require_length(first, place)
        clock.admit(progress)
        progress.record(place, values)
        hand.take(holder, is_named=True)
        if progress.is_over:
            clock.look_ahead()

    @property
    def epoch(self) -> int:
        """The epoch to train next: the one in progress, or the coming one if it is done."""
        return 0 if self._clock is None else next_epoch(self._clock, self._course)

    @property
    def position(self) -> int:
        """Samples of `epoch` that were scored already; a resumed loop of its own skips them."""
        return 0 if self._clock is None else next_position(self._clock, self._course)

    @property
    def finished(self) -> bool:
        """Whether the epochs, or the optimizer steps, of the run are spent."""
        steps_done = 0 if self._clock is None else self._clock.steps_done
        return self.settings.are_spent(self.epoch, steps_done)

    def replace_subset(
        self, ids: Tensor | Sequence[int], weights: Tensor | Sequence[float] | None = None
    ) -> None:
        """Train a static method on another subset from the next epoch that is not begun yet.

        Args:
            ids: the samples of the new subset, none twice.
            weights: of their losses, positive, one for each; None means 1.

        Raises:
            SettingError: the method trains on no given subset, or ids or weights do not fit.
        """
        require_replaceable(self.method)
        clock = self._running()
        clock.replace_subset(Replacement.of(ids, weights, clock.budget.num_samples))

    def report(self) -> Report:
        """Return what was trained and saved so far; closes nothing, and asks no other rank.

        In the middle of an epoch they count as if as far as this one, without broken scores.
        """
        return reported(self._clock, self.method, self.settings, is_complete=self.finished)

    def state_dict(self, *, gather: bool = False) -> dict[str, Any]:
        """Return everything a run needs to continue exactly: tensors of fixed shape and scalars.

        On several ranks all states are equal at the end of an epoch. In the middle of one, call
        `state_dict(gather=True)` on every rank: a state without the others' scores is refused.
        With `shard=True` each rank has its own, for a file of its own; gathered, of all samples.
        """
        return checkpoint.packed(self._running(), self.settings, gather=gather)

    def load_state_dict(self, state: dict[str, Any], *, resplit: bool = False) -> None:
        """Continue from a saved state; afterwards loops start at `pruner.epoch`.

        Args:
            state: of any number of ranks, with as many samples in a global batch.
            resplit: let what is left of an epoch be cut anew if they are not as many.

        Raises:
            CheckpointError, DatasetChangedError: it is of another run, or of one rank of several.
        """
        data, saved = checkpoint.opened(state, self.method, self.settings)
        self._clock_of(data).load_state_dict(saved, resplit=resplit)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to `path` atomically: an older file survives whatever goes wrong."""
        checkpoint.save_whole(self.state_dict(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from a file that `save` wrote, read with `weights_only=True`."""
        self.load_state_dict(checkpoint.load_safely(path))
