"""Every method of the library, found without registering, and a small grid of its settings."""

from __future__ import annotations

import inspect
import types
from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import thresher.methods
from thresher.errors import SettingError
from thresher.methods import Method
from thresher.windows import Importance, WindowRule

INSTEAD_OF_NONE: dict[object, tuple[object, ...]] = {
    int | None: (5,),
    WindowRule | None: (Importance(),),
}


def method_classes() -> list[type[Method]]:
    """The concrete methods that `thresher.methods` exports."""
    exported = (getattr(thresher.methods, name) for name in thresher.methods.__all__)
    return [
        kind
        for kind in exported
        if isinstance(kind, type) and issubclass(kind, Method) and not inspect.isabstract(kind)
    ]


def variants(kind: type[Method]) -> list[Method]:
    """The method as it comes, and with each choice, switch and ratio changed, one at a time."""
    hints, found = get_type_hints(kind), [kind()]
    for field in fields(kind):
        options: tuple[object, ...] = ()
        hint = hints[field.name]
        if field.name == "prune_ratio":
            options = (0.3, 0.7)
        elif get_origin(hint) is Literal:
            options = get_args(hint)
        elif hint is bool:
            options = (False, True)
        elif isinstance(hint, types.UnionType) and types.NoneType in get_args(hint):
            options = (None, *INSTEAD_OF_NONE.get(hint, ()))
        elif field.name == "score":
            options = ("logit_grad_norm",)
        changed = (kind(**{field.name: option}) for option in options)
        found += [method for method in changed if method not in found]
    return found


def extremes(kind: type[Method]) -> list[Method]:
    """The method with each of its numbers at the ends of what it accepts, one at a time."""
    hints, found = get_type_hints(kind), list[Method]()
    for field in fields(kind):
        if hints[field.name] not in (float, float | None):
            continue
        for value in (0.0, 1e-9, 1 - 1e-9, 1.0):
            try:
                changed = kind(**{field.name: value})
            except SettingError:
                continue
            if changed not in found:
                found.append(changed)
    return found


def short(method: Method) -> str:
    """Its name and what is not as it comes."""
    default = type(method)()
    changed = [
        f"{field.name}={getattr(method, field.name)!r}"
        for field in fields(method)
        if getattr(method, field.name) != getattr(default, field.name)
    ]
    return f"{type(method).__name__}({', '.join(changed)})"


CLASSES = method_classes()
METHODS = [method for kind in CLASSES for method in variants(kind)]
EXTREMES = [method for kind in CLASSES for method in extremes(kind)]
