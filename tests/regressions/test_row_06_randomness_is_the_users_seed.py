"""Published code calls `np.random.seed(epoch)` every epoch.

That restarts the user's own random stream, augmentation included, and gives every run the same
selections, whatever its seed.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from contracts.drive import losses, named, run
from contracts.found import CLASSES
from thresher import Full, Pruner
from thresher.methods import Method

# Some methods would like to look again at what they leave out; nothing here depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:.*wants samples it left out")

SIZE, EPOCHS = 40, 4


def stream(method: Method | None) -> list[tuple[float, float, float]]:
    """What a user's augmentation draws from the global streams, batch by batch."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global stream is the subject
    torch.manual_seed(0)
    table, drawn = losses(SIZE, EPOCHS), list[tuple[float, float, float]]()
    data = TensorDataset(torch.arange(SIZE))
    pruner = None if method is None else Pruner(method, epochs=EPOCHS)
    loader = DataLoader(data, 8, shuffle=False)
    if pruner is not None:
        loader = pruner.wrap(loader)
    for epoch in range(EPOCHS):
        for (ids,) in loader:
            value = np.random.rand()  # noqa: NPY002
            drawn.append((random.random(), value, float(torch.rand(()))))
            if pruner is not None:
                pruner.reduce(table[epoch][ids], scores=named(pruner.method, table[epoch][ids]))
    return drawn


@pytest.fixture(autouse=True)
def restored_streams() -> object:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield None
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def test_a_wrapped_loader_takes_from_the_streams_what_a_plain_one_does() -> None:
    assert stream(Full()) == stream(None)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_users_stream_is_never_restarted(kind: type[Method]) -> None:
    drawn = stream(kind())
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_randomness_is_the_users_seed(kind: type[Method]) -> None:
    table = losses(SIZE, EPOCHS)
    chosen = []
    for seed, others in ((1, 5), (1, 6), (2, 5)):
        np.random.seed(others)  # noqa: NPY002
        torch.manual_seed(others)
        plans = run(kind(), table, seed=seed)[1]
        chosen.append([plan.ids.tolist() for plan in plans])
    assert chosen[0] == chosen[1]
    assert all(ours != theirs for ours, theirs in zip(chosen[0], chosen[2], strict=True))
