"""What a task asks of a model: a loss and scores for each sample, and a metric of a test split."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thresher.bench.metrics import ACCURACY, BITS, Metric
from thresher.scores import logit_grad_norm, named

Batches = Iterable[tuple[Tensor, Tensor]]
"""Inputs and targets."""


class Objective(Protocol):
    """From a model's outputs and a batch's targets to a loss and to scores, (B,) each."""

    metric: ClassVar[Metric]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each sample, with its graph."""
        ...

    def scores(
        self, needs: Iterable[str], outputs: Tensor, targets: Tensor, losses: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the scores of these names; "loss" is taken from `losses` where they are given."""
        ...

    def evaluate(self, model: nn.Module, batches: Batches, device: str) -> float:
        """Return the metric of a model in evaluation mode, which this puts it into."""
        ...


@final
class Classification:
    """One class a sample: cross entropy, and the percentage of test samples labelled right."""

    metric: ClassVar[Metric] = ACCURACY

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of logits, (B, C), and classes, (B,)."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def scores(
        self, needs: Iterable[str], outputs: Tensor, targets: Tensor, losses: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return scores of `thresher.scores` by name."""
        return named(needs, outputs, targets, losses)

    def evaluate(self, model: nn.Module, batches: Batches, device: str) -> float:
        """Return the accuracy in percent."""
        model.eval()
        right = total = 0
        with torch.inference_mode():
            for inputs, targets in batches:
                guesses = model(inputs.to(device)).argmax(dim=1)
                right += int((guesses == targets.to(device)).sum())
                total += len(targets)
        return 100 * right / total


@final
class NextCharacters:
    """A class at every place of a sample: its loss is the mean over them; the metric is in bits."""

    metric: ClassVar[Metric] = BITS

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over places of logits, (B, T, V), and classes, (B, T)."""
        losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
        return losses.view(targets.shape).mean(1)

    def scores(
        self, needs: Iterable[str], outputs: Tensor, targets: Tensor, losses: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ‖∂ℓ/∂z‖ of the whole sample, and of any other score the mean over places."""
        found: dict[str, Tensor] = {}
        for name in needs:
            if name == "loss" and losses is not None:
                found[name] = losses.detach()
            elif name in ("logit_grad_norm", "el2n"):
                found[name] = logit_grad_norm(outputs, targets)
            else:
                flat = named((name,), outputs.flatten(0, 1), targets.flatten())[name]
                found[name] = flat.view(targets.shape).mean(1)
        return found

    def evaluate(self, model: nn.Module, batches: Batches, device: str) -> float:
        """Return the mean loss of a character in bits."""
        model.eval()
        total, count = 0.0, 0
        with torch.inference_mode():
            for inputs, targets in batches:
                losses = self.losses(model(inputs.to(device)), targets.to(device))
                total += float(losses.double().sum())
                count += len(targets)
        return total / count / math.log(2)


CLASSES, NEXT_CHARACTERS = Classification(), NextCharacters()
"""The objectives that there are."""
