"""Every static method keeps every law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contracts import laws
from static.found import CLASSES_OF_DATA, METHODS, SCORES, made_up, short
from thresher.errors import MissingScoreError, SettingError
from thresher.static import Collected, Random, ScoreMethod, StaticMethod
from thresher.static.signals import SIGNALS

SIZE = 61

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)
of_every_score = pytest.mark.parametrize("method", SCORES, ids=short)


def require_valid(method: StaticMethod, data: Collected, ratio: float) -> tuple[Tensor, Tensor]:
    """Exactly k ids, unique and in range, and a positive, finite weight for each."""
    ids, weights = method.select(data, prune_ratio=ratio)
    size = data.num_samples
    assert ids.dtype == torch.int64
    assert ids.shape == (max(1, round((1 - ratio) * size)),)
    assert len(ids.unique()) == len(ids)
    assert int(ids.min()) >= 0
    assert int(ids.max()) < size
    assert weights.dtype == torch.float32
    assert weights.shape == ids.shape
    assert bool(weights.isfinite().all())
    assert bool((weights > 0).all())
    return ids, weights


@of_every_method
@pytest.mark.usefixtures("unchanged_global_rng")
def test_exactly_the_size_asked_is_chosen(method: StaticMethod) -> None:
    data = made_up(SIZE, method)
    for ratio in (0.0, 0.25, 0.5, 0.9, 0.999):
        require_valid(method, data, ratio)


@of_every_method
def test_a_few_samples_are_enough(method: StaticMethod) -> None:
    for size in (1, 2, 3):
        for ratio in (0.0, 0.4, 0.7):
            require_valid(method, made_up(size, method), ratio)


@of_every_method
def test_everything_is_chosen_at_ratio_zero(method: StaticMethod) -> None:
    ids, _ = method.select(made_up(SIZE, method), prune_ratio=0.0)
    assert sorted(ids.tolist()) == list(range(SIZE))


@of_every_method
def test_balanced_classes_have_their_quotas(method: StaticMethod) -> None:
    data = made_up(SIZE, method)
    assert data.labels is not None
    for ratio in (0.3, 0.5, 0.9):
        ids, _ = require_valid(replace(method, balanced=True), data, ratio)
        sizes = data.labels.bincount(minlength=CLASSES_OF_DATA)
        exact = sizes.double() * len(ids) / SIZE
        chosen = data.labels[ids].bincount(minlength=CLASSES_OF_DATA)
        assert bool(((chosen - exact).abs() < 1).all()), (sizes, chosen)


@of_every_method
def test_a_single_class_is_balanced_by_itself(method: StaticMethod) -> None:
    data = made_up(SIZE, method)
    assert data.labels is not None
    one = replace(data, labels=torch.zeros_like(data.labels))
    chosen = [
        replace(method, balanced=balanced).select(one, prune_ratio=0.6)
        for balanced in (False, True)
    ]
    assert torch.equal(chosen[0][0], chosen[1][0])
    assert torch.equal(chosen[0][1], chosen[1][1])


@of_every_method
def test_the_same_data_give_the_same_choice_and_stay_as_they_are(method: StaticMethod) -> None:
    data, again = made_up(SIZE, method), made_up(SIZE, method)
    first, second = (method.select(data, prune_ratio=0.5) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    for name in ("labels", "features", "probabilities"):
        assert torch.equal(getattr(data, name), getattr(again, name)), name
    for name, score in data.scores.items():
        assert torch.equal(score, again.scores[name]), name


@of_every_method
def test_data_without_differences_can_be_chosen_from(method: StaticMethod) -> None:
    """All samples equal, or all fitted exactly: no gradient, no distance, no order."""
    data = made_up(SIZE, method)
    assert data.labels is not None
    assert data.features is not None
    assert data.probabilities is not None
    certain = torch.nn.functional.one_hot(data.labels, CLASSES_OF_DATA).float()
    same = replace(
        data,
        features=torch.ones_like(data.features),
        probabilities=torch.full_like(data.probabilities, 1 / CLASSES_OF_DATA),
        scores={name: torch.zeros(SIZE) for name in data.scores},
    )
    fitted = replace(data, probabilities=certain)
    nothing = replace(same, probabilities=certain, features=torch.zeros_like(data.features))
    for each in (same, fitted, nothing):
        require_valid(method, each, 0.7)
        require_valid(replace(method, balanced=True), each, 0.7)


@of_every_method
def test_what_is_missing_is_named(method: StaticMethod) -> None:
    bare = Collected(scores={"unheard of": torch.zeros(4)})
    if not method.wants() and not method.balanced:
        return
    with pytest.raises(MissingScoreError) as refusal:
        method.select(bare, prune_ratio=0.5)
    for name in (*method.wants(), *(("labels",) if method.balanced else ())):
        assert name in str(refusal.value)


@of_every_method
def test_settings_survive_repr_pickle_and_copy(method: StaticMethod) -> None:
    laws.settings_survive_repr_pickle_and_copy(method)  # type: ignore[arg-type]
    laws.settings_are_frozen(method)  # type: ignore[arg-type]


@of_every_method
@pytest.mark.parametrize("ratio", [-0.1, 1.0, 50.0, math.nan])
def test_a_ratio_outside_of_its_interval_is_refused(method: StaticMethod, ratio: float) -> None:
    with pytest.raises(SettingError, match="prune_ratio"):
        method.select(made_up(5, method), prune_ratio=ratio)


@of_every_method
def test_defaults_of_torch_do_not_change_a_choice(method: StaticMethod) -> None:
    data = made_up(SIZE, method)
    expected = method.select(data, prune_ratio=0.6)
    torch.set_default_dtype(torch.float64)
    try:
        found = method.select(data, prune_ratio=0.6)
    finally:
        torch.set_default_dtype(torch.float32)
    # Whatever is made on the meta device by mistake has no data and cannot be read.
    with torch.device("meta"):
        elsewhere = method.select(data, prune_ratio=0.6)
    for ids, weights in (found, elsewhere):
        assert torch.equal(ids, expected[0])
        assert torch.equal(weights, expected[1])
        assert weights.dtype == torch.float32


@of_every_score
def test_a_stricter_choice_is_the_beginning_of_a_looser_one(method: ScoreMethod) -> None:
    method, data = replace(method, balanced=False), made_up(SIZE, method)
    longest, _ = method.select(data, prune_ratio=0.0)
    for ratio in (0.1, 0.5, 0.8, 0.95):
        ids, _ = method.select(data, prune_ratio=ratio)
        assert torch.equal(ids, longest[: len(ids)])


@of_every_score
def test_the_largest_scores_are_kept_with_ties_to_the_lower_id(method: ScoreMethod) -> None:
    for seed in range(3):
        data = made_up(SIZE, method, seed=seed)
        score = method.score(data).double()
        assert score.shape == (SIZE,)
        ids, _ = replace(method, balanced=False).select(data, prune_ratio=0.0)
        ordered = sorted(range(SIZE), key=lambda i, s=score: (-float(s[i]), i))
        assert ids.tolist() == ordered


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@of_every_score
def test_what_has_no_score_comes_first(method: ScoreMethod, value: float) -> None:
    data = made_up(SIZE, replace(method, balanced=False))
    name = next(iter(method.wants()), "")
    if not (name in SIGNALS or name in data.scores):
        return  # it makes its score by itself
    signal = data.signal(name).clone()
    signal[[7, 3, 40]] = value
    broken = replace(data, scores={name: signal})
    ids, _ = replace(method, balanced=False).select(broken, prune_ratio=0.5)
    assert ids[:3].tolist() == [3, 7, 40]


@of_every_score
def test_relabelling_samples_relabels_a_choice_by_scores(method: ScoreMethod) -> None:
    if isinstance(method, Random):
        return
    data = made_up(SIZE, method)
    moved = torch.randperm(SIZE, generator=torch.Generator().manual_seed(5))

    def renamed(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[moved]

    other = replace(
        data,
        labels=renamed(data.labels),
        features=renamed(data.features),
        probabilities=renamed(data.probabilities),
        scores={name: score[moved] for name, score in data.scores.items()},
    )
    ours, _ = method.select(data, prune_ratio=0.6)
    theirs, _ = method.select(other, prune_ratio=0.6)
    assert set(ours.tolist()) == set(moved[theirs].tolist())


def test_methods_are_found() -> None:
    names = {type(method).__name__ for method in METHODS}
    assert {"Random", "EL2N", "GraND", "Forgetting", "LeastConfidence", "Entropy"} <= names
    assert {"Margin", "DeepFool", "MoSo", "DP", "InfoMax", "PerplexityBand"} <= names
