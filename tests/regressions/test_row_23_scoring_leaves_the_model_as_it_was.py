"""Row 23: Composer's Selective Backprop selects in training mode and from numpy's global stream.

Its selection pass moves BatchNorm's statistics a second time and drops units; it takes batches of
two tensors only, and of a small batch it may keep nobody.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from online.found import METHODS, short
from thresher import Pruner
from thresher.online import OnlineMethod, SelectiveBackprop
from thresher.scores import logit_grad_norm, scoring

X = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (24,), generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))


def score(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    logits = model(batch["input"]["x"])
    losses = F.cross_entropy(logits, batch["target"], reduction="none")
    return {"loss": losses, "logit_grad_norm": logit_grad_norm(logits, batch["target"])}


class Nested(list[dict[str, Any]]):
    """Samples that are more than an input and a target."""


DATA = Nested({"input": {"x": X[i]}, "target": int(Y[i]), "name": f"s{i}"} for i in range(24))


def published_selection(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    with torch.no_grad():
        losses = F.cross_entropy(model(x), y, reduction="none").numpy()
    weight = (np.argsort(np.argsort(losses)) + 0.5) / len(losses)
    return np.random.choice(len(losses), len(losses) // 2, replace=False, p=weight / weight.sum())  # noqa: NPY002


def test_the_published_way_moves_statistics_and_global_randomness() -> None:
    model, before = network(), network().state_dict()
    numbers = np.random.get_state()[2]  # noqa: NPY002
    published_selection(model, X, Y)
    assert not torch.equal(model.state_dict()["1.running_mean"], before["1.running_mean"])
    assert np.random.get_state()[2] != numbers  # noqa: NPY002


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_choosing_a_batch_moves_nothing(method: OnlineMethod) -> None:
    model, pruner = network(), Pruner(method, epochs=3)
    own = torch.Generator().manual_seed(0)
    plain: DataLoader[Any] = DataLoader(DATA, 4, shuffle=True, generator=own)  # type: ignore[arg-type]
    loader: Any = pruner.wrap(plain, score_fn=scoring(model, score))
    before = copy.deepcopy(model.state_dict())
    streams = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for _, batch in zip(range(2), loader, strict=False):
        assert batch.keys() == {"input", "target", "name"}
        assert len(batch["name"]) == len(batch["target"]) == len(batch["input"]["x"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert (np.random.get_state()[1] == streams[1]).all()  # noqa: NPY002


def test_a_training_step_sees_the_statistics_of_its_own_batches_only() -> None:
    """BatchNorm after an epoch is what training on the same batches without a look gives."""
    model, pruner = network(), Pruner(SelectiveBackprop(), epochs=3)
    loader: Any = pruner.wrap(
        DataLoader(DATA, 4, shuffle=True),  # type: ignore[arg-type]
        score_fn=scoring(model, score),
    )
    seen = []
    for batch in loader:
        seen.append(batch["input"]["x"])
        pruner.reduce(F.cross_entropy(model(seen[-1]), batch["target"], reduction="none"))
    alone = network()
    for x in seen:
        alone(x)
    assert torch.equal(alone.state_dict()["1.running_var"], model.state_dict()["1.running_var"])
    assert int(model.state_dict()["1.num_batches_tracked"]) == len(seen)


def test_a_small_batch_is_never_empty() -> None:
    pruner = Pruner(SelectiveBackprop(rule="composer", beta=9.0), epochs=3)
    model = network()
    loader: Any = pruner.wrap(
        DataLoader(DATA, 2, shuffle=True),  # type: ignore[arg-type]
        score_fn=scoring(model, score),
    )
    for batch in loader:
        assert len(batch["target"]) == 2
        pruner.reduce(
            F.cross_entropy(model(batch["input"]["x"]), batch["target"], reduction="none")
        )
