"""DeepCore's GLISTER misspells `update_state`; `**kwargs` swallows it, and nothing is updated.

So the gradient of the held-out loss stays what it was before the first addition, and the greedy
rule is the k largest of one look.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from static.dense import gradients
from static.found import made_up
from thresher.errors import SettingError
from thresher.static import GLISTER, Collected

SIZE, ETA = 30, 0.4


def held_out_gradient(data: Collected, step: Tensor) -> Tensor:
    """∇L_V of the last layer after a step, by autograd from logits: float64, shape (c·(d + 1),)."""
    held_out = data.validation
    assert held_out is not None
    assert held_out.features is not None
    assert held_out.probabilities is not None
    assert held_out.labels is not None
    ones = torch.ones(held_out.num_samples, 1, dtype=torch.float64)
    inputs = torch.cat([held_out.features.double(), ones], dim=1)
    # The layer's own part of the logits is in the probabilities; this is what moves it.
    moved = (-step).view(held_out.num_classes, -1).clone().requires_grad_()
    logits = held_out.probabilities.double().log() + inputs @ moved.T
    loss = F.cross_entropy(logits, held_out.labels)
    return torch.autograd.grad(loss, moved)[0].flatten()


def literal(data: Collected, count: int, *, refreshed: bool) -> list[int]:
    """One at a time, argmax ⟨g_i, ∇L_V(θ − η Σ_S g)⟩; not refreshed, ∇L_V(θ) each time."""
    rows, chosen = gradients(data), list[int]()
    for _ in range(count):
        step = ETA * rows[chosen].sum(0) * refreshed
        gains = rows @ held_out_gradient(data, step)
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
    return chosen


def chosen(data: Collected, count: int, **settings: object) -> list[int]:
    method = GLISTER(eta=ETA, **settings)  # type: ignore[arg-type]
    return method.select(data, prune_ratio=1 - count / SIZE)[0].tolist()


def test_the_fault_shows() -> None:
    data = made_up(SIZE)
    one_look = literal(data, 12, refreshed=False)
    gains = gradients(data) @ held_out_gradient(data, torch.zeros(18, dtype=torch.float64))
    assert one_look == gains.argsort(descending=True)[:12].tolist()
    assert set(one_look) != set(literal(data, 12, refreshed=True))


@pytest.mark.parametrize("seed", range(4))
def test_glister_looks_at_the_held_out_gradient_after_each_addition(seed: int) -> None:
    data = made_up(SIZE, seed=seed)
    assert chosen(data, 12, greedy="naive") == literal(data, 12, refreshed=True)


def test_rounds_refresh_as_often_as_there_are_rounds() -> None:
    """As many rounds as samples are the naive rule, one round is one look."""
    data = made_up(SIZE)
    assert chosen(data, 12, rounds=12) == literal(data, 12, refreshed=True)
    assert chosen(data, 12, rounds=1) == literal(data, 12, refreshed=False)


def test_the_step_lowers_the_held_out_loss_more_than_that_of_one_look() -> None:
    """What the refreshing is for, on data where many samples pull the same way."""
    data = made_up(SIZE, seed=1)
    same = torch.arange(SIZE) // 3 * 3  # every sample three times
    assert data.labels is not None
    assert data.features is not None
    assert data.probabilities is not None
    data = replace(
        data,
        labels=data.labels[same],
        features=data.features[same],
        probabilities=data.probabilities[same],
    )
    losses = [
        held_out_loss(data, ids)
        for ids in (chosen(data, 9, greedy="naive"), literal(data, 9, refreshed=False))
    ]
    assert losses[0] < losses[1]


def held_out_loss(data: Collected, ids: list[int]) -> float:
    held_out = data.validation
    assert held_out is not None
    assert held_out.features is not None
    assert held_out.probabilities is not None
    assert held_out.labels is not None
    step = (ETA * gradients(data)[ids].sum(0)).view(held_out.num_classes, -1)
    logits = held_out.probabilities.double().log()
    logits -= held_out.features.double() @ step[:, :-1].T + step[:, -1]
    return float(F.cross_entropy(logits, held_out.labels))


def test_a_misspelt_setting_is_refused_by_python() -> None:
    """No method takes keywords that it does not know."""
    with pytest.raises(TypeError, match="upadate_state"):
        GLISTER(upadate_state=True)  # type: ignore[call-arg]
    with pytest.raises(SettingError, match="greedy"):
        GLISTER(greedy="lazy")  # type: ignore[arg-type]
