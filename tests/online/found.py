"""Every online method, found without registering, and candidates to show it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

import thresher.online
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.online import (
    Candidates,
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)

CLASSES: list[type[OnlineMethod]] = [
    kind
    for kind in vars(thresher.online).values()
    if isinstance(kind, type) and issubclass(kind, OnlineMethod) and not inspect.isabstract(kind)
]


def variants(kind: type[OnlineMethod]) -> list[OnlineMethod]:
    """The method as it comes, and with each setting changed, one at a time."""
    hints, found = get_type_hints(kind), [kind()]
    for field in fields(kind):
        hint, options = hints[field.name], ()
        if get_origin(hint) is Literal:
            options = get_args(hint)
        elif field.name == "prune_ratio":
            options = (0.3, 0.7)
        elif field.name == "candidates":
            options = (3.0,)
        elif field.name in ("delta", "warmup_epochs"):
            options = ()
        elif hint is int:
            options = (2, 7)
        elif hint is float or isinstance(hint, types.UnionType):
            options = (0.0, 0.25)
        for option in options:
            try:
                method = kind(**{field.name: option})
            except SettingError:
                continue
            found += [method] if method not in found else []
    return found


METHODS = [method for kind in CLASSES for method in variants(kind)]

# One of each class, so set that it chooses in a short run.
FOUR: list[OnlineMethod] = [
    SelectiveBackprop(),
    ImportanceSampling(tau_th=1.05, decay=0.5),
    ExtraForwardBernoulli(),
    OrderedTopQ(),
]


def short(method: OnlineMethod) -> str:
    """Its name and what is not as it comes."""
    default = type(method)()
    changed = [
        f"{field.name}={getattr(method, field.name)!r}"
        for field in fields(method)
        if getattr(method, field.name) != getattr(default, field.name)
    ]
    return f"{type(method).__name__}({', '.join(changed)})"


def losses(size: int, seed: int = 0) -> Tensor:
    """Scores of candidates, all different: float32, (size,)."""
    return torch.empty(size).exponential_(generator=torch.Generator().manual_seed(seed)) + 0.01


def shown(
    method: OnlineMethod,
    scores: Tensor,
    *,
    batch_size: int = 8,
    memory: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    kept: float | None = None,
) -> Candidates:
    """Candidates with these scores, by every name the method needs, if it wants scores."""
    candidates = Candidates(
        size=len(scores),
        batch_size=batch_size,
        kept=method.kept if kept is None else kept,
        scores={},
        memory=method.memory() if memory is None else memory,
        draws=Draws(seed, 0),
    )
    if not method.wants_scores(candidates):
        return candidates
    return replace(candidates, scores=dict.fromkeys(method.needs, scores))


def looking(method: OnlineMethod) -> dict[str, Tensor]:
    """A memory with which the method looks, and draws by what it sees."""
    memory = method.memory()
    return {**memory, "tau": torch.full_like(memory["tau"], 9.0)} if "tau" in memory else memory
