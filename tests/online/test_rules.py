"""The laws of an online rule: it is pure, and what it chooses can be trained."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from online.found import CLASSES, METHODS, looking, losses, short, shown
from thresher import online
from thresher.errors import SettingError
from thresher.online import Choice, OnlineMethod

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)
of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

SIZE, BATCH = 29, 8


def require_valid(choice: Choice, method: OnlineMethod, size: int) -> None:
    """Positions unique and in range; weights one each, float32, positive and finite."""
    positions, weights = choice.positions, choice.weights
    assert positions.dtype == torch.int64
    assert len(positions.unique()) == len(positions) <= size
    assert not len(positions) or 0 <= int(positions.min()) <= int(positions.max()) < size
    if weights is None:
        assert method.waits
    else:
        assert weights.dtype == torch.float32
        assert weights.shape == positions.shape
        assert len(positions) >= 1
        assert bool((weights.isfinite() & (weights > 0)).all())
    require_same_shapes(choice.memory, method.memory())


def require_same_shapes(memory: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> None:
    told = {name: (value.shape, value.dtype) for name, value in memory.items()}
    assert told == {name: (value.shape, value.dtype) for name, value in first.items()}


def followed(method: OnlineMethod, seed: int, looks: int = 30) -> list[Choice]:
    """What the method chooses from one candidate batch after the other."""
    choices, memory = list[Choice](), looking(method)
    for look in range(looks):
        scores = losses(SIZE, look)
        candidates = shown(method, scores, memory=memory, seed=1000 * seed + look)
        choices.append(method.choose(candidates))
        memory = choices[-1].memory
    return choices


@of_every_method
@pytest.mark.usefixtures("unchanged_global_rng")
def test_choices_can_be_trained_and_memory_keeps_its_shapes(method: OnlineMethod) -> None:
    choices = followed(method, seed=0)
    for choice in choices:
        require_valid(choice, method, SIZE)
    assert any(len(choice.positions) for choice in choices)


@of_every_method
def test_one_or_two_candidates_are_candidates_too(method: OnlineMethod) -> None:
    for size in (1, 2):
        for seed in range(20):
            scores = losses(size, seed)
            candidates = shown(method, scores, memory=looking(method), seed=seed, batch_size=1)
            require_valid(method.choose(candidates), method, size)


def equal(first: Choice, second: Choice) -> bool:
    pairs = zip(first, second, strict=True)
    flat = [(a.get("tau"), b.get("tau")) if isinstance(a, Mapping) else (a, b) for a, b in pairs]
    return all(a is b is None or torch.equal(a, b) for a, b in flat)  # type: ignore[arg-type]


@of_every_method
def test_the_same_seed_chooses_the_same_and_another_one_does_not(method: OnlineMethod) -> None:
    first, second, other = (followed(method, seed) for seed in (0, 0, 1))
    assert all(map(equal, first, second))
    prunes = any(len(choice.positions) < SIZE for choice in first)
    draws_nothing = isinstance(method, online.OrderedTopQ)  # but for ties
    assert not prunes or draws_nothing or not all(map(equal, first, other))


@of_every_method
def test_choosing_changes_nothing_that_it_is_given(method: OnlineMethod) -> None:
    memory = looking(method)
    for look in range(3):
        candidates = shown(method, losses(SIZE, look), memory=memory)
        before = copy.deepcopy((candidates.scores, candidates.memory))
        memory = dict(method.choose(candidates).memory)
        for now, then in zip((candidates.scores, candidates.memory), before, strict=True):
            assert now.keys() == then.keys()
            for name in now:
                assert torch.equal(now[name].nan_to_num(-1), then[name].nan_to_num(-1))


@of_every_method
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0])
def test_broken_and_zero_scores_leave_valid_choices(method: OnlineMethod, value: float) -> None:
    for damaged in (slice(None), slice(None, None, 3), slice(1)):
        memory = looking(method)
        for seed in range(5):
            scores = losses(SIZE, seed)
            scores[damaged] = value
            choice = method.choose(shown(method, scores, memory=memory, seed=seed))
            require_valid(choice, method, SIZE)
            assert not any(v.isinf().any() for v in choice.memory.values())
            memory = dict(choice.memory)
            assert not memory.get("tau", torch.tensor(0.0)).isnan()


@of_every_method
def test_settings_survive_repr_pickle_and_copy_and_are_frozen(method: OnlineMethod) -> None:
    kind = type(method)
    assert eval(repr(method), {kind.__name__: kind}) == method
    assert pickle.loads(pickle.dumps(method)) == method
    assert copy.deepcopy(method) == method
    assert hash(copy.copy(method)) == hash(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.candidates = 2.0  # type: ignore[misc]
    assert vars(method).keys() == {field.name for field in dataclasses.fields(method)}


@of_every_method
def test_candidate_batches_are_at_least_as_large_as_asked(method: OnlineMethod) -> None:
    assert 0 < method.kept <= 1
    for kept in (0.1, 0.5, 0.9):
        assert method.num_candidates(100, kept) >= 100 or method.candidates == 1
    if method.candidates == 3.0:
        assert method.num_candidates(100, 0.5) == 300


@of_every_class
def test_candidates_below_one_are_refused(kind: type[OnlineMethod]) -> None:
    for value in (0.0, 0.5, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="1 or more"):
            kind(candidates=value)


@of_every_class
def test_a_card_says_what_is_needed_and_where_it_is_from(kind: type[OnlineMethod]) -> None:
    assert kind.family == "online"
    assert set(kind.needs) <= {"loss", "logit_grad_norm"}
    assert "reference" in vars(kind)
    assert kind.reference.title
    assert kind.__doc__ is not None
    for section in ("Guarantees: ", "Cost: ", "Example:\n", "References:\n"):
        assert f"    {section}" in kind.__doc__
    inherited = {field.name for field in dataclasses.fields(OnlineMethod)}
    for field in dataclasses.fields(kind):
        assert field.name in inherited or f"        {field.name}: " in kind.__doc__


@pytest.mark.parametrize(
    "path", sorted(Path(online.__path__[0]).glob("[a-z]*.py")), ids=lambda path: path.stem
)
def test_a_methods_file_has_at_most_120_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120


def test_the_methods_are_found() -> None:
    assert {kind.__name__ for kind in CLASSES} == {
        "SelectiveBackprop",
        "ImportanceSampling",
        "ExtraForwardBernoulli",
        "OrderedTopQ",
    }
    assert len(METHODS) > 20


@of_every_class
def test_every_method_is_held_against_its_paper_in_a_file_of_its_own(
    kind: type[OnlineMethod],
) -> None:
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)
    assert (Path(__file__).parent / f"test{name}.py").exists()
