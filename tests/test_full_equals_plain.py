"""`Full` trains bit for bit like a plain DataLoader given its plan's order as the sampler."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, Dataset, Sampler

from thresher import Full, Pruner
from thresher.draws import Draws

NUM_SAMPLES, EPOCHS, BATCH_SIZE = 50, 4, 8
SETTINGS: dict[str, dict[str, Any]] = {
    "no workers": {},
    "no workers, drop_last": {"drop_last": True},
    "no workers, own generator": {"generator": 11},
    "2 workers": {"num_workers": 2},
    "2 workers, own generator": {"num_workers": 2, "generator": 11},
    "2 persistent workers": {"num_workers": 2, "persistent_workers": True},
    "2 workers, drop_last": {"num_workers": 2, "drop_last": True},
}
SCHEDULES: dict[str, Callable[[Any, int], LRScheduler]] = {
    "OneCycleLR": lambda optimizer, steps: OneCycleLR(optimizer, 0.2, total_steps=steps),
    "CosineAnnealingLR": CosineAnnealingLR,
}


class Augmented(Dataset[tuple[Tensor, int]]):
    """Every item is changed at random, from each of the global generators that workers seed."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(NUM_SAMPLES, 6, generator=generator)
        self.y = torch.randint(3, (NUM_SAMPLES,), generator=generator).tolist()

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x = self.x[index] + 0.1 * torch.randn(6)
        if random.random() < 0.5:
            x = x.flip(0)
        return x * float(np.random.uniform(0.9, 1.1)), self.y[index]  # noqa: NPY002 - as users do


class Order(Sampler[int]):
    """The full permutation of each epoch, which plans are filtered from."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = -1

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(Draws(7, self.epoch).permutation(NUM_SAMPLES, "order").tolist())

    def __len__(self) -> int:
        return NUM_SAMPLES


def seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - looking at the global streams is the purpose
    random.seed(seed)


def trained(
    settings: dict[str, Any],
    schedule: str,
    *,
    is_pruned: bool,
    seed: int = 1,
    accumulation: int = 1,
) -> dict[str, Any]:
    """A training script, with and without Thresher; return all that it leaves behind."""
    seed_everything(seed)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    settings = dict(settings)
    generator = None
    if "generator" in settings:
        generator = settings["generator"] = torch.Generator().manual_seed(settings["generator"])
    order = {"shuffle": True} if is_pruned else {"sampler": Order()}
    loader: Any = DataLoader(Augmented(), BATCH_SIZE, **order, **settings)
    steps = -(-len(loader) // accumulation) * EPOCHS
    scheduler: Any = SCHEDULES[schedule](optimizer, steps)
    pruner = Pruner(Full(), epochs=EPOCHS, seed=7, accumulation_steps=accumulation)
    if is_pruned:
        loader = pruner.wrap(loader)
        scheduler = pruner.pace(scheduler)
    trail = []
    for _ in range(EPOCHS):
        for k, (x, y) in enumerate(loader):
            losses = F.cross_entropy(model(x), y, reduction="none")
            loss = pruner.reduce(losses) if is_pruned else losses.mean()
            loss.backward()
            if (k + 1) % accumulation == 0 or k + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
            trail.append((loss.item(), x.sum().item(), optimizer.param_groups[0]["lr"]))
    return {
        "trail": trail,
        "weights": [value.clone() for value in model.state_dict().values()],
        "momentum": [entry["momentum_buffer"] for entry in optimizer.state.values()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
        "random": random.getstate(),
        "generator": None if generator is None else generator.get_state(),
    }


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What of two runs is not equal to the bit."""

    def is_same(a: Any, b: Any) -> bool:
        if isinstance(a, list) and isinstance(a[0], Tensor):
            return len(a) == len(b) and all(map(torch.equal, a, b))
        return bool(np.array_equal(a, b)) if isinstance(a, Tensor | np.ndarray) else a == b

    assert one.keys() == other.keys()
    return [name for name in one if not is_same(one[name], other[name])]


@pytest.fixture(autouse=True)
def _restored_global_rng() -> Iterator[None]:
    streams = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    random.setstate(streams[0])
    np.random.set_state(streams[1])  # noqa: NPY002
    torch.set_rng_state(streams[2])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_full_leaves_what_a_plain_loop_leaves_to_the_bit(settings: dict[str, Any]) -> None:
    plain = trained(settings, "OneCycleLR", is_pruned=False)
    assert not differing(trained(settings, "OneCycleLR", is_pruned=True), plain)
    assert len({rate for *_, rate in plain["trail"]}) > 10


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_paced_schedule_is_the_plain_one(schedule: str, accumulation: int) -> None:
    plain, pruned = (
        trained({}, schedule, is_pruned=is_pruned, accumulation=accumulation)
        for is_pruned in (False, True)
    )
    assert not differing(pruned, plain)


@pytest.mark.parametrize("settings", [{}, {"num_workers": 2}], ids=["no workers", "2 workers"])
def test_the_comparison_sees_another_seed(settings: dict[str, Any]) -> None:
    plain = trained(settings, "OneCycleLR", is_pruned=False)
    other = trained(settings, "OneCycleLR", is_pruned=True, seed=2)
    assert set(differing(other, plain)) >= {"trail", "weights", "momentum", "torch", "random"}


def test_the_order_of_full_is_the_permutation_of_the_epoch() -> None:
    pruner = Pruner(Full(), epochs=EPOCHS, seed=7, num_samples=NUM_SAMPLES)
    order = Order()
    for epoch in range(EPOCHS):
        plan = pruner.plan(epoch)
        assert plan.ids.tolist() == list(order)
        assert plan.is_unweighted
        pruner.observe(plan.ids, torch.zeros(NUM_SAMPLES))
