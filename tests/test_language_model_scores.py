"""A language model's losses and norms are torch's own, at any size of vocabulary, in blocks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from allocations import Allocations
from score_reference import random, reference
from thresher import scores
from thresher.scores import _blocks, language_model

MANY = settings(max_examples=100, deadline=None)


def labels_of(shape: tuple[int, int], num_classes: int, seed: int, ignored: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < ignored] = -100
    return labels


def torchs_losses(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """In float64, a loss a token, 0 where ignored."""
    return cross_entropy(
        logits.double().transpose(1, 2), targets, reduction="none", label_smoothing=smoothing
    )


@MANY
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.booleans(),
    st.sampled_from([0.1, 1.0, 10.0]),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 10_000),
)
def test_losses_norms_and_gradients_are_torchs(
    num: int,
    length: int,
    num_classes: int,
    smoothing: float,
    shift: bool,
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    logits = (random((num, length, num_classes), seed) * scale).to(dtype).requires_grad_()
    labels = labels_of((num, length), num_classes, seed + 1)
    tokens = scores.token_scores(logits, labels, shift=shift, label_smoothing=smoothing)
    exact = logits.detach().double().requires_grad_()
    read = (exact[:, :-1], labels[:, 1:]) if shift else (exact, labels)
    expected = scores.per_sample(torchs_losses(*read, smoothing), read[1] != -100)
    assert torch.allclose(tokens.loss().double(), expected, rtol=2e-6, atol=2e-6 * scale)
    assert torch.equal(tokens.num_tokens(), (read[1] != -100).sum(1))
    norms = tokens.logit_grad_norm().double()
    theirs = reference(*read, label_smoothing=smoothing)
    # A smoothed norm can vanish at the optimum: there only its absolute error is small.
    assert torch.allclose(norms, theirs, rtol=1e-5, atol=1e-6 * smoothing + 1e-13)

    weights = random((num,), seed + 2)
    (tokens.loss() * weights.to(tokens.losses.dtype)).sum().backward()
    (gradient,) = torch.autograd.grad((expected * weights).sum(), exact)
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
    # One rounding to the logits' dtype, which is coarse near 0 in float16.
    eps = max(torch.finfo(dtype).eps, 2e-6)
    assert torch.allclose(logits.grad.double(), gradient, rtol=2 * eps, atol=1e-6)


@pytest.mark.parametrize("num_classes", [32_000, 131_072])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_vocabularies_lose_no_accuracy(num_classes: int, dtype: torch.dtype) -> None:
    logits = (random((2, 9, num_classes), 0, torch.float32) * 3).to(dtype)
    labels = labels_of((2, 9), num_classes, 1)
    tokens = scores.token_scores(logits, labels)
    expected = torchs_losses(logits[:, :-1], labels[:, 1:])
    assert torch.allclose(tokens.losses.double(), expected, rtol=1e-6)
    norms = reference(logits[:, :-1], labels[:, 1:])
    assert torch.allclose(tokens.logit_grad_norm().double(), norms, rtol=1e-6)


@pytest.mark.parametrize("gap", [0.0, 20.0, 80.0])
def test_tokens_that_the_model_is_sure_of_keep_their_digits(gap: float) -> None:
    logits = torch.zeros(1, 2, 5)
    logits[0, 0, 3] = gap
    logits.requires_grad_()
    tokens = scores.token_scores(logits, torch.tensor([[0, 3]]))
    missing = 1.0 / (1.0 + math.exp(gap) / 4.0)
    assert tokens.losses.item() == pytest.approx(-math.log1p(-missing), rel=1e-5, abs=0)
    assert tokens.norms is not None
    assert tokens.norms.item() == pytest.approx(missing * math.sqrt(1.25), rel=1e-5, abs=0)
    tokens.loss().sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 3].item() == pytest.approx(-missing, rel=1e-5, abs=0)


def test_ignored_tokens_have_no_gradient_whatever_is_summed() -> None:
    logits = random((2, 3, 4), 0, torch.float32).requires_grad_()
    labels = torch.tensor([[0, -100, 2], [-100, -100, -100]])
    (gradient,) = torch.autograd.grad(
        scores.token_scores(logits, labels, shift=False).losses.sum(), logits
    )
    assert ((gradient != 0).any(-1) == (labels != -100)).all()


def test_extreme_logits_are_finite_and_right() -> None:
    logits = torch.tensor([[[1e4, -1e4, 0.0], [-3e38, 0.0, 3e38], [0.0, -math.inf, 0.0]]])
    tokens = scores.token_scores(logits, torch.tensor([[1, 2, 0]]), shift=False)
    assert tokens.losses.tolist() == [pytest.approx([2e4, 0.0, math.log(2.0)])]
    assert tokens.norms is not None
    assert tokens.norms.tolist() == [pytest.approx([math.sqrt(2.0), 0.0, math.sqrt(0.5)])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_target_of_probability_zero_loses_infinitely_and_has_torchs_gradient(
    smoothing: float,
) -> None:
    logits = torch.tensor([[[0.0, 1.0, -math.inf]]], requires_grad=True)
    labels = torch.tensor([[2]])
    tokens = scores.token_scores(logits, labels, shift=False, label_smoothing=smoothing)
    assert tokens.loss().tolist() == [math.inf]
    tokens.loss().sum().backward()
    p = torch.tensor([0.0, 1.0]).softmax(0)
    expected = torch.tensor([*p, 0.0]) - smoothing / 3
    expected[2] -= 1.0 - smoothing
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_broken_logits_are_nan_and_leave_the_others_alone(broken: float, place: int) -> None:
    logits, labels = random((3, 1, 4), 0, torch.float32), torch.zeros(3, 1, dtype=torch.int64)
    whole = scores.token_scores(logits, labels, shift=False)
    logits[1, 0, place] = broken
    tokens = scores.token_scores(logits, labels, shift=False)
    for ours, before in (
        (tokens.loss(), whole.loss()),
        (tokens.logit_grad_norm(), whole.logit_grad_norm()),
    ):
        assert ours.isnan().tolist() == [False, True, False]
        assert torch.equal(ours[[0, 2]], before[[0, 2]])


def test_documents_without_labels_score_zero_even_when_their_logits_are_broken() -> None:
    logits = torch.full((2, 3, 4), math.nan)
    logits[1] = 0.0
    labels = torch.full((2, 3), -100)
    labels[1, 1] = 2
    tokens = scores.token_scores(logits, labels)
    assert tokens.loss().tolist() == pytest.approx([0.0, math.log(4.0)])
    assert tokens.logit_grad_norm().tolist() == pytest.approx([0.0, math.sqrt(0.75)])
    assert tokens.num_tokens().tolist() == [0, 1]


def test_batches_of_nothing_and_of_single_tokens() -> None:
    for shape in ((0, 3), (2, 0), (2, 1)):
        logits = torch.zeros(*shape, 5, requires_grad=True)
        labels = torch.zeros(shape, dtype=torch.int64)
        for tokens in (
            scores.token_scores(logits, labels),
            scores.token_scores_from_hidden(logits, nn.Identity(), labels),
        ):
            assert tokens.loss().tolist() == [0.0] * shape[0]
            assert tokens.logit_grad_norm().tolist() == [0.0] * shape[0]
        scores.token_scores(logits, labels).loss().sum().backward()


@pytest.mark.parametrize("block", [1, 7, 30, 64, 200])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, block: int, contiguous: bool, smoothing: float
) -> None:
    logits = random((5, 6, 7), 0, torch.float32)
    logits = (logits if contiguous else logits.transpose(0, 1)[:, 1:]).requires_grad_()
    labels = labels_of((logits.shape[0], logits.shape[1]), 7, 1)

    def found() -> list[Tensor]:
        tokens = scores.token_scores(logits, labels, label_smoothing=smoothing)
        (gradient,) = torch.autograd.grad(tokens.loss().sum(), logits)
        return [tokens.loss(), tokens.logit_grad_norm(), gradient]

    whole = found()
    monkeypatch.setattr(_blocks, "_BLOCK_ELEMENTS", {"cpu": block})
    for ours, before in zip(found(), whole, strict=True):
        assert torch.allclose(ours, before, rtol=1e-6, atol=1e-8)


def test_norms_have_no_graph_and_inputs_stay_as_they_were() -> None:
    logits = random((2, 4, 5), 0, torch.float32).requires_grad_()
    labels = labels_of((2, 4), 5, 1)
    before = logits.detach().clone(), labels.clone()
    tokens = scores.token_scores(logits, labels)
    assert tokens.loss().requires_grad
    assert not tokens.logit_grad_norm().requires_grad
    tokens.loss().sum().backward()
    assert torch.equal(logits.detach(), before[0])
    assert torch.equal(labels, before[1])
    with torch.no_grad():
        assert not scores.token_scores(logits, labels).loss().requires_grad


def test_autocast_changes_nothing() -> None:
    logits = random((2, 4, 5), 0).to(torch.bfloat16).requires_grad_()
    labels = labels_of((2, 4), 5, 1)

    def found() -> list[Tensor]:
        tokens = scores.token_scores(logits, labels)
        (gradient,) = torch.autograd.grad(tokens.loss().sum(), logits)
        return [tokens.loss(), tokens.logit_grad_norm(), gradient]

    plain = found()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for ours, theirs in zip(found(), plain, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nothing_grows_with_the_logits_but_their_gradient(
    dtype: torch.dtype, smoothing: float
) -> None:
    logits = torch.zeros(2, 64, 32_000, dtype=dtype, requires_grad=True)
    labels = torch.ones(2, 64, dtype=torch.int64)
    with Allocations() as forward:
        losses = scores.token_scores(logits, labels, label_smoothing=smoothing).loss()
    assert max(forward.elements) <= 2**18
    with Allocations() as backward:
        losses.sum().backward()
    assert backward.as_large_as(2**18 + 1) == 1
    with Allocations() as torchs:
        cross_entropy(logits.float().flatten(0, 1), labels.flatten()).backward()
    assert torchs.as_large_as(logits.numel()) >= 3


@pytest.mark.parametrize("block", [1, 40, 1000])
@pytest.mark.parametrize("shift", [True, False])
def test_scores_from_hidden_states_are_those_of_the_logits(
    monkeypatch: pytest.MonkeyPatch, block: int, shift: bool
) -> None:
    monkeypatch.setattr(language_model, "_HEAD_ELEMENTS", block)
    head = nn.Linear(3, 11)
    hidden, labels = random((4, 5, 3), 0, torch.float32), labels_of((4, 5), 11, 1)
    options = {"shift": shift, "label_smoothing": 0.1}
    whole = scores.token_scores(head(hidden), labels, **options)
    blocked = scores.token_scores_from_hidden(hidden, head, labels, **options)
    assert not blocked.losses.requires_grad
    assert torch.equal(blocked.mask, whole.mask)
    assert torch.allclose(blocked.loss(), whole.loss(), rtol=1e-5)
    assert torch.allclose(blocked.logit_grad_norm(), whole.logit_grad_norm(), rtol=1e-5)


def test_scores_from_hidden_states_never_hold_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "_HEAD_ELEMENTS", 2**20)
    head = nn.Linear(2, 32_000, dtype=torch.bfloat16)
    hidden = torch.zeros(2, 65, 2, dtype=torch.bfloat16)
    with Allocations() as seen:
        tokens = scores.token_scores_from_hidden(hidden, head, torch.ones(2, 65).long())
    assert max(seen.elements) <= 2**20
    assert tokens.losses.shape == (2, 64)


def test_token_scores_refuse() -> None:
    logits, labels = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits must have shape.*got \(6, 5\) and \(6,\)"):
        scores.token_scores(logits.flatten(0, 1), labels.flatten())
    with pytest.raises(ValueError, match=r"hidden must have shape \(B, T, H\)"):
        scores.token_scores_from_hidden(logits, nn.Identity(), labels[:, 1:])
    with pytest.raises(ValueError, match=r"labels must be int64 token ids; got torch.float32"):
        scores.token_scores(logits, labels.float())
    with pytest.raises(ValueError, match=r"logits must be floating point; got torch.int64"):
        scores.token_scores(logits.long(), labels)
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\]; got -0.1"):
        scores.token_scores(logits, labels, label_smoothing=-0.1)
