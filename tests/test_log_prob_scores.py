"""What log-probabilities tell is told exactly, and what they do not is bounded."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from score_reference import random
from thresher import scores
from thresher.scores import Documents

MANY = settings(max_examples=100, deadline=None)


def fused(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a fused head returns: log p_y, which tokens count, log Σ p²."""
    log_probs = logits[:, :-1].log_softmax(-1)
    mask = labels[:, 1:] != -100
    own = log_probs.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return own.where(mask, 0.0), mask, (2 * log_probs).logsumexp(-1).where(mask, 0.0)


@MANY
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(2, 9),
    st.sampled_from([0.01, 1.0, 5.0]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_a_fused_head_tells_what_the_logits_tell(
    num: int, length: int, num_classes: int, scale: float, packed: bool, seed: int
) -> None:
    logits = (random((num, length, num_classes), seed) * scale).requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num, length), generator=generator)
    labels[torch.rand(num, length, generator=generator) < 0.3] = -100
    starts = torch.rand(num, length, generator=generator) < 0.3
    documents = Documents.by_segment(starts.cumsum(1)) if packed else None
    whole = scores.token_scores(logits, labels)
    log_probs, mask, log_sum_sq = fused(logits, labels)
    tokens = scores.token_scores_from_log_probs(log_probs, mask, log_sum_sq_probs=log_sum_sq)
    assert torch.allclose(tokens.loss(documents), whole.loss(documents))
    norms = whole.logit_grad_norm(documents)
    # 1 − p is as good as log p was: rounded to 1e-16 and a few times more.
    assert torch.allclose(tokens.logit_grad_norm(documents), norms, rtol=1e-7, atol=1e-13)
    assert not tokens.logit_grad_norm(documents).requires_grad
    bound = scores.target_grad_norm(log_probs, mask, documents)
    assert not bound.requires_grad
    assert bool((math.sqrt(num_classes / (num_classes - 1)) * bound <= norms + 1e-12).all())
    assert bool((norms <= math.sqrt(2.0) * bound + 1e-12).all())
    weights = random(norms.shape, seed + 1)
    (ours,) = torch.autograd.grad((tokens.loss(documents) * weights).sum(), logits)
    (theirs,) = torch.autograd.grad((whole.loss(documents) * weights).sum(), logits)
    assert torch.allclose(ours, theirs, atol=1e-14)


@pytest.mark.parametrize("others", ["even", "one"])
def test_both_bounds_are_reached(others: str) -> None:
    logits = torch.zeros(1, 2, 5, dtype=torch.float64)
    if others == "one":
        logits[0, 0, 2:] = -math.inf
    labels = torch.tensor([[0, 0]])
    norm = scores.token_scores(logits, labels).logit_grad_norm()
    log_probs, mask, _ = fused(logits, labels)
    factor = math.sqrt(5 / 4) if others == "even" else math.sqrt(2.0)
    assert norm.item() == pytest.approx(factor * scores.target_grad_norm(log_probs, mask).item())


@MANY
@given(
    st.floats(-100.0, 0.0, width=32),
    st.floats(-100.0, 0.0, width=32),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_rounding_never_leaves_the_bounds(log_p: float, log_sq: float, dtype: torch.dtype) -> None:
    log_probs, mask = torch.tensor([[log_p]]).to(dtype), torch.ones(1, 1, dtype=torch.bool)
    log_sum_sq = torch.tensor([[log_sq]]).to(dtype)
    norm = scores.token_scores_from_log_probs(log_probs, mask, log_sum_sq_probs=log_sum_sq)
    bound = scores.target_grad_norm(log_probs, mask).item()
    assert bound * (1 - 1e-6) <= norm.logit_grad_norm().item() <= math.sqrt(2) * bound * (1 + 1e-6)
    assert norm.loss().dtype == torch.float32


def test_sure_tokens_keep_what_their_log_probabilities_keep() -> None:
    log_probs = torch.tensor([[-1e-20, -1e-30]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    bound = scores.target_grad_norm(log_probs, mask, Documents(torch.tensor([[0, 1]]), 2))
    assert bound.tolist() == pytest.approx([1e-20, 1e-30], rel=1e-6, abs=0)


def test_a_target_of_no_probability_has_its_norm() -> None:
    log_probs, mask = torch.tensor([[-1e4, -math.inf]]), torch.ones(1, 2, dtype=torch.bool)
    log_sum_sq = torch.tensor([[math.log(0.25), 0.0]])
    tokens = scores.token_scores_from_log_probs(log_probs, mask, log_sum_sq_probs=log_sum_sq)
    assert tokens.norms is not None
    assert tokens.norms.tolist() == [pytest.approx([math.sqrt(1.25), math.sqrt(2.0)])]


def test_tokens_that_do_not_count_may_hold_anything() -> None:
    log_probs = torch.tensor([[math.nan, -1.0], [math.inf, -math.inf]])
    mask = torch.tensor([[0, 1], [0, 0]])
    tokens = scores.token_scores_from_log_probs(log_probs, mask, log_sum_sq_probs=log_probs)
    assert tokens.loss().tolist() == [1.0, 0.0]
    assert tokens.logit_grad_norm().isfinite().all()
    assert scores.target_grad_norm(log_probs, mask).tolist() == pytest.approx([1 - 1 / math.e, 0])


def test_a_norm_that_is_not_known_is_not_made_up() -> None:
    tokens = scores.token_scores_from_log_probs(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"do not tell the logit-gradient norm.*target_grad_norm"):
        tokens.logit_grad_norm()


def test_log_probabilities_refuse() -> None:
    with pytest.raises(ValueError, match=r"one a token.*got torch.float32, \(1, 2, 3\) and \(1, 2"):
        scores.token_scores_from_log_probs(torch.zeros(1, 2, 3), torch.ones(1, 2))
    with pytest.raises(ValueError, match="log_sum_sq_probs must have the log-probabilities' shape"):
        scores.token_scores_from_log_probs(
            torch.zeros(1, 2), torch.ones(1, 2), log_sum_sq_probs=torch.zeros(2)
        )
