"""Laws of a classifier's scores: exact however sure the model is, and never of the wrong axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from thresher import scores
from thresher.errors import MissingScoreError

MANY = settings(max_examples=100, deadline=None)

OF_LOGITS: list[Callable[[Tensor], Tensor]] = [
    scores.confidence,
    scores.least_confidence,
    scores.margin,
    scores.entropy,
]
of_each = pytest.mark.parametrize("score", OF_LOGITS, ids=lambda score: score.__name__)


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exactly(logits: Tensor) -> dict[str, list[float]]:
    """The scores of each row from their definitions, in digits enough for p = 1 - 10⁻³⁵."""
    found: dict[str, list[float]] = {score.__name__: [] for score in OF_LOGITS}
    for row in logits.double().tolist():
        with localcontext(prec=80):
            powers = [Decimal(z).exp() for z in row]
            total = sum(powers)
            p = sorted((power / total for power in powers), reverse=True)
            found["confidence"].append(float(p[0]))
            found["least_confidence"].append(float(sum(p[1:], Decimal(0))))
            found["margin"].append(float(p[0] - (p[1] if len(p) > 1 else 0)))
            found["entropy"].append(float(-sum((each * each.ln() for each in p), Decimal(0))))
    return found


@MANY
@given(
    st.integers(1, 5), st.integers(1, 7), st.sampled_from([0.1, 1.0, 20.0]), st.integers(0, 9999)
)
def test_scores_are_what_their_definitions_say(
    num: int, num_classes: int, scale: float, seed: int
) -> None:
    # float32 logits of size 80 have an ulp of 8e-6, and a difference of two is exact to that.
    logits = (random((num, num_classes), seed) * scale).clamp(-40, 40)
    expected = exactly(logits)
    for score in OF_LOGITS:
        ours = score(logits)
        assert ours.dtype == torch.float32
        assert ours.tolist() == pytest.approx(expected[score.__name__], rel=2e-5, abs=1e-38)


@pytest.mark.parametrize("gap", [5.0, 20.0, 60.0])
def test_doubt_keeps_its_relative_accuracy_where_the_model_is_sure(gap: float) -> None:
    logits = random((32, 10), 0)
    logits[:, 3] = logits.amax(1) + gap
    expected = exactly(logits)
    for score in (scores.least_confidence, scores.entropy):
        assert score(logits).tolist() == pytest.approx(expected[score.__name__], rel=2e-5)
        assert bool((score(logits) > 0).all())


def test_a_margin_keeps_its_relative_accuracy_where_two_classes_nearly_tie() -> None:
    logits = torch.zeros(1, 3)
    logits[0, 1] = 2.0**-20
    assert scores.margin(logits).item() == pytest.approx(2.0**-20 / 3, rel=1e-5)


@of_each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_any_precision_are_read_exactly(
    score: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    logits = (random((6, 8), 1) * 4).to(dtype)
    assert score(logits).dtype == torch.float32
    assert torch.allclose(score(logits), score(logits.double()), rtol=1e-5, atol=0)
    targets = torch.arange(6)
    assert torch.equal(scores.correct(logits, targets), scores.correct(logits.double(), targets))


@of_each
def test_a_shift_of_all_logits_changes_nothing(score: Callable[[Tensor], Tensor]) -> None:
    logits = random((8, 5), 2, torch.float64)
    for shift in (-300.0, 300.0, 1e4):
        assert torch.allclose(score(logits + shift), score(logits), rtol=1e-6)


@of_each
def test_impossible_classes_count_as_absent(score: Callable[[Tensor], Tensor]) -> None:
    logits = random((4, 5), 3)
    masked = torch.cat([logits, torch.full((4, 2), -math.inf)], 1)
    assert torch.allclose(score(masked), score(logits), rtol=1e-6)
    single = torch.cat([logits[:, :1], torch.full((4, 2), -math.inf)], 1)
    certain = 1.0 if score in (scores.confidence, scores.margin) else 0.0
    assert score(single).tolist() == score(logits[:, :1]).tolist() == [certain] * 4


@of_each
def test_broken_logits_score_nan_and_leave_other_samples_alone(
    score: Callable[[Tensor], Tensor],
) -> None:
    logits = random((4, 5), 4)
    whole = score(logits)
    logits[1, 2], logits[2, 0], logits[3] = math.nan, math.inf, -math.inf
    assert score(logits).isnan().tolist() == [False, True, True, True]
    assert score(logits)[0] == whole[0]
    right = scores.correct(logits, torch.zeros(4, dtype=torch.int64))
    assert right.isnan().tolist() == [False, True, True, True]


@pytest.mark.usefixtures("unchanged_global_rng")
def test_no_score_has_a_graph_or_changes_its_input() -> None:
    logits, targets = random((4, 5), 5).requires_grad_(), torch.tensor([0, 1, 2, 3])
    before = logits.detach().clone()
    every = ("loss", "logit_grad_norm", "el2n", "correct", *(f.__name__ for f in OF_LOGITS))
    for name, score in scores.named(every, logits, targets).items():
        assert not score.requires_grad, name
        assert score.shape == (4,), name
    assert torch.equal(logits.detach(), before)


def test_torchs_defaults_do_not_matter() -> None:
    logits = random((4, 5), 6)
    expected = [score(logits).tolist() for score in OF_LOGITS]
    torch.set_default_dtype(torch.float64)
    try:
        assert [score(logits).tolist() for score in OF_LOGITS] == expected
        assert scores.correct(logits, torch.zeros(4).long()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------ against targets


def test_correct_compares_the_largest_logit_with_the_target() -> None:
    logits, targets = random((200, 4), 7), torch.arange(200) % 4
    expected = [float(max(range(4), key=row.__getitem__)) for row in logits.tolist()]
    right = scores.correct(logits, targets)
    assert right.tolist() == [
        float(p == t) for p, t in zip(expected, targets.tolist(), strict=True)
    ]
    assert 20 < right.sum() < 80
    soft = one_hot(targets, 4).float() * 0.9 + 0.025
    assert torch.equal(scores.correct(logits, soft), right)


def test_an_ignored_target_is_never_right() -> None:
    assert scores.correct(torch.zeros(2, 3), torch.tensor([-100, 0])).tolist() == [0.0, 1.0]


def test_el2n_is_the_length_of_the_error_vector() -> None:
    logits, targets = random((50, 6), 8) * 3, torch.arange(50) % 6
    error = logits.double().softmax(1) - one_hot(targets, 6)
    ours = scores.el2n(logits, targets)
    assert torch.allclose(ours.double(), error.norm(dim=1), rtol=1e-5)
    soft = random((50, 6), 9).softmax(1)
    error = logits.double().softmax(1) - soft.double()
    assert torch.allclose(scores.el2n(logits, soft).double(), error.norm(dim=1), rtol=1e-5)


# --------------------------------------------------------------------------------------- by name


def test_named_gives_what_a_method_needs_and_no_more() -> None:
    logits, targets = random((4, 5), 10), torch.tensor([0, 1, 2, 3])
    own = cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
    found = scores.named(("loss", "correct", "confidence"), logits, targets, own)
    assert list(found) == ["loss", "correct", "confidence"]
    assert torch.equal(found["loss"], own)
    assert torch.equal(found["correct"], scores.correct(logits, targets))
    assert torch.equal(found["confidence"], scores.confidence(logits))
    assert scores.named((), logits, targets) == {}


def test_named_computes_a_loss_that_the_loop_has_not() -> None:
    logits, targets = random((4, 5), 11).half(), torch.tensor([0, 1, 2, 3])
    loss = scores.named(("loss",), logits, targets)["loss"]
    assert torch.equal(loss, cross_entropy(logits.float(), targets, reduction="none"))


def test_named_refuses_a_name_it_does_not_know() -> None:
    with pytest.raises(
        MissingScoreError, match=r"'visits'; expected: one of loss, logit_grad_norm"
    ):
        scores.named(("visits",), torch.zeros(1, 2), torch.tensor([0]))


def test_shapes_that_hide_the_classes_are_refused() -> None:
    for logits in (
        torch.zeros(3),
        torch.zeros(2, 3, 4),
        torch.zeros(2, 0),
        torch.zeros(2, 3).int(),
    ):
        for score in OF_LOGITS:
            with pytest.raises(ValueError, match=r"logits must have shape \(B, C\), classes last"):
                score(logits)
        for score in (scores.correct, scores.el2n):
            with pytest.raises(ValueError, match=r"logits must have shape \(B, C\), classes last"):
                score(logits, torch.zeros(2, dtype=torch.int64))
    for targets in (torch.zeros(3, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(2)):
        with pytest.raises(ValueError, match=r"targets must have shape \(2,\)"):
            scores.correct(torch.zeros(2, 3), targets)


def test_an_empty_batch_has_no_scores() -> None:
    empty = torch.zeros(0, 3)
    for score in OF_LOGITS:
        assert score(empty).shape == (0,)
    assert scores.correct(empty, torch.zeros(0, dtype=torch.int64)).shape == (0,)
