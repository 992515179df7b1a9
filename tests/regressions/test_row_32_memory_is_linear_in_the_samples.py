"""Published coreset code builds matrices of all pairs: 3 GB for 15,000 centres of 50,000 samples.

Here no method makes an array with as many numbers as there are pairs of samples.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from static.found import METHODS, made_up, short
from thresher.static import StaticMethod

SIZE = 8000
# A third of all pairs; a block of similarities may have 2²⁴ numbers (64 MB).
MOST = SIZE * SIZE // 3


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                held = leaf.untyped_storage().nbytes() // leaf.element_size()
                self.numbers = max(self.numbers, held)
        return result


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_no_array_of_all_pairs_is_made(method: StaticMethod) -> None:
    data = made_up(SIZE, method, features=4)
    watch = Largest()
    tracemalloc.start()
    try:
        with watch:
            method.select(data, prune_ratio=0.99)
        # numpy's arrays; what torch holds is not in it.
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert watch.numbers <= MOST
    assert peak <= 4 * MOST


def test_an_array_of_all_pairs_would_be_seen() -> None:
    watch = Largest()
    with watch:
        torch.zeros(SIZE, 1) @ torch.zeros(1, SIZE)
    assert watch.numbers > MOST
