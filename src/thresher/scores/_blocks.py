"""Logits are read in blocks, so that no temporary grows with them."""

from collections.abc import Iterator

from torch import Tensor

# Logits are read in blocks of this many elements, so that the one temporary of their kind stays in
# a CPU's cache, and is 64 MB on a GPU, however large batch, sequence and vocabulary are.
_BLOCK_ELEMENTS = {"cpu": 2**18}
_BLOCK_ELEMENTS_ELSEWHERE = 2**24


def block_elements(z: Tensor) -> int:
    """Return how many logits are read at once on the tensor's device."""
    return _BLOCK_ELEMENTS.get(z.device.type, _BLOCK_ELEMENTS_ELSEWHERE)


def blocks(z: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of samples and tokens that cover z, `(B, T, V)`, in blocks of bounded size."""
    num_samples, length, num_classes = z.shape
    num_tokens = max(1, block_elements(z) // num_classes)
    if length <= num_tokens:
        step = num_tokens // max(length, 1)
        for start in range(0, num_samples if length else 0, step):
            yield slice(start, start + step), slice(None)
        return
    for sample in range(num_samples):
        for start in range(0, length, num_tokens):
            yield slice(sample, sample + 1), slice(start, start + num_tokens)
