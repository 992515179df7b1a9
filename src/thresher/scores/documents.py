"""Which document each token of a batch belongs to."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class Documents:
    """The documents of a packed or padding-free batch, numbered in the order they stand there.

    Where each row of a batch is a document there is nothing to say: leave `documents` out.

    Args:
        index: int64, `(B, T)`: the document of every token, from 0; `num` or more, or below 0,
            where a token belongs to none.
        num: how many there are: what the pruner's batch has samples.

    Raises:
        ValueError: the index is not a whole number a token.

    Example:
        >>> documents = Documents.by_position(torch.tensor([[0, 1, 2, 0, 1]]))
        >>> documents.index.tolist(), documents.num
        ([[0, 0, 0, 1, 1]], 2)
    """

    index: Tensor
    num: int

    def __post_init__(self) -> None:
        _check_tokens("index", self.index)

    @classmethod
    def by_position(cls, position_ids: Tensor, num: int | None = None) -> "Documents":
        """Return the documents of which each begins where positions do not go on by one.

        Args:
            position_ids: `(B, T)`, as padding-free collators make them; every row begins a
                document.
            num: how many documents there are; more of them, which is what padded position ids look
                like, are none. None counts them, which waits for a GPU.

        Raises:
            ValueError: position_ids is not a whole number a token, or (seen on a CPU) there are
                fewer documents.
        """
        _check_tokens("position_ids", position_ids)
        starts = torch.ones_like(position_ids, dtype=torch.bool)
        starts[:, 1:] = position_ids[:, 1:] != position_ids[:, :-1] + 1
        return cls(*_numbered(starts, num))

    @classmethod
    def by_segment(
        cls, segment_ids: Tensor, num: int | None = None, *, padding: int = -1
    ) -> "Documents":
        """Return the documents that are runs of one segment id in a row.

        Args:
            segment_ids: `(B, T)`, such as `seq_idx`; which numbers they are does not matter.
            num: as in `by_position`.
            padding: the id of tokens that belong to no document.

        Raises:
            ValueError: segment_ids is not a whole number a token, or (seen on a CPU) there are
                fewer documents.

        Example:
            >>> Documents.by_segment(torch.tensor([[1, 1, 2, 0], [1, 2, 2, 2]]), padding=0).index
            tensor([[ 0,  0,  1, -1],
                    [ 2,  3,  3,  3]])
        """
        _check_tokens("segment_ids", segment_ids)
        starts = torch.ones_like(segment_ids, dtype=torch.bool)
        starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
        real = segment_ids != padding
        index, num = _numbered(starts & real, num)
        return cls(index.where(real, -1), num)

    @classmethod
    def by_length(cls, cu_seqlens: Tensor, shape: tuple[int, ...]) -> "Documents":
        """Return the documents between cumulative lengths; tokens after the last are of none.

        Args:
            cu_seqlens: whole numbers, `(num + 1,)`, from 0, as variable-length attention takes
                them; of lengths, `(0, *cumulative sums)`. Rows are counted one after the other.
            shape: of the batch's tokens, `(B, T)`, such as `labels.shape`.

        Raises:
            ValueError: cu_seqlens is not a list of whole numbers, or shape is not `(B, T)`.

        Example:
            >>> Documents.by_length(torch.tensor([0, 3, 5]), (1, 6)).index.tolist()
            [[0, 0, 0, 1, 1, 2]]
        """
        if cu_seqlens.ndim != 1 or len(cu_seqlens) == 0 or not _whole(cu_seqlens):
            raise ValueError(
                f"cu_seqlens must be whole numbers of shape (num + 1,), from 0; got "
                f"{cu_seqlens.dtype} of shape {tuple(cu_seqlens.shape)}. Of lengths take "
                f"torch.nn.functional.pad(lengths.cumsum(0), (1, 0))."
            )
        if len(shape) != 2:
            raise ValueError(f"shape must be (B, T); got {tuple(shape)}. Pass labels.shape.")
        places = torch.arange(shape[0] * shape[1], device=cu_seqlens.device)
        index = torch.searchsorted(cu_seqlens[1:].long(), places, right=True)
        return cls(index.view(shape), len(cu_seqlens) - 1)


def _numbered(starts: Tensor, num: int | None) -> tuple[Tensor, int]:
    """Return the number of the document each token is in, and how many there are."""
    index = starts.flatten().cumsum(0).sub_(1).view(starts.shape)
    if num is None:
        return index, int(starts.sum())
    if starts.device.type == "cpu" and (found := int(starts.sum())) < num:
        raise ValueError(
            f"num={num} documents, but only {found} begin in this batch. Give num as the number of "
            f"samples the collate function put together."
        )
    return index, num


def _check_tokens(name: str, values: Tensor) -> None:
    if values.ndim != 2 or not _whole(values):
        raise ValueError(
            f"{name} must be whole numbers of shape (B, T), one a token; got {values.dtype} of "
            f"shape {tuple(values.shape)}. Add a first dimension of size 1 to a flat batch."
        )


def _whole(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
