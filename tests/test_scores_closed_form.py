"""The closed form of the logit-gradient norm is what autograd gives, and masks never leak."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from score_reference import assert_close, random, reference
from thresher import scores
from thresher.scores import _blocks

MANY = settings(max_examples=150, deadline=None)


@MANY
@given(
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(2, 9),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from([-100, 0, 1]),
    st.sampled_from([0.1, 1.0, 10.0]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 10_000),
)
def test_closed_form_is_the_gradient_of_torchs_cross_entropy(
    num: int,
    length: int | None,
    num_classes: int,
    smoothing: float,
    weighted: bool,
    ignore_index: int,
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    lead = (num,) if length is None else (num, length)
    logits = (random((*lead, num_classes), seed) * scale).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    targets = torch.randint(num_classes, lead, generator=generator)
    if ignore_index == -100:
        targets[torch.rand(lead, generator=generator) < 0.3] = ignore_index
    weight = random((num_classes,), seed + 2).exp().to(dtype) if weighted else None
    ours = scores.logit_grad_norm(
        logits, targets, weight=weight, label_smoothing=smoothing, ignore_index=ignore_index
    )
    theirs = reference(
        logits, targets, weight=weight, label_smoothing=smoothing, ignore_index=ignore_index
    )
    # A smoothed norm can vanish at the optimum: there only its absolute error is small. And
    # autograd's own 1 - p is only good to float64's absolute rounding.
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * smoothing + 1e-13)


@MANY
@given(
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(2, 7),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_closed_form_takes_class_probabilities(
    num: int, length: int | None, num_classes: int, smoothing: float, weighted: bool, seed: int
) -> None:
    lead = (num,) if length is None else (num, length)
    logits = random((*lead, num_classes), seed, torch.float32) * 3
    targets = (random((*lead, num_classes), seed + 1, torch.float32) * 3).softmax(-1)
    weight = random((num_classes,), seed + 2, torch.float32).exp() if weighted else None
    ours = scores.logit_grad_norm(logits, targets, weight=weight, label_smoothing=smoothing)
    theirs = reference(logits, targets, weight=weight, label_smoothing=smoothing)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gap", [0.0, 5.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("soft", [False, True])
def test_confident_samples_keep_their_relative_accuracy(
    gap: float, scale: float, soft: bool
) -> None:
    others = random((64, 10), 0, torch.float32)
    targets = torch.arange(64) % 10
    logits = others.scatter(1, targets.unsqueeze(1), others.amax(1, keepdim=True) + gap) + scale
    given_targets = one_hot(targets, 10).float() if soft else targets
    ours = scores.logit_grad_norm(logits, given_targets)
    theirs = reference_by_complement(logits, targets)
    # exp of a difference of float32 logits of size |z| is only good to |z| ulps.
    assert_close(ours, theirs, rtol=5e-6 if gap < 80 or not soft else 0.5)
    assert bool((ours > 0).all())


def reference_by_complement(logits: Tensor, targets: Tensor) -> Tensor:
    """Float64 autograd loses 1 − p below 1e-16 itself; the sum of the others does not."""
    p = logits.double().softmax(1).scatter(1, targets.unsqueeze(1), 0.0)
    return torch.hypot(torch.linalg.vector_norm(p, dim=1), p.sum(1))


def test_both_references_agree_where_autograd_is_accurate() -> None:
    logits, targets = random((64, 10), 3) * 3, torch.arange(64) % 10
    by_sum = reference_by_complement(logits, targets)
    assert torch.allclose(reference(logits, targets), by_sum, rtol=1e-11)


def test_confident_sequences_do_not_underflow() -> None:
    logits = torch.zeros(2, 3, 4)
    logits[..., 0] = 60.0
    targets = torch.zeros(2, 3, dtype=torch.int64)
    one = math.sqrt(9 + 3) * math.exp(-60)
    assert_close(
        scores.logit_grad_norm(logits, targets),
        torch.full((2,), one * math.sqrt(3) / 3, dtype=torch.float64),
        rtol=1e-5,
    )


def test_the_norm_is_at_most_the_square_root_of_two() -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4], [0.0, 0.0]])
    norms = scores.logit_grad_norm(logits, torch.tensor([1, 1, 1]))
    assert norms.tolist() == pytest.approx([math.sqrt(2), 0.0, math.sqrt(0.5)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_half_precision_logits_are_read_exactly(dtype: torch.dtype, smoothing: float) -> None:
    logits, targets = (random((6, 5, 8), 1) * 4).to(dtype), torch.arange(30).view(6, 5) % 8
    ours = scores.logit_grad_norm(logits, targets, label_smoothing=smoothing)
    assert_close(ours, reference(logits, targets, label_smoothing=smoothing), rtol=1e-5)


def test_masked_classes_and_a_single_class() -> None:
    logits = random((4, 5), 0, torch.float32)
    logits[:, 3:] = -math.inf
    targets = torch.tensor([0, 1, 2, 0])
    assert_close(scores.logit_grad_norm(logits, targets), reference(logits, targets))
    logits[:, 1:] = -math.inf
    assert scores.logit_grad_norm(logits, torch.zeros(4, dtype=torch.int64)).tolist() == [0.0] * 4
    single = random((4, 1), 0, torch.float32)
    for smoothing in (0.0, 0.1):
        norms = scores.logit_grad_norm(
            single, torch.zeros(4, dtype=torch.int64), label_smoothing=smoothing
        )
        assert norms.tolist() == [0.0] * 4


def test_broken_logits_score_nan_and_leave_the_others_alone() -> None:
    logits, targets = random((3, 4), 0, torch.float32), torch.tensor([0, 1, 2])
    whole = scores.logit_grad_norm(logits, targets)
    logits[1, 2] = math.nan
    broken = scores.logit_grad_norm(logits, targets)
    assert broken.isnan().tolist() == [False, True, False]
    assert torch.equal(broken[[0, 2]], whole[[0, 2]])


def test_an_ignored_sample_scores_zero_even_when_its_logits_are_broken() -> None:
    logits = torch.full((2, 3, 4), math.nan)
    logits[1, 0] = 0.0
    targets = torch.full((2, 3), -100)
    targets[1, 0] = 2
    norms = scores.logit_grad_norm(logits, targets)
    assert norms.tolist() == pytest.approx([0.0, math.sqrt(0.75)])


def test_empty_batches_and_sequences() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert scores.logit_grad_norm(torch.zeros(0, 3), none).shape == (0,)
    assert scores.logit_grad_norm(torch.zeros(2, 0, 3), none.view(2, 0)[:2]).tolist() == [0.0] * 2
    assert scores.logit_grad_norm(torch.zeros(2, 0, 3), torch.zeros(2, 0, 3)).tolist() == [0.0] * 2


@pytest.mark.parametrize("block", [1, 7, 30, 64, 200, 10_000])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, block: int, contiguous: bool, smoothing: float
) -> None:
    logits = random((5, 6, 7), 0, torch.float32)
    logits = logits if contiguous else logits.transpose(0, 1)[:, 1:]
    targets = torch.arange(logits[..., 0].numel()).view(logits.shape[:2]) % 7
    targets[0, 0] = -100
    whole = scores.logit_grad_norm(logits, targets, label_smoothing=smoothing)
    probabilities = logits.flip(2).softmax(-1)
    soft = scores.logit_grad_norm(logits, probabilities)
    monkeypatch.setattr(_blocks, "_BLOCK_ELEMENTS", {"cpu": block})
    blocked = scores.logit_grad_norm(logits, targets, label_smoothing=smoothing)
    assert torch.allclose(blocked, whole, rtol=1e-6, atol=0)
    assert torch.allclose(scores.logit_grad_norm(logits, probabilities), soft, rtol=1e-6, atol=0)


def test_closed_form_builds_no_graph_and_changes_no_input() -> None:
    logits = random((4, 5), 0, torch.float32).requires_grad_()
    targets = torch.tensor([0, 1, -100, 3])
    before = logits.detach().clone(), targets.clone()
    for target in (targets, logits.detach().softmax(-1)):
        norms = scores.logit_grad_norm(logits, target, label_smoothing=0.1, weight=torch.ones(5))
        assert not norms.requires_grad
    assert not scores.logit_grad_norm(logits, targets).requires_grad
    assert torch.equal(logits.detach(), before[0])
    assert torch.equal(targets, before[1])


def test_closed_form_refuses() -> None:
    logits, targets = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(
        ValueError, match=r"classes last.*got logits \(2, 3, 4\) and targets \(2, 4"
    ):
        scores.logit_grad_norm(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"pass logits.flatten\(2\).transpose\(1, 2\)"):
        scores.logit_grad_norm(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="classes last"):
        scores.logit_grad_norm(torch.zeros(3), torch.tensor(0))
    with pytest.raises(ValueError, match="logits must be floating point; got torch"):
        scores.logit_grad_norm(logits.long(), targets)
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\)"):
        scores.logit_grad_norm(logits, targets, weight=torch.ones(2))
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\]; got 1.5"):
        scores.logit_grad_norm(logits, targets, label_smoothing=1.5)
    with pytest.raises(ValueError, match="ignore_index=1 has no meaning"):
        scores.logit_grad_norm(logits, logits.softmax(1), ignore_index=1)


def test_the_cure_for_torchs_layout_is_right() -> None:
    logits = random((2, 3, 4, 5), 0).requires_grad_()
    targets = torch.arange(40).view(2, 4, 5) % 3
    losses = cross_entropy(logits, targets, reduction="none").mean((1, 2))
    norms = scores.logit_grad_norm(logits.flatten(2).transpose(1, 2), targets.flatten(1))
    assert_close(norms, scores.logit_grad_norm_autograd(losses, logits))
