"""Every static method of the library, found without registering, and data to choose from."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import torch

from thresher import static
from thresher.static import Collected, ScoreMethod, StaticMethod

CLASSES_OF_DATA = 3


def method_classes() -> list[type[StaticMethod]]:
    """The concrete methods that `thresher.static` exports."""
    exported = (getattr(static, name) for name in static.__all__)
    return [
        kind
        for kind in exported
        if inspect.isclass(kind) and issubclass(kind, StaticMethod) and not inspect.isabstract(kind)
    ]


def variants(kind: type[StaticMethod]) -> list[StaticMethod]:
    """The method as it comes, and with each choice and switch changed, one at a time."""
    hints, found = get_type_hints(kind), [kind()]
    for field in fields(kind):
        hint = hints[field.name]
        options = get_args(hint) if get_origin(hint) is Literal else ()
        options = (False, True) if hint is bool else options
        changed = (kind(**{field.name: option}) for option in options)
        found += [method for method in changed if method not in found]
    return found


def made_up(
    size: int, method: StaticMethod | None = None, *, seed: int = 0, features: int = 5
) -> Collected:
    """What a model might say: classes of unequal sizes, signals without ties, held-out samples."""
    generator = torch.Generator().manual_seed(seed)

    def one(size: int) -> Collected:
        labels = torch.randint(CLASSES_OF_DATA + 2, (size,), generator=generator)
        labels = labels.clamp_max(CLASSES_OF_DATA - 1)
        inputs = torch.randn(size, features, generator=generator).relu() + 0.01
        logits = torch.randn(size, CLASSES_OF_DATA, generator=generator) * 2
        data = Collected(
            labels=labels,
            num_classes=CLASSES_OF_DATA,
            features=inputs,
            probabilities=logits.softmax(1),
        )
        names = () if method is None else method.wants()
        missing = [name for name in names if name != "validation" and not data.has(name)]
        return replace(
            data, scores={name: torch.rand(size, generator=generator) for name in missing}
        )

    return replace(one(size), validation=one(max(4, size // 4)))


CLASSES = method_classes()
METHODS = [method for kind in CLASSES for method in variants(kind)]
SCORES = [method for method in METHODS if isinstance(method, ScoreMethod)]


def short(method: StaticMethod) -> str:
    """Its name and what is not as it comes."""
    default = type(method)()
    changed = [
        f"{field.name}={getattr(method, field.name)!r}"
        for field in fields(method)
        if getattr(method, field.name) != getattr(default, field.name)
    ]
    return f"{type(method).__name__}({', '.join(changed)})"
