"""From one loss and one gradient norm a token to one score a document."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from thresher.scores._precision import at_least_float32
from thresher.scores.documents import Documents

Reduction = Literal["mean", "sum"]


@final
@dataclass(frozen=True, eq=False)
class TokenScores:
    """A loss and a logit-gradient norm for every token of a batch; what their documents score.

    `token_scores`, `token_scores_from_hidden` and `token_scores_from_log_probs` make them. A
    document's loss is the mean (or sum) of its tokens' losses; tokens that do not count, and the
    first of each document, which nothing in it predicts, are left out of everything.

    Args:
        losses: `(B, T)`, or `(B, T − 1)` where column t is the loss of predicting token t + 1.
        mask: bool, the losses' shape: which tokens count.
        norms: ‖∂ℓ_t/∂z_t‖₂, the losses' shape, detached; None where they are not known.

    Example:
        >>> counts = torch.tensor([[True, True, False]])
        >>> tokens = TokenScores(torch.tensor([[1.0, 2.0, 9.0]]), counts)
        >>> tokens.loss().tolist(), tokens.loss(reduction="sum").tolist()
        ([1.5], [3.0])
    """

    losses: Tensor
    mask: Tensor
    norms: Tensor | None = None

    def loss(self, documents: Documents | None = None, *, reduction: Reduction = "mean") -> Tensor:
        """Return each document's loss; differentiable if the tokens' losses are.

        A trainer that takes the mean over all tokens of a batch gives long documents more weight:
        its loss is the sum of loss(reduction="sum") over the sum of num_tokens().

        Args:
            documents: where several share a row; None means that each row is one.
            reduction: "mean" over the tokens that count, or "sum" of them.

        Returns:
            `(num,)`; float32, for float64 losses float64. A document with nothing that counts
            gives 0. Summed in float64 (on MPS in float32), so that the order of a GPU's additions
            does not show.

        Raises:
            ValueError: the documents are not of this batch; reduction is not known; or (seen on a
                CPU, NaN elsewhere) a token counts and belongs to no document.
        """
        sums, counts = _sums(self.losses, self.mask, documents)
        return _reduced(sums, counts, reduction).to(at_least_float32(self.losses))

    def logit_grad_norm(
        self, documents: Documents | None = None, *, reduction: Reduction = "mean"
    ) -> Tensor:
        """Return each document's ‖∂ℓ_i/∂z‖₂ = √(Σ_t ‖∂ℓ_t/∂z_t‖²) / (number of tokens).

        Args:
            documents: as in `loss`.
            reduction: which loss it is the gradient of; of the "sum" it is not divided.

        Returns:
            `(num,)`, detached; the losses' dtype, at least float32.

        Raises:
            ValueError: the norms are not known; else as `loss`.
        """
        if self.norms is None:
            raise ValueError(
                "log-probabilities of the targets alone do not tell the logit-gradient norm. Give "
                "token_scores_from_log_probs log_sum_sq_probs as well, or score by "
                "target_grad_norm, which is at most √2 times smaller."
            )
        sums, counts = _sums(wide(self.norms.detach()).square(), self.mask, documents)
        return _reduced(sums.sqrt(), counts, reduction).to(at_least_float32(self.losses))

    def num_tokens(self, documents: Documents | None = None) -> Tensor:
        """Return how many tokens count in each document, int64, `(num,)`."""
        return _sums(self.losses.detach(), self.mask, documents)[1]


def wide(values: Tensor) -> Tensor:
    """Return the values in float64, or in float32 on MPS, which does not have it."""
    return values.float() if values.device.type == "mps" else values.double()


def _sums(values: Tensor, mask: Tensor, documents: Documents | None) -> tuple[Tensor, Tensor]:
    """Return the sum over the tokens of each document that count, and how many these are."""
    if documents is None:
        # where, not a product: 0·inf is NaN.
        return wide(torch.where(mask, values, 0.0)).sum(1), mask.sum(1)
    index, mask = _aligned(values, mask, documents)
    num = documents.num
    index = torch.where((index >= 0) & (index < num), index, num).flatten()
    kept = wide(torch.where(mask, values, 0.0)).flatten()
    sums = kept.new_zeros(num + 1).index_add(0, index, kept)
    counts = index.new_zeros(num + 1).index_add(0, index, mask.flatten().long())
    if mask.device.type != "cpu":
        return sums[:num].where(counts[num] == 0, torch.nan), counts[:num]
    if counts[num]:
        raise ValueError(
            f"{int(counts[num])} tokens have labels and belong to none of {num} documents. Give "
            f"num as the number of documents in the batch, or ignore the labels of padding."
        )
    return sums[:num], counts[:num]


def _aligned(values: Tensor, mask: Tensor, documents: Documents) -> tuple[Tensor, Tensor]:
    """Return the document of the token that each value is the loss of, and which values count."""
    index = documents.index.to(values.device)
    if values.shape == index.shape:
        return index, mask
    if values.shape != index[:, 1:].shape:
        raise ValueError(
            f"documents of {tuple(index.shape)} tokens do not fit losses of "
            f"{tuple(values.shape)}. Make them from the same batch as the labels."
        )
    return index[:, 1:], mask & (index[:, 1:] == index[:, :-1])


def _reduced(sums: Tensor, counts: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction must be "mean" or "sum"; got {reduction!r}.')
    return sums / counts.clamp(min=1) if reduction == "mean" else sums
