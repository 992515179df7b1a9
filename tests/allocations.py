"""Which tensors are made while a block runs: what a peak of memory is made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Allocations(TorchDispatchMode):
    """Notes the elements of every new tensor (not of views, nor of results written in place)."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[int] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {
            tensor.untyped_storage().data_ptr()
            for tensor in _tensors([*args, *(kwargs or {}).values()])
        }
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors([result]):
            if tensor.untyped_storage().data_ptr() not in given:
                self.elements.append(tensor.untyped_storage().nbytes() // tensor.itemsize)
        return result

    def as_large_as(self, elements: int) -> int:
        """How many of them have so many elements or more."""
        return sum(each >= elements for each in self.elements)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found = list[Tensor]()
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
