"""What a loop hands over for one batch, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeGuard

import numpy as np
import torch
from torch import Tensor

from thresher.errors import (
    AllLossesNaNError,
    BatchMismatchError,
    MissingScoreError,
    ScalarLossError,
    SettingError,
)
from thresher.methods._method import Method
from thresher.steps import Place

_INT64 = np.dtype(np.int64)

Ids = Tensor | np.ndarray | Sequence[int]
"""What a loop may name its samples by."""

Scores = Tensor | Mapping[str, Tensor]
"""One score a sample, or several by name."""


def is_vector(losses: object) -> TypeGuard[Tensor]:
    """Return whether losses are one number a sample."""
    return isinstance(losses, Tensor) and losses.dim() == 1


def first_of(scores: Scores) -> Tensor:
    """Return the scores, or the first of several, if they are one number a sample."""
    first = scores if isinstance(scores, Tensor) else next(iter(scores.values()), None)
    return first if is_vector(first) else refuse_shape(first)


def refuse_shape(losses: object) -> NoReturn:
    """Say what to do about losses that are not one number a sample."""
    if isinstance(losses, Tensor) and losses.dim() > 1:
        raise ScalarLossError(
            f"The losses have shape {tuple(losses.shape)}",
            f"one loss a sample, shape ({losses.shape[0]},)",
            "Average within each sample first: thresher.scores.per_sample(losses, mask)",
        )
    came = "a scalar" if isinstance(losses, Tensor) else f"of type {type(losses).__name__}"
    raise ScalarLossError(
        f"The loss is {came}",
        "one loss a sample, a tensor of shape (batch,)",
        "Build the criterion with reduction='none'",
    )


def require_length(losses: Tensor, place: Place) -> None:
    """Refuse losses that are not one for each sample of the batch."""
    size = place.stop - place.start if isinstance(place, slice) else len(place)
    if losses.numel() != size:
        raise BatchMismatchError(
            f"{losses.numel()} losses came for a batch of {size} samples",
            "one loss a sample",
            "A collate function or model that drops or multiplies samples hides whose loss it is: "
            "give the ids of those that remain, pruner.reduce(losses, ids=ids)",
        )


def named_scores(method: Method, losses: Tensor, scores: Scores | None) -> Mapping[str, Tensor]:
    """Return the scores that a method needs, by name; the loss is one if nothing else is given.

    Raises:
        MissingScoreError, BatchMismatchError: one is missing, or not one number a sample.
    """
    needs, shape = method.needs, losses.shape
    # To ask whether a dict is a Tensor takes as long as the rest.
    if scores is None or isinstance(scores, dict):
        named: Mapping[str, Tensor] = {"loss": losses} if scores is None else scores
    elif not isinstance(scores, Tensor):
        named = scores
    elif len(needs) == 1 and scores.shape == shape:
        return {needs[0]: scores}
    else:
        named = dict.fromkeys(needs[:1], scores)
    for name in needs:
        if name not in named or named[name].shape != shape:
            return _refuse_scores(method, losses, named)
    return named


def _refuse_scores(method: Method, losses: Tensor, named: Mapping[str, Tensor]) -> NoReturn:
    """Say which scores are missing, or not one number a sample."""
    needs = method.needs
    missing = [name for name in needs if name not in named]
    if missing:
        call = ", ".join(f"'{name}': ..." for name in needs)
        if needs == ("logit_grad_norm",):
            call = "'logit_grad_norm': thresher.scores.logit_grad_norm(logits, targets)"
        raise MissingScoreError(
            f"{type(method).__name__} did not get {' and '.join(missing)}",
            f"scores named {', '.join(needs)}",
            f"Write pruner.reduce(losses, scores={{{call}}})",
        )
    name = next(name for name in needs if named[name].shape != losses.shape)
    raise BatchMismatchError(
        f"Scores '{name}' of shape {tuple(named[name].shape)} beside losses of shape "
        f"{tuple(losses.shape)}",
        "one score a sample",
        "Average within each sample first, and keep the order of the batch",
    )


def as_ids(ids: Ids) -> np.ndarray:
    """Return ids as int64 on the host, shape (m,). Ids on an accelerator cost a synchronisation."""
    if type(ids) is np.ndarray and ids.dtype is _INT64 and ids.ndim == 1:
        return ids
    array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.dtype == np.int64 and array.ndim == 1:
        return array
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise SettingError(
            f"ids of shape {array.shape} and dtype {array.dtype}",
            "whole numbers, shape (batch,)",
            "Ids are the samples' positions in the data set",
        )
    return array.astype(np.int64)


def check_first_losses(losses: Tensor) -> None:
    """Refuse a first batch of NaN; on an accelerator the epoch's close tells instead."""
    if losses.device.type == "cpu" and losses.numel() and bool(torch.isnan(losses.detach()).all()):
        raise AllLossesNaNError(
            f"All {losses.numel()} losses of the first batch are NaN",
            "finite losses",
            "Check the inputs, the targets and the initial weights",
        )
