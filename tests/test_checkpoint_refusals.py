"""States that are refused when they are loaded: of another run, data set, order or format."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from partly_trained import built, trained
from small_runs import Script, data, differences
from thresher import InfoBatch, Method, OrderDP, Pruner, RandomPruning, RePB
from thresher.errors import CheckpointError, DatasetChangedError, SettingError, ThresherError


def test_a_state_of_another_method_is_refused() -> None:
    state = trained(built(InfoBatch())).state_dict()
    with pytest.raises(CheckpointError, match=r"is of InfoBatch\(.*expected: OrderDP\("):
        built(OrderDP()).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"is of InfoBatch\(.*r=0\.5.*expected.*r=0\.25"):
        built(InfoBatch(r=0.25)).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed=0; expected: seed=1"),
        ({"epochs": 9}, "epochs=5; expected: epochs=9"),
        ({"accumulation_steps": 2}, "accumulation_steps=1; expected: accumulation_steps=2"),
        ({"step_exponent": 0.5}, "step_exponent=None; expected: step_exponent=0.5"),
        ({"seed": 3, "epochs": 7}, "epochs=5, seed=0; expected: epochs=7, seed=3"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_state_of_a_run_with_other_settings_is_refused_by_their_names(
    change: dict[str, Any], message: str
) -> None:
    state = trained(built()).state_dict()
    with pytest.raises(CheckpointError, match=message):
        built(**change).load_state_dict(state)


def test_a_state_of_a_data_set_of_another_length_is_refused() -> None:
    state = trained(built()).state_dict()
    with pytest.raises(DatasetChangedError, match=r"20 samples; expected: 21"):
        built(num_samples=21).load_state_dict(state)
    pruner = Pruner(InfoBatch(), epochs=5)
    pruner.load_state_dict(state)
    with pytest.raises(DatasetChangedError, match=r"22 samples; expected: 20"):
        pruner.wrap(DataLoader(data(22), 4, shuffle=True))


@pytest.mark.parametrize("order", ["load after wrap", "wrap after load"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_state_of_a_loader_in_another_order_is_refused(order: str, shuffle: bool) -> None:
    saved = Script(RePB(rho=0.5), shuffle=not shuffle)
    next(saved.run())
    pruner = Pruner(RePB(rho=0.5), epochs=5)
    plain = DataLoader(data(), 4, shuffle=shuffle)
    if order == "load after wrap":
        loader = pruner.wrap(plain)
        with pytest.raises(SettingError, match=f"shuffle={shuffle}, and now shuffle={not shuffle}"):
            pruner.load_state_dict(saved.pruner.state_dict())
        assert pruner.epoch == 0
        assert sum(len(x) for x, _ in loader_without_warning(loader)) == 22
    else:
        pruner.load_state_dict(saved.pruner.state_dict())
        loader = pruner.wrap(plain)
        with pytest.raises(CheckpointError, match="loader order"):
            iter(loader)


def loader_without_warning(loader: Any) -> list[Any]:
    batches = iter(loader)
    return [next(batches) for _ in range(len(loader))]


def test_a_state_of_another_format_is_refused() -> None:
    state = trained(built()).state_dict()
    with pytest.raises(CheckpointError, match="format 99; expected: format 2"):
        built().load_state_dict({**state, "format": 99})
    with pytest.raises(CheckpointError, match="format None; expected: format 2"):
        built().load_state_dict({"model": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"lacks settings, clock.*Save all"):
        built().load_state_dict({k: v for k, v in state.items() if k not in ("settings", "clock")})


@pytest.mark.parametrize("change", [{"always_keep": range(12)}, {"always_keep": [0]}])
def test_a_plan_that_cannot_be_derived_again_is_refused_as_often_as_it_is_asked_for(
    change: dict[str, Any],
) -> None:
    saved = trained(built(RandomPruning(prune_ratio=0.8)), 3)
    kept = saved.plan(saved.epoch).ids.tolist()
    if 0 in kept:  # then keeping it changes no id, only a weight
        assert change == {"always_keep": [0]} or not set(range(12)) <= set(kept)
    pruner = built(RandomPruning(prune_ratio=0.8), **change)
    pruner.load_state_dict(saved.state_dict())
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"cannot be derived again.*protected samples"):
            pruner.plan(saved.epoch)
    with pytest.raises(CheckpointError, match="cannot be derived again"):
        pruner.state_dict()


@pytest.mark.parametrize("method", [InfoBatch(), RePB(rho=0.5)], ids=lambda m: type(m).__name__)
def test_a_refused_state_leaves_the_pruner_as_it_was(method: Method) -> None:
    state = trained(built(method, seed=1)).state_dict()
    pruner = trained(built(method), 2)
    before = pruner.state_dict()
    with pytest.raises(ThresherError):
        pruner.load_state_dict(state)
    assert not differences(pruner.state_dict(), before)
    assert pruner.plan(pruner.epoch).epoch == pruner.epoch
