"""A language model's losses and logit-gradient norms, at any size of the vocabulary."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from thresher.scores._precision import at_least_float32
from thresher.scores._token_cross_entropy import token_cross_entropy
from thresher.scores.tokens import TokenScores

# So many logits are made at once (128 MB in float32): more than are read at once, as a matrix
# product wants many tokens.
_HEAD_ELEMENTS = 2**25


def token_scores(
    logits: Tensor,
    labels: Tensor,
    *,
    shift: bool = True,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> TokenScores:
    """Return cross entropy and logit-gradient norm of every token; the losses can be trained on.

    The losses are those of `cross_entropy(..., reduction="none")`. Logits are read in blocks:
    beside them nothing of their size is held, and the backward pass makes one gradient of their
    size and dtype, where torch's own makes three tensors of that size in float32. The norms come
    from the same pass.
    With p = softmax(z), a token's is

        ‖p − onehot(y)‖ = (1 − p_y) √(1 + Σ_{c≠y} p_c² / (Σ_{c≠y} p_c)²),

    as accurate, like the loss, for a token that the model is sure of as for any other.

    Args:
        logits: `(B, T, V)`, as the model returns them; half precision is read as it is.
        labels: int64, `(B, T)`.
        shift: the logits at token t predict the label at t + 1, as causal models do; False where
            labels are shifted already, and for models that are not causal.
        label_smoothing: in [0, 1], as in `cross_entropy`.
        ignore_index: the label of tokens that do not count.

    Returns:
        TokenScores of `(B, T − 1)` tokens, `(B, T)` without shift, in float32 (float64 for
        float64 logits). The losses are part of the logits' graph, once differentiable.

    Raises:
        ValueError: shapes or dtypes do not fit, or smoothing is out of range.

    Cost: less than the forward and backward pass of `cross_entropy` (CPU, one thread, V ≥ 32,000),
        for loss and norm together; without a graph, 1 % of a training step of a model of 135
        million parameters with V = 49,152 (benchmarks/README.md, row 8).

    Example:
        >>> tokens = token_scores(torch.zeros(1, 3, 2), torch.tensor([[0, 1, -100]]))
        >>> tokens.loss().tolist(), tokens.logit_grad_norm().tolist()
        ([0.6931471824645996], [0.7071067690849304])
    """
    _check(logits, labels, label_smoothing, "logits")
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point; got {logits.dtype}. Pass raw scores.")
    # Labels are shifted and not logits, which would be copied.
    targets = pad(labels[:, 1:], (0, 1), value=ignore_index) if shift else labels
    valid = targets != ignore_index
    losses, norms = token_cross_entropy(logits, targets.where(valid, 0), valid, label_smoothing)
    last = -1 if shift else None
    return TokenScores(losses[:, :last], valid[:, :last], norms[:, :last])


@torch.no_grad()
def token_scores_from_hidden(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    labels: Tensor,
    *,
    shift: bool = True,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> TokenScores:
    """Return what `token_scores` would of `head(hidden)`, which is never there as a whole.

    For scoring passes, as in the `fn` of `scoring`: no graph is built, and the logits of some
    tokens at a time are made, read and dropped. Of a transformers model, hidden is
    `model.base_model(...).last_hidden_state` and head `model.get_output_embeddings()`, if nothing
    else is done to its logits.

    Args:
        hidden: the last hidden states, `(B, T, H)`.
        head: from hidden states `(n, H)` to logits `(n, V)`: the model's output embedding, with
            whatever it does to logits (bias, scale, soft cap, an adapter).
        labels: int64, `(B, T)`.
        shift: as in `token_scores`.
        label_smoothing: as in `token_scores`.
        ignore_index: as in `token_scores`.

    Returns:
        TokenScores as of `token_scores`, without a graph.

    Raises:
        ValueError: as `token_scores`.

    Cost: the head's forward pass in batches of 2²⁵ logits (or one token, if that is more), which
        takes up to a quarter longer than in one piece; and the forward part of `token_scores`.

    Example:
        >>> head = torch.nn.Linear(4, 10)
        >>> hidden, labels = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.int64)
        >>> blocked = token_scores_from_hidden(hidden, head, labels)
        >>> torch.allclose(blocked.loss(), token_scores(head(hidden), labels).loss())
        True
    """
    _check(hidden, labels, label_smoothing, "hidden")
    if shift:
        hidden, labels = hidden[:, :-1], labels[:, 1:]
    if not labels.numel():
        none = hidden.new_zeros(labels.shape, dtype=at_least_float32(hidden))
        return TokenScores(none, none != 0, none)
    num_classes = head(hidden[0, :1]).shape[-1]
    num_tokens = max(1, _HEAD_ELEMENTS // num_classes)
    found = [
        token_scores(
            head(states).unsqueeze(0),
            own.unsqueeze(0),
            shift=False,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )
        for states, own in zip(
            hidden.flatten(0, 1).split(num_tokens), labels.flatten().split(num_tokens), strict=True
        )
    ]
    losses, norms = (
        torch.cat(parts, 1).view(labels.shape)
        for parts in zip(*((each.losses, each.norms) for each in found), strict=True)
    )
    return TokenScores(losses, labels != ignore_index, norms)


def _check(values: Tensor, labels: Tensor, label_smoothing: float, name: str) -> None:
    if values.ndim != 3 or labels.shape != values.shape[:2] or values.shape[-1] == 0:
        raise ValueError(
            f"{name} must have shape (B, T, {'V' if name == 'logits' else 'H'}) with labels "
            f"(B, T); got {tuple(values.shape)} and {tuple(labels.shape)}. Add a first dimension "
            f"of size 1 to a flat batch."
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 token ids; got {labels.dtype}. Cast them.")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            f"label_smoothing must be in [0, 1]; got {label_smoothing}. Use the trainer's value."
        )
