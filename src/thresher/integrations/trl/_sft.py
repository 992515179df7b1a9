"""TRL's SFTTrainer, driven by plans: its one sum of log-probabilities is taken sample by sample."""

from __future__ import annotations

import functools
import types
from importlib import import_module
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.integrations.transformers._loader import KEY, LENGTHS, Tag
from thresher.integrations.transformers._trainer import PrunedMixin
from thresher.integrations.transformers._weighing import WeighingMixin
from thresher.pruner import Pruner


@final
class CountedCollate:
    """A collate function beside whose batch goes the number of tokens of each sample."""

    def __init__(self, collate: Any) -> None:
        self._collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, and the lengths under a key of their own."""
        lengths = np.asarray([len(row["input_ids"]) for row in rows], dtype=np.int64)
        return {**self._collate(rows), LENGTHS: lengths}


@final
class WeightedSum:
    """A forward hook that lets the log-probabilities of a batch add up to the weighted loss.

    The trainer negates and sums them, divides by its count of tokens, and does no more with them,
    so it does not matter which of them holds Σ w_i S_i. Its metrics come from other outputs.

    Args:
        pruner: scores and weights the samples.
        tag: of the batch.
        owners: which sample each predicted token is of, int64; None if samples are rows.
    """

    def __init__(self, pruner: Pruner, tag: Tag, owners: np.ndarray | None) -> None:
        self._pruner = pruner
        self._tag = tag
        self._owners = owners
        self.is_done = False

    def __call__(self, model: Any, inputs: Any, outputs: Any) -> Any:
        """Change the outputs of the forward pass that has log-probabilities."""
        log_probs: Tensor | None = getattr(outputs, "log_probs", None)
        if log_probs is None or self.is_done:
            return outputs
        self.is_done = True
        sums, counts = self._of_samples(-log_probs), self._of_samples(outputs.label_mask)
        scores = {"loss": sums / counts.clamp(min=1)}
        mean = self._pruner.reduce(sums, scores=scores, ids=self._tag.ids)
        total = (mean * -self._tag.divisor).reshape(1).to(log_probs.dtype)
        rest = log_probs.new_zeros(log_probs.numel() - 1)
        outputs.log_probs = torch.cat([total, rest]).view(log_probs.shape)
        return outputs

    def _of_samples(self, values: Tensor) -> Tensor:
        """Return the sum over the tokens of each sample, (m,), of one value a predicted token."""
        if self._owners is None:
            return values.float().sum(1)
        owners = torch.from_numpy(self._owners[: values.shape[1]]).to(values.device)
        total = torch.zeros(len(self._tag.ids), dtype=torch.float32, device=values.device)
        return total.index_add(0, owners, values.float().reshape(-1))


def owners_of(lengths: np.ndarray, size: int) -> np.ndarray:
    """Return the sample of each token's label, int64 (size,), in a row that joins samples.

    The label of a token is the next one. What fills the row up has none, and counts as the last's.
    """
    owners = np.repeat(np.arange(len(lengths)), lengths)
    last = np.full(size + 1 - len(owners), len(lengths) - 1)
    return np.concatenate([owners, last])[1:]


class SFTMixin(PrunedMixin):
    """What `pruned` puts before an SFTTrainer; see there."""

    def __init__(self, *args: Any, pruner: Pruner, **kwargs: Any) -> None:
        super().__init__(*args, pruner=pruner, **kwargs)
        self._refuse_what_is_not_linear()

    def _refuse_what_is_not_linear(self) -> None:
        if self.args.loss_type == "dft":
            raise SettingError(
                "loss_type='dft', which weights each token by its own probability",
                "loss_type='nll'",
                "A sample's weight multiplies its whole loss; leave loss_type out",
            )
        if self.args.label_smoothing_factor:
            raise SettingError(
                f"label_smoothing_factor={self.args.label_smoothing_factor}, for which TRL makes "
                "all logits",
                "the loss of its fused head",
                "Leave label_smoothing_factor out",
            )

    def _collated(self, collate: Any) -> Any:
        return CountedCollate(collate)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return TRL's loss, of a planned batch weighted; one forward pass, and all its metrics."""
        tag: Tag | None = inputs.pop(KEY, None)
        lengths = inputs.pop(LENGTHS, None)
        if tag is None:
            return self._of_the_trainer(model, inputs, return_outputs, num_items_in_batch)
        base = cast("Any", super(WeighingMixin, self))
        # Samples that are joined come with their positions; by shape one row cannot be told.
        is_joined = "attention_mask" not in inputs
        owners = owners_of(lengths, inputs["input_ids"].shape[1]) if is_joined else None
        weighted = WeightedSum(self.pruner, tag, owners)
        hook = model.register_forward_hook(weighted)
        try:
            found = base.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            hook.remove()
        if not weighted.is_done:
            raise SettingError(
                f"The forward pass of {type(model).__name__} returned no log-probabilities",
                "those of SFTTrainer's fused head",
                "Use a version of TRL from 1.16 on, and a causal language model",
            )
        return found


@functools.cache
def pruned(base: type[Any]) -> type[Any]:
    """Return an SFTTrainer class that trains each epoch on the plan of a `Pruner`.

    It is `thresher.integrations.transformers.pruned` for TRL's trainer, whose fused head never
    makes logits: S_i is the sum of the negative log-probabilities of sample i, its score is their
    mean, and the loss of an optimizer step is Σ w_i S_i / N over N tokens. There is no second
    forward pass.

    A sample is a row of the prepared data set: a document if batches are padded or free of padding,
    a packed row if documents were packed. PEFT models are trained like others.

    Args:
        base: `trl.SFTTrainer` or a subclass of it.

    Returns:
        A subclass of `base`, the same for the same `base`. Its trainer has the `pruner`.

    Raises:
        SettingError: `base` is no SFTTrainer; when a trainer is built, arguments that pruning
            cannot honour.
    """
    trainer: Any = import_module("trl").SFTTrainer
    if not (isinstance(base, type) and issubclass(base, trainer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(
            f"pruned({base!r})", "trl.SFTTrainer or a subclass of it", "Give the class"
        )
    return types.new_class(f"Pruned{base.__name__}", (SFTMixin, base))
