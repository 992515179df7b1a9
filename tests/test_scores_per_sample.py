"""`per_sample` is the mean over a sample's own elements, and masks never leak."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from score_reference import random
from thresher import scores

MANY = settings(max_examples=150, deadline=None)


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@MANY
@given(shapes, st.integers(0, 1000))
def test_per_sample_is_the_mean_over_a_samples_own_elements(
    shape: tuple[int, ...], seed: int
) -> None:
    loss = random(shape, seed)
    expected = torch.stack([sample.mean() for sample in loss])
    assert torch.allclose(scores.per_sample(loss), expected, rtol=1e-12)


@MANY
@given(shapes, st.integers(0, 1000), st.sampled_from([torch.bool, torch.int64, torch.float32]))
def test_per_sample_counts_unmasked_elements_only(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    loss = random(shape, seed).requires_grad_()
    keep = random(shape, seed + 1) > 0.3
    result = scores.per_sample(loss, keep.to(dtype))
    expected = [x[k].mean().item() if k.any() else 0.0 for x, k in zip(loss, keep, strict=True)]
    assert result.tolist() == pytest.approx(expected, rel=1e-12)
    result.sum().backward()
    own = keep.reshape(len(keep), -1).sum(1).clamp(min=1).double()
    gradient = keep / own.reshape(-1, *[1] * (len(shape) - 1))
    assert loss.grad is not None
    assert torch.allclose(loss.grad, gradient.double())


def test_masked_nan_and_infinity_reach_neither_the_score_nor_the_gradient() -> None:
    loss = torch.tensor([[1.0, math.nan], [math.inf, 2.0], [math.nan, math.inf]])
    loss.requires_grad_()
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    result = scores.per_sample(loss, mask)
    assert result.tolist() == [1.0, 2.0, 0.0]
    result.sum().backward()
    assert loss.grad is not None
    assert torch.equal(loss.grad, mask.float())


def test_an_unmasked_nan_is_passed_on() -> None:
    assert scores.per_sample(torch.tensor([[1.0, math.nan]])).isnan().all()


def test_masks_may_leave_out_or_repeat_dimensions() -> None:
    loss = torch.arange(12.0).view(2, 3, 2)
    tokens = torch.tensor([[1, 1, 0], [0, 0, 1]])
    assert scores.per_sample(loss, tokens).tolist() == [1.5, 10.5]
    assert scores.per_sample(loss, tokens.unsqueeze(2)).tolist() == [1.5, 10.5]
    assert scores.per_sample(loss, torch.tensor([[[1, 0]]])).tolist() == [2.0, 8.0]
    assert scores.per_sample(torch.tensor([3.0, 4.0]), torch.tensor([0, 1])).tolist() == [0.0, 4.0]


def test_per_sample_keeps_the_dtype_and_does_not_overflow_in_half_precision() -> None:
    loss = torch.full((1, 4), 6e4, dtype=torch.float16)
    assert scores.per_sample(loss).tolist() == [scores.per_sample(loss[:, :1]).item()]
    assert scores.per_sample(loss).dtype == torch.float16
    assert scores.per_sample(loss, torch.ones(1, 4)).dtype == torch.float16


def test_per_sample_of_nothing() -> None:
    assert scores.per_sample(torch.zeros(0, 3)).shape == (0,)
    assert scores.per_sample(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)
    assert scores.per_sample(torch.zeros(2, 0)).tolist() == [0.0, 0.0]


def test_per_sample_refuses() -> None:
    with pytest.raises(
        ValueError, match=r'got a scalar. Build the criterion with reduction="none"'
    ):
        scores.per_sample(torch.tensor(1.0))
    for shape in [(3,), (2, 2), (2, 3, 1), ()]:
        with pytest.raises(ValueError, match=r"mask must have the loss's shape \(2, 3\)"):
            scores.per_sample(torch.zeros(2, 3), torch.ones(shape))
