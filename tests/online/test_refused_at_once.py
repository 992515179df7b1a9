"""What an online run refuses, in its first batch at the latest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from loops import Numbers
from online.runs import Scores, train, wrapped
from thresher import Pruner
from thresher.errors import (
    BatchMismatchError,
    MissingScoreError,
    NotIteratedError,
    SamplerError,
    SettingError,
)
from thresher.online import OrderedTopQ


def test_an_online_method_needs_a_score_fn() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    with pytest.raises(SettingError, match=r"OrderedTopQ got no score_fn.*scoring\(model, fn\)"):
        pruner.wrap(DataLoader(Numbers(9), 3, shuffle=True))


def test_a_loader_without_batches_is_refused() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    with pytest.raises(SamplerError, match=r"batch_size=None.*makes batches"):
        pruner.wrap(DataLoader(Numbers(9), None, shuffle=True), score_fn=Scores())


@pytest.mark.parametrize(
    "settings", [{"always_keep": [1]}, {"min_per_class": 1, "labels": [0] * 9}], ids=str
)
def test_protection_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"with OrderedTopQ; .*plans whole epochs"):
        Pruner(OrderedTopQ(), epochs=3, **settings)


def test_below_the_loop_there_is_nothing_to_choose_from() -> None:
    with pytest.raises(SettingError, match=r"num_samples=9\).*pruner\.wrap"):
        Pruner(OrderedTopQ(), epochs=3, num_samples=9)
    pruner, loader, _ = wrapped(OrderedTopQ())
    with pytest.raises(SettingError, match=r"before it is trained.*loader\.batch_ids"):
        pruner.plan(0)
    train(pruner, loader)
    with pytest.raises(SettingError, match="before it is trained"):
        pruner.plan(1)
    assert pruner._clock is not None
    assert pruner._clock.epoch == 0, "asking closes nothing"
    with pytest.raises(SettingError, match=r"The sampler of an epoch of OrderedTopQ"):
        list(loader.sampler)
    assert len(loader.sampler) == 24


def test_a_subset_cannot_replace_what_is_chosen() -> None:
    pruner, _, _ = wrapped(OrderedTopQ())
    with pytest.raises(SettingError, match="chooses by itself"):
        pruner.replace_subset([1])


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda ids: {"other": ids.float()}, MissingScoreError, "got other from the score_fn.*loss"),
    (lambda ids: None, MissingScoreError, "got a NoneType from the score_fn"),
    (lambda ids: ids.float().mean(), BatchMismatchError, r"'loss' of shape \(\) for 8 samples"),
    (lambda ids: ids[:3].float(), BatchMismatchError, r"shape \(3,\) for 8 samples"),
    (lambda ids: {"loss": [1.0] * 8}, BatchMismatchError, "of list for 8 samples"),
]


@pytest.mark.parametrize(("score_fn", "error", "message"), BAD, ids=range(len(BAD)))
def test_scores_that_do_not_fit_are_refused_in_the_first_batch(
    score_fn: Any, error: type[Exception], message: str
) -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(DataLoader(Numbers(50), 4, shuffle=True), score_fn=score_fn)
    with pytest.raises(error, match=message):
        next(iter(loader))


def test_a_tensor_is_the_one_score_that_is_needed() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(
        DataLoader(Numbers(50), 4, shuffle=True), score_fn=lambda ids: ids.half()
    )
    for batch in loader:
        pruner.reduce(batch.float())


def test_a_reduce_without_a_loop_is_refused() -> None:
    pruner, _, _ = wrapped(OrderedTopQ())
    with pytest.raises(NotIteratedError, match="no batch in hand"):
        pruner.reduce(torch.ones(4))
