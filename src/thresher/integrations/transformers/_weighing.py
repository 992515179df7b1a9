"""The loss of a planned batch inside the Trainer: scored sample by sample, weighted, normalised."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from thresher.integrations.transformers._loader import KEY, Tag
from thresher.integrations.transformers._losses import (
    Head,
    aligned,
    bare,
    head_of,
    is_encoder_decoder,
    items_of,
    logits_of,
    loss_of_classes,
    loss_of_tokens,
    refuse_head,
    refuse_unlabelled,
    require_rows,
    scores_of,
)
from thresher.integrations.transformers._refusals import refuse_unplanned_batch
from thresher.pruner import Pruner


class WeighingMixin:
    """Replaces the Trainer's loss in training, and leaves it alone in evaluation."""

    # Where no items are counted, and nowhere else, the loss is still to be divided by the number of
    # micro-batches: that is what the Trainer does if this is not set.
    loss_is_scaled_for_ga = None

    args: Any
    accelerator: Any
    is_in_train: bool
    pruner: Pruner

    def per_sample_loss(
        self, outputs: Any, labels: Tensor | None, inputs: dict[str, Any]
    ) -> Tensor:
        """Return one loss a sample, (B,): the mean over the sample's own labels.

        Args:
            outputs: of the model, which was called without labels.
            labels: that were in the batch.
            inputs: the rest of the batch.
        """
        model, head = self._bare_model()
        if head is None:
            refuse_head(model)
        if labels is None:
            refuse_unlabelled(inputs)
        logits, smoothing = logits_of(outputs), self.args.label_smoothing_factor
        if head == "classes":
            return loss_of_classes(logits, labels, model.config, smoothing)
        return loss_of_tokens(logits, aligned(labels, head), smoothing)

    def per_sample_scores(
        self, outputs: Any, labels: Tensor | None, inputs: dict[str, Any], losses: Tensor
    ) -> dict[str, Tensor]:
        """Return the scores that the method needs, by name, each (B,)."""
        return scores_of(self.pruner.method.needs, losses, outputs, labels, self._bare_model()[1])

    def _bare_model(self) -> tuple[Any, Head | None]:
        model = bare(self.accelerator.unwrap_model(cast("Any", self).model))
        return model, head_of(model)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the weighted loss of a planned batch; of any other, what the Trainer returns."""
        tag: Tag | None = inputs.pop(KEY, None)
        if tag is None:
            return self._of_the_trainer(model, inputs, return_outputs, num_items_in_batch)
        outputs, labels = self._asked(model, inputs, len(tag.ids))
        losses = self.per_sample_loss(outputs, labels, inputs)
        scores = self.per_sample_scores(outputs, labels, inputs, losses)
        counted = self._counted(labels, num_items_in_batch)
        if counted is None:
            loss = self.pruner.reduce(losses, scores=scores, ids=tag.ids)
        else:
            # Σ w_i S_i / N: S_i is a sample's loss summed over its items. DDP takes the mean over
            # ranks, so each divides by the items of all ranks, over their number.
            items, total = counted
            mean = self.pruner.reduce(losses * items, scores=scores, ids=tag.ids)
            loss = mean * (tag.divisor / total)
        return (loss, outputs) if return_outputs else loss

    def _of_the_trainer(self, model: Any, inputs: dict[str, Any], *settings: Any) -> Any:
        """Return the Trainer's own loss, of a batch that no plan holds: in evaluation."""
        if model.training and self.is_in_train:
            refuse_unplanned_batch(self)
        return cast("Any", super()).compute_loss(model, inputs, *settings)

    def _counted(
        self, labels: Tensor | None, num_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor | float] | None:
        """Return the items of each sample, and what the sum over them is divided by on this rank.

        None: samples count alike, however many labels they have.
        """
        head = self._bare_model()[1]
        if labels is None or (num_items is None and head in (None, "classes")):
            return None
        # Of a model that is none of the usual ones, as the Trainer counts.
        shifts = head is None and getattr(self, "_loss_shifts_labels", False)
        items = items_of(labels, "next tokens" if shifts else head or "tokens")
        if num_items is not None:
            return items, num_items / self.accelerator.num_processes
        return items, items.sum().clamp(min=1)  # as the model does, which is told no number

    def _asked(self, model: Any, inputs: dict[str, Any], count: int) -> tuple[Any, Tensor | None]:
        """Return what the model says without labels, and the labels."""
        labels: Tensor | None = inputs.pop("labels", None)
        if labels is not None:
            require_rows(labels, count)
            own = self._bare_model()[0]
            if is_encoder_decoder(own) and "decoder_input_ids" not in inputs:
                # Which the model would make of its labels.
                shifted = own.prepare_decoder_input_ids_from_labels(labels=labels)
                inputs["decoder_input_ids"] = shifted
        return model(**inputs), labels

    def _score(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """Return the scores of samples that are not trained, for methods that refresh some."""
        inputs = cast("Any", self)._prepare_inputs(batch)
        with cast("Any", self).compute_loss_context_manager():
            labels = inputs.get("labels")
            outputs, labels = self._asked(model, inputs, 0 if labels is None else len(labels))
            losses = self.per_sample_loss(outputs, labels, inputs)
        return self.per_sample_scores(outputs, labels, inputs, losses)
