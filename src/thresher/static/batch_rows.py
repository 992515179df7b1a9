"""What a model says about the samples of one batch, each number when it is asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thresher.errors import SettingError
from thresher.scores import logit_grad_norm
from thresher.static.collected import Collected
from thresher.static.full_gradients import Forward, gradient_norms, losses
from thresher.static.perturbation import squared_perturbation

FIELDS = ("labels", "features", "probabilities")
OF_BATCHES = ("loss", "el2n", "grand", "deepfool")
"""Scores that are taken from logits or gradients, not from probabilities."""


@final
class Rows:
    """A batch's rows of the columns of `Collected`, on the CPU.

    Args:
        model: in eval mode.
        fn: from it and a batch to logits and targets.
        batch: as the loader gives it.
        seen: holds the head's input and output after the forward pass; see `inputs_of`.

    Raises:
        SettingError: the targets are not classes.
    """

    def __init__(self, model: nn.Module, fn: Forward, batch: Any, seen: list[Tensor]) -> None:
        seen.clear()
        self._model, self._fn, self._batch = model, fn, batch
        self._logits, self._targets = fn(model, batch)
        # A layer whose output has another shape than the logits is not the last one.
        is_head = bool(seen) and seen[1].shape == self._logits.shape
        self._inputs = seen[0] if is_head else None
        if self._targets is not None and self._targets.is_floating_point():
            raise SettingError(
                f"Targets of type {self._targets.dtype}",
                "class numbers, of an integer type",
                "Let fn return the classes, such as targets.argmax(1)",
            )

    def __len__(self) -> int:
        return len(self._logits)

    @property
    def num_classes(self) -> int:
        """The number of logits a sample, or a token, has."""
        return self._logits.shape[-1]

    def take(self, name: str) -> Tensor | None:
        """Return a field or a score, or None if these logits and targets do not have it."""
        if name not in OF_BATCHES:
            fields = self._fields
            if name in FIELDS:
                return None if fields is None else getattr(fields, name)
            return None if fields is None or not fields.has(name) else fields.signal(name)
        if self._targets is None and name != "deepfool":
            return None
        return self._of_batch(name).float().cpu()

    @cached_property
    def _fields(self) -> Collected | None:
        if self._logits.ndim != 2:
            return None
        labels, inputs = self._targets, self._inputs
        return Collected(
            labels=None if labels is None else labels.long().cpu(),
            num_classes=self.num_classes,
            features=None if inputs is None else inputs.flatten(1).float().cpu(),
            probabilities=self._logits.float().softmax(1).cpu(),
        )

    def _of_batch(self, name: str) -> Tensor:
        if name == "deepfool":
            return self._perturbation()
        assert self._targets is not None
        if name == "loss":
            return losses(self._logits, self._targets)
        if name == "el2n":
            return logit_grad_norm(self._logits, self._targets)
        return gradient_norms(self._model, self._fn, self._batch)

    def _perturbation(self) -> Tensor:
        """Move the batch's first tensor of floating-point numbers."""
        leaves, form = pytree.tree_flatten(self._batch)
        floating = (
            place
            for place, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor) and leaf.is_floating_point()
        )
        moved = next(floating, None)
        if moved is None or self._logits.ndim != 2:
            raise SettingError(
                f"A batch of {type(self._batch).__name__} and logits {tuple(self._logits.shape)}",
                "a tensor of floating-point inputs to perturb, and logits of shape (B, c)",
                "DeepFool moves inputs: it cannot be had of token ids",
            )

        def logits(inputs: Tensor, places: Tensor) -> Tensor:
            own = [leaf[places] if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            own[moved] = inputs
            return self._fn(self._model, pytree.tree_unflatten(own, form))[0]

        return squared_perturbation(logits, leaves[moved])
