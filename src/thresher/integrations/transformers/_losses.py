"""One loss a sample from the logits of transformers' usual heads, as the models reduce it.

Models average inside their forward pass, so they are called without labels and the loss is computed
from what they return.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from thresher.errors import BatchMismatchError, SettingError
from thresher.scores import named, per_sample

Head = Literal["classes", "tokens", "next tokens"]
"""What a label is of: a sample, each token, or each token seen from the one before."""

IGNORED = -100
"""The label of what does not count."""

_FAMILIES: dict[str, Head] = {
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "next tokens",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": "tokens",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "tokens",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "tokens",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "classes",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "classes",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES": "classes",
}

_HOOK = (
    "Define per_sample_loss(self, outputs, labels, inputs) in a subclass: it returns one loss a "
    "sample, shape (batch,)"
)


def head_of(model: Any) -> Head | None:
    """Return what the labels of a model are of, by its class and those it is derived from.

    None: it is none of the usual heads.
    """
    head = _head_of_class(type(model))
    return "tokens" if head == "next tokens" and is_encoder_decoder(model) else head


@functools.cache
def _head_of_class(kind: type[Any]) -> Head | None:
    modeling_auto = import_module("transformers.models.auto.modeling_auto")
    own = {each.__name__ for each in kind.__mro__}
    for family, head in _FAMILIES.items():
        for names in getattr(modeling_auto, family).values():
            if own & set((names,) if isinstance(names, str) else names):
                return head
    return None


def refuse_head(model: Any) -> NoReturn:
    """Say what to do about a model whose loss is not known."""
    raise SettingError(
        f"How {type(model).__name__} reduces its loss is not known",
        "a model for sequence, token, image or audio classification, masked, causal or "
        "sequence-to-sequence language modelling",
        _HOOK,
    )


def refuse_unlabelled(inputs: Mapping[str, Any]) -> NoReturn:
    """Say what to do about a batch without labels."""
    raise SettingError(
        f"A batch without labels, only {', '.join(inputs)}",
        "labels, from which each sample's own loss is computed",
        _HOOK,
    )


def bare(model: Any) -> Any:
    """Return the model inside a PEFT wrapper, or the model itself."""
    inner = getattr(getattr(model, "base_model", None), "model", None)
    return inner if hasattr(model, "peft_config") and inner is not None else model


def is_encoder_decoder(model: Any) -> bool:
    """Return whether a model has a decoder that is fed the labels, shifted."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def logits_of(outputs: Any) -> Tensor:
    """Return the logits of a model's outputs.

    Raises:
        SettingError: there are none, or the loss has a part that is of no sample.
    """
    is_named = isinstance(outputs, Mapping)
    logits: Any = outputs.get("logits") if is_named else outputs[0]
    if not isinstance(logits, Tensor):
        raise SettingError(
            "The model returned no logits, as with a fused loss",
            "logits, from which each sample's own loss is computed",
            "Switch the fused loss off (Liger: use_liger_kernel=False). " + _HOOK,
        )
    if is_named and outputs.get("aux_loss") is not None:
        raise SettingError(
            "The model returned an auxiliary loss, which is of the batch and of no sample",
            "a loss that is a mean over samples",
            "Set model.config.output_router_logits = False",
        )
    return logits


def loss_of_classes(logits: Tensor, labels: Tensor, config: Any, smoothing: float) -> Tensor:
    """Return (B,): cross entropy, squared error or binary cross entropy, as the models choose.

    Args:
        logits: (B, C).
        labels: class ids (B,), targets (B,) or (B, C), or a 0 or 1 for each class (B, C).
        config: the model's; without a `problem_type` the labels tell.
        smoothing: of class ids.
    """
    problem = getattr(config, "problem_type", None)
    is_one = logits.shape[-1] == 1
    is_ids = not labels.is_floating_point()
    if problem is None:
        many = "single_label_classification" if is_ids else "multi_label_classification"
        problem = "regression" if is_one else many
    if problem == "regression":
        labels = labels.reshape(logits.shape).to(logits.dtype)
        return per_sample(F.mse_loss(logits, labels, reduction="none"))
    if problem == "multi_label_classification":
        labels = labels.to(logits.dtype)
        return per_sample(F.binary_cross_entropy_with_logits(logits, labels, reduction="none"))
    return F.cross_entropy(logits, labels.reshape(-1), reduction="none", label_smoothing=smoothing)


def loss_of_tokens(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return (B,): the mean cross entropy of each sample's tokens that are not ignored.

    Args:
        logits: (B, T, V).
        targets: (B, T), aligned with the logits.
        smoothing: of labels.
    """
    # In float32, as transformers does.
    flat = logits.float().reshape(-1, logits.shape[-1])
    losses = F.cross_entropy(
        flat, targets.reshape(-1), reduction="none", label_smoothing=smoothing
    ).reshape(targets.shape)
    return per_sample(losses, targets != IGNORED)


def aligned(labels: Tensor, head: Head) -> Tensor:
    """Return labels in the places of the logits that predict them."""
    if head != "next tokens":
        return labels
    return F.pad(labels, (0, 1), value=IGNORED)[..., 1:]


def require_rows(labels: Tensor, count: int) -> None:
    """Refuse a batch whose rows are not samples.

    Raises:
        BatchMismatchError: the collator concatenates samples.
    """
    if len(labels) != count:
        raise BatchMismatchError(
            f"{len(labels)} rows of labels for {count} samples",
            "one row a sample",
            "A collator that concatenates samples (padding-free) hides whose loss it is: pad them, "
            "as DataCollatorWithPadding does; or pack them before training, and a packed row is "
            "the sample",
        )


def items_of(labels: Tensor, head: Head) -> Tensor:
    """Return how many labels of each sample count, (B,): the Trainer divides by their sum."""
    kept = aligned(labels, head) != IGNORED
    return kept if kept.dim() == 1 else kept.flatten(1).sum(1)


@torch.no_grad()
def scores_of(
    needs: tuple[str, ...], losses: Tensor, outputs: Any, labels: Tensor | None, head: Head | None
) -> dict[str, Tensor]:
    """Return the scores of a usual head that a method needs, by name, each (B,)."""
    if set(needs) <= {"loss"} or head is None or labels is None or labels.is_floating_point():
        return {"loss": losses}
    targets = aligned(labels, head)
    if head == "classes":
        targets = targets.reshape(-1).clamp(min=0)  # a copy that pads a batch has no class
    return named(needs, logits_of(outputs).detach(), targets, losses)
