"""Scores of samples that are not being trained, by the user's function, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thresher.errors import BatchMismatchError, MissingScoreError
from thresher.methods._method import Method


class Judge(NamedTuple):
    """What scoring a loader's samples takes.

    Args:
        method: says which scores are needed.
        score_fn: scores a collated batch: a tensor (m,), or several by name.
        collate: the user's collate function.
    """

    method: Method
    score_fn: Callable[[Any], Any]
    collate: Callable[[Any], Any]

    def scores(self, batch: Any, size: int) -> dict[str, Tensor]:
        """Return what the method needs of `size` samples: name -> float32, (size,), on the host.

        Raises:
            MissingScoreError: the function does not give a score that the method needs.
            BatchMismatchError: it does not give one for each sample.
        """
        given, needs = self.score_fn(batch), self.method.needs
        if isinstance(given, Tensor) and len(needs) == 1:
            given = {needs[0]: given}
        names = list(given) if isinstance(given, Mapping) else [f"a {type(given).__name__}"]
        if not isinstance(given, Mapping) or not set(needs) <= set(names):
            raise MissingScoreError(
                f"{type(self.method).__name__} got {', '.join(map(str, names))} from the score_fn",
                f"scores named {', '.join(needs)}",
                "Let the function return a dict with a tensor of shape (batch,) for each name",
            )
        return {name: _checked(name, given[name], size) for name in needs}


def _checked(name: str, score: Any, size: int) -> Tensor:
    if not isinstance(score, Tensor) or score.shape != (size,):
        came = f"shape {tuple(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
        raise BatchMismatchError(
            f"The score_fn gave '{name}' of {came} for {size} samples",
            f"one score a sample, a tensor of shape ({size},)",
            "Build the criterion with reduction='none', and average within each sample first",
        )
    return score.detach().to("cpu", torch.float32)
