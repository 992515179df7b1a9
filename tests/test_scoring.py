"""A scoring forward leaves no trace: of buffers, flags, random streams or a graph."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small_runs import differences
from thresher.scores import scoring


def network() -> nn.Module:
    """With everything that a forward pass may move, and one part that is frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(3, 4),
            nn.BatchNorm1d(4),
            nn.Dropout(0.5),
            nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)),
            nn.Linear(4, 2),
        )
    model[3][0].eval()  # type: ignore[index]
    return model


BATCH = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)) * 3 + 5


def snapshot(model: nn.Module) -> dict[str, Any]:
    algorithm, keys, *rest = np.random.get_state()  # noqa: NPY002 - looking at it is the purpose
    return {
        "state": copy.deepcopy(dict(model.state_dict())),
        "flags": [module.training for module in model.modules()],
        "gradients": [p.grad is None for p in model.parameters()],
        "torch": torch.get_rng_state(),
        "numpy": [str(algorithm), keys.tolist(), [float(number) for number in rest]],
        "random": list(random.getstate()[1]),
        "grad mode": torch.is_grad_enabled(),
    }


def moves_everything(model: nn.Module, batch: Tensor) -> Tensor:
    """What a careless score function does to global streams."""
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    return model(batch).square().sum(1)


def breaks(model: nn.Module, batch: Tensor) -> Tensor:
    moves_everything(model, batch)
    raise RuntimeError("broken")


def test_it_scores_in_evaluation_mode() -> None:
    model = network()
    reference = copy.deepcopy(model).eval()
    assert torch.equal(
        scoring(model, lambda m, x: m(x)[:, 0])(BATCH),  # type: ignore[arg-type, return-value]
        reference(BATCH)[:, 0].detach(),
    )


@pytest.mark.parametrize("fn", [moves_everything, breaks])
@pytest.mark.parametrize("mode", ["mixed", "training", "evaluation"])
def test_nothing_moves_also_after_an_exception(fn: Callable[..., Tensor], mode: str) -> None:
    model = network()
    if mode != "mixed":
        model.train(mode == "training")
    before = snapshot(model)
    score = scoring(model, fn)
    if fn is breaks:
        with pytest.raises(RuntimeError, match="broken"):
            score(BATCH)
    else:
        score(BATCH)
    assert not differences(snapshot(model), before)
    moves_everything(model, BATCH)
    assert differences(snapshot(model), before), "nothing here can move, so this says nothing"


def test_a_module_that_overrides_train_is_not_called() -> None:
    class Merging(nn.Linear):
        calls = 0

        def train(self, mode: bool = True) -> Merging:
            self.calls += 1
            return super().train(mode)

    model = nn.Sequential(Merging(3, 2))
    scoring(model, lambda m, x: m(x).sum(1))(BATCH)
    assert model[0].calls == 0
    assert model[0].training


@pytest.mark.parametrize("as_mapping", [False, True])
def test_scores_have_no_graph(as_mapping: bool) -> None:
    model = network()
    kept = model(BATCH).sum(1)

    def fn(model: nn.Module, batch: Tensor) -> Any:
        with torch.enable_grad():
            losses = model(batch).sum(1)
        return {"loss": losses, "other": kept} if as_mapping else losses

    scores = scoring(model, fn)(BATCH)
    values = scores.values() if as_mapping else [scores]  # type: ignore[union-attr]
    assert not any(value.requires_grad for value in values)
    assert kept.requires_grad


def test_a_deep_copy_scores_with_the_copied_model() -> None:
    model = network()
    score = scoring(model, lambda m, x: m(x).sum(1))
    other_model, other = copy.deepcopy((model, score))
    before = other(BATCH)
    with torch.no_grad():
        model[4].bias += 1  # type: ignore[index, operator]
    assert torch.equal(other(BATCH), before)  # type: ignore[arg-type]
    with torch.no_grad():
        other_model[4].bias += 1  # type: ignore[index, operator]
    assert not torch.equal(other(BATCH), before)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchanged_global_rng")
def test_the_global_streams_are_those_of_before() -> None:
    scoring(network(), moves_everything)(BATCH)
