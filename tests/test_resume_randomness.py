"""Resuming moves no generator, the global one nor the user's."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from small_runs import Script, data
from thresher import Pruner, RePB


def test_resuming_leaves_the_global_generator_where_the_script_put_it() -> None:
    script = Script(RePB(rho=0.5))
    next(script.run())
    resumed = Script(RePB(rho=0.5))
    resumed.load(script.state())
    before = torch.get_rng_state()
    for _ in range(2):
        next(iter(resumed.loader))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_of_the_users_is_left_alone_too() -> None:
    def made() -> tuple[Pruner, Any, torch.Generator]:
        generator = torch.Generator().manual_seed(3)
        pruner = Pruner(RePB(rho=0.5), epochs=4)
        plain = DataLoader(data(), 4, shuffle=True, generator=generator)
        return pruner, pruner.wrap(plain), generator

    pruner, loader, _ = made()
    for x, _ in loader:
        pruner.reduce(x.square().sum(1))
        break
    resumed, loader, generator = made()
    resumed.load_state_dict(pruner.state_dict())
    before = generator.get_state()
    next(iter(loader))
    assert torch.equal(generator.get_state(), before)
