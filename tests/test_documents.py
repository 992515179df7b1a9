"""However documents lie in a batch, each scores what it would score alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from score_reference import random
from thresher import scores
from thresher.scores import Documents

MANY = settings(max_examples=100, deadline=None)

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def alone(logits: Tensor, labels: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    tokens = scores.token_scores(logits.unsqueeze(0), labels.unsqueeze(0))
    return (
        tokens.loss(reduction=reduction),  # pyright: ignore[reportArgumentType]
        tokens.logit_grad_norm(reduction=reduction),  # pyright: ignore[reportArgumentType]
    )


def layouts(sizes: list[int], padding: int) -> list[Documents]:
    """The same documents in one row, told in every way there is."""
    total = sum(sizes) + padding
    positions = torch.cat([*map(torch.arange, sizes), torch.zeros(padding)]).long()
    segments = torch.repeat_interleave(torch.arange(len(sizes)) + 1, torch.tensor(sizes))
    cumulative = pad(torch.tensor(sizes).cumsum(0), (1, 0))
    return [
        Documents.by_position(positions.unsqueeze(0), len(sizes)),
        Documents.by_position(positions.unsqueeze(0) + 2, len(sizes)),
        Documents.by_segment(pad(segments, (0, padding)).unsqueeze(0), padding=0),
        Documents.by_segment(pad(segments % 2, (0, padding), value=-1).unsqueeze(0), len(sizes)),
        Documents.by_length(cumulative.int(), (1, total)),
    ]


@MANY
@given(lengths, st.integers(0, 3), st.sampled_from(["mean", "sum"]), st.integers(0, 10_000))
def test_a_packed_document_scores_what_it_scores_alone(
    sizes: list[int], padding: int, reduction: str, seed: int
) -> None:
    total = sum(sizes)
    logits = random((total, 7), seed) * 3
    labels = torch.randint(7, (total,), generator=torch.Generator().manual_seed(seed))
    labels[labels == 0] = -100
    pairs = zip(logits.split(sizes), labels.split(sizes), strict=True)
    apart = [alone(z, y, reduction) for z, y in pairs]
    losses, norms = (torch.cat(parts) for parts in zip(*apart, strict=True))
    # The label of a document's first token is left as it is: nothing may predict it.
    packed = pad(logits, (0, 0, 0, padding)).unsqueeze(0).requires_grad_()
    row = pad(labels, (0, padding), value=-100).unsqueeze(0)
    tokens = scores.token_scores(packed, row)
    for documents in layouts(sizes, padding):
        assert documents.num == len(sizes)
        found = tokens.loss(documents, reduction=reduction)  # pyright: ignore[reportArgumentType]
        assert torch.allclose(found, losses, rtol=1e-12)
        found = tokens.logit_grad_norm(documents, reduction=reduction)  # pyright: ignore[reportArgumentType]
        assert torch.allclose(found, norms, rtol=1e-12)
        assert torch.equal(
            tokens.num_tokens(documents),
            torch.stack([(y[1:] != -100).sum() for y in labels.split(sizes)]),
        )


def test_the_gradient_of_a_packed_batch_is_that_of_its_documents_apart() -> None:
    sizes, weights = [3, 4, 2], torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    logits, labels = random((9, 5), 0).requires_grad_(), torch.arange(9) % 5
    parts = zip(logits.split(sizes), labels.split(sizes), strict=True)
    apart = torch.cat([alone(z, y, "mean")[0] for z, y in parts])
    (expected,) = torch.autograd.grad((apart * weights).sum(), logits)
    documents = Documents.by_length(torch.tensor([0, 3, 7, 9]), (1, 9))
    packed = scores.token_scores(logits.unsqueeze(0), labels.unsqueeze(0)).loss(documents)
    (gradient,) = torch.autograd.grad((packed * weights).sum(), logits)
    assert torch.allclose(gradient, expected, rtol=1e-12)


def test_documents_may_lie_in_several_rows() -> None:
    logits, labels = random((2, 4, 5), 0), torch.arange(8).view(2, 4) % 5
    positions = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 1]])
    documents = Documents.by_position(positions)
    assert documents.index.tolist() == [[0, 0, 0, 0], [1, 1, 2, 2]]
    expected = [
        alone(logits[0], labels[0], "mean")[0],
        alone(logits[1, :2], labels[1, :2], "mean")[0],
        alone(logits[1, 2:], labels[1, 2:], "mean")[0],
    ]
    found = scores.token_scores(logits, labels).loss(documents)
    assert torch.allclose(found, torch.cat(expected))


def test_rows_are_documents_if_nothing_else_is_said() -> None:
    tokens = scores.token_scores(random((3, 4, 5), 0), torch.arange(12).view(3, 4) % 5)
    documents = Documents(torch.arange(3).unsqueeze(1).expand(3, 4), 3)
    assert torch.allclose(tokens.loss(), tokens.loss(documents))
    assert torch.allclose(tokens.logit_grad_norm(), tokens.logit_grad_norm(documents))
    assert torch.equal(tokens.num_tokens(), tokens.num_tokens(documents))


def test_labels_that_were_shifted_before_belong_to_their_own_place() -> None:
    logits, labels = random((1, 4, 5), 0), torch.tensor([[1, -100, 2, 3]])
    tokens = scores.token_scores(logits, labels, shift=False)
    found = tokens.loss(Documents(torch.tensor([[0, 0, 1, 1]]), 2))
    assert torch.allclose(found[0], tokens.losses[0, 0])
    assert torch.allclose(found[1], tokens.losses[0, 2:].mean())


def test_tiny_norms_are_not_lost_in_a_square() -> None:
    tiny = torch.full((1, 4), 1e-30)
    tokens = scores.TokenScores(tiny, torch.ones(1, 4, dtype=torch.bool), tiny)
    assert tokens.logit_grad_norm().tolist() == pytest.approx([0.5e-30], rel=1e-6, abs=0)


def test_masked_nan_reaches_neither_the_score_nor_the_gradient() -> None:
    losses = torch.tensor([[1.0, math.nan, math.inf]], requires_grad=True)
    mask = torch.tensor([[True, False, False]])
    for documents in (None, Documents(torch.zeros(1, 3, dtype=torch.int64), 1)):
        loss = scores.TokenScores(losses, mask, losses.detach()).loss(documents)
        assert loss.tolist() == [1.0]
        (gradient,) = torch.autograd.grad(loss.sum(), losses)
        assert gradient.tolist() == [[1.0, 0.0, 0.0]]


def test_no_layout_waits_for_the_device_if_it_knows_how_many_there_are() -> None:
    """A meta tensor has no data: whatever reads it raises."""
    logits = torch.zeros(2, 6, 9, device="meta", requires_grad=True)
    places = torch.zeros(2, 6, dtype=torch.int64, device="meta")
    log_probs = torch.zeros(2, 5, device="meta")
    every = [
        scores.token_scores(logits, places),
        scores.token_scores_from_hidden(logits, torch.nn.Identity(), places),
        scores.token_scores_from_log_probs(log_probs, log_probs, log_sum_sq_probs=log_probs),
    ]
    for documents in (
        None,
        Documents.by_position(places, 2),
        Documents.by_segment(places, 2),
        Documents.by_length(places[0, :3], (2, 6)),
    ):
        for tokens in every:
            assert tokens.loss(documents).shape == (2,)
            assert tokens.logit_grad_norm(documents).device.type == "meta"
            assert tokens.num_tokens(documents).shape == (2,)
    every[0].loss(documents).sum().backward()


def test_labels_outside_of_all_documents_are_refused() -> None:
    tokens = scores.token_scores(torch.zeros(1, 6, 5), torch.ones(1, 6, dtype=torch.int64))
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with pytest.raises(ValueError, match="2 tokens have labels and belong to none of 1 documents"):
        tokens.loss(Documents.by_position(positions, 1))
    with pytest.raises(ValueError, match="num=3 documents, but only 2 begin"):
        Documents.by_position(positions, 3)


def test_documents_of_another_batch_are_refused() -> None:
    tokens = scores.token_scores(torch.zeros(1, 6, 5), torch.ones(1, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"documents of \(1, 9\) tokens do not fit losses of \(1"):
        tokens.loss(Documents.by_length(torch.tensor([0, 9]), (1, 9)))
    with pytest.raises(ValueError, match='reduction must be "mean" or "sum"; got \'max\''):
        tokens.loss(reduction="max")  # pyright: ignore[reportArgumentType]


def test_documents_refuse() -> None:
    with pytest.raises(ValueError, match=r"position_ids must be whole numbers.*\(6,\)"):
        Documents.by_position(torch.arange(6))
    with pytest.raises(ValueError, match=r"segment_ids must be whole numbers.*torch.float32"):
        Documents.by_segment(torch.zeros(1, 6))
    with pytest.raises(ValueError, match=r"index must be whole numbers.*torch.bool"):
        Documents(torch.zeros(1, 6, dtype=torch.bool), 1)
    with pytest.raises(ValueError, match=r"shape must be \(B, T\); got \(9,\)"):
        Documents.by_length(torch.tensor([0, 9]), (9,))
    for broken in (torch.zeros(0, dtype=torch.int64), torch.zeros(2), torch.zeros(2, 2).long()):
        with pytest.raises(ValueError, match="cu_seqlens must be whole numbers"):
            Documents.by_length(broken, (1, 9))
