"""Every mistake that is refused: what came, what was expected, what to do about it."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SubsetRandomSampler

import thresher
from thresher import Full, InfoBatch, Omission, Pruner, RandomPruning, RePB, errors
from thresher.errors import ThresherError, ThresherWarning

N = 12
FAMILY = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, ThresherError) and kind is not ThresherError
]


def plain(**settings: Any) -> DataLoader[Any]:
    return DataLoader(torch.arange(N), **{"batch_size": 4, "shuffle": True, **settings})


def wrapped(**settings: Any) -> tuple[Pruner, Any]:
    pruner = Pruner(InfoBatch(), epochs=5)
    return pruner, pruner.wrap(plain(**settings))


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(N))


# ----------------------------------------------------------------- one mistake after the other


def a_ratio_in_percent() -> None:
    RandomPruning(prune_ratio=50)


def a_ratio_without_epochs() -> None:
    Pruner(RePB(prune_ratio=0.5))


def an_iterable_data_set() -> None:
    Pruner(InfoBatch(), epochs=5).wrap(DataLoader(Stream(), 4))


def a_sampler_of_the_users() -> None:
    Pruner(InfoBatch(), epochs=5).wrap(
        DataLoader(torch.arange(N), 4, sampler=SubsetRandomSampler(range(6)))
    )


def a_batch_sampler_of_the_users() -> None:
    class Pairs(BatchSampler):
        pass

    batches = Pairs(range(N), 2, drop_last=False)
    Pruner(InfoBatch(), epochs=5).wrap(DataLoader(torch.arange(N), batch_sampler=batches))


def no_loader_at_all() -> None:
    Pruner(InfoBatch(), epochs=5).wrap([torch.zeros(4)])  # type: ignore[type-var]


def a_loader_wrapped_twice() -> None:
    pruner, loader = wrapped()
    pruner.wrap(loader)


def a_data_set_of_another_length() -> None:
    pruner, _ = wrapped()
    pruner.wrap(DataLoader(torch.arange(N + 1), 4, shuffle=True))


def a_data_set_that_grew() -> None:
    pruner = Pruner(InfoBatch(), epochs=5)
    samples = list(range(N))
    loader = pruner.wrap(DataLoader(samples, 4, shuffle=True))  # type: ignore[arg-type]
    samples.append(1)
    iter(loader)


def reduce_without_a_loop() -> None:
    wrapped()[0].reduce(torch.rand(4))


def reduce_without_a_loader() -> None:
    Pruner(InfoBatch(), epochs=5).reduce(torch.rand(4))


def reading_ahead() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    next(batches)
    pruner.reduce(torch.rand(4))


def fetching_in_a_thread() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    thread = threading.Thread(target=next, args=(batches,))
    thread.start()
    thread.join()
    pruner.reduce(torch.rand(4))


def reducing_twice() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    pruner.reduce(torch.rand(4))
    pruner.reduce(torch.rand(4))


def a_batch_of_a_plan_that_was_dropped() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    pruner.reduce(torch.rand(4))
    early = iter(loader)
    next(early)
    next(batches)
    pruner.reduce(torch.rand(4))
    next(early)
    pruner.reduce(torch.rand(4))


def a_mean_loss() -> None:
    pruner, loader = wrapped()
    next(batches := iter(loader))
    pruner.reduce(torch.rand(4).mean())
    del batches


def a_dense_loss() -> None:
    pruner, loader = wrapped()
    next(batches := iter(loader))
    pruner.reduce(torch.rand(4, 7))
    del batches


def a_number() -> None:
    wrapped()[0].reduce(0.3)  # type: ignore[arg-type]


def losses_of_another_length() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    pruner.reduce(torch.rand(3))


def scores_of_another_length() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    pruner.reduce(torch.rand(4), scores={"loss": torch.rand(3)})


def ids_of_another_length() -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe([0, 1, 2], torch.rand(2))


def a_missing_score() -> None:
    pruner = Pruner(Omission(), epochs=5, num_samples=N)
    ids = pruner.plan(0).ids[:4]
    pruner.reduce(torch.rand(4), ids=ids)


def a_first_batch_of_nan() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    pruner.reduce(torch.full((4,), torch.nan))


def an_epoch_of_nan() -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe(pruner.plan(0).ids, torch.full((N,), torch.nan))
    pruner.plan(1)


def an_id_that_is_not_planned() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.5), epochs=5, num_samples=N)
    pruner.observe(range(N), torch.rand(N))


def an_id_that_does_not_exist() -> None:
    Pruner(InfoBatch(), epochs=5, num_samples=N).observe([N], torch.rand(1))


def the_epoch_after_next() -> None:
    Pruner(InfoBatch(), epochs=5, num_samples=N).plan(2)


def an_epoch_without_a_batch() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.9), epochs=5)
    iter(pruner.wrap(plain(drop_last=True)))


def a_state_of_another_method() -> None:
    state = Pruner(InfoBatch(), epochs=5, num_samples=N).state_dict()
    Pruner(RePB(), epochs=5, num_samples=N).load_state_dict(state)


MISTAKES: dict[Callable[[], None], tuple[type[ThresherError], str]] = {
    a_ratio_in_percent: (errors.SettingError, "If you meant 50 percent, write 0.5"),
    a_ratio_without_epochs: (errors.SettingError, r"epochs=\.\.\.\), or steps="),
    an_iterable_data_set: (errors.IterableDatasetError, "Stream .*map-style"),
    a_sampler_of_the_users: (errors.SamplerError, "SubsetRandomSampler.*shuffle=True"),
    a_batch_sampler_of_the_users: (errors.SamplerError, "batch sampler.* Pairs.*pruner.plan"),
    no_loader_at_all: (errors.SamplerError, "a list;.*DataLoader"),
    a_loader_wrapped_twice: (errors.AlreadyWrappedError, "wrap once"),
    a_data_set_of_another_length: (errors.DatasetChangedError, "13 samples.*12.*new Pruner"),
    a_data_set_that_grew: (errors.DatasetChangedError, "13 samples.*12.*new Pruner"),
    reduce_without_a_loop: (errors.NotIteratedError, "no batch in hand.*Iterate that loader"),
    reduce_without_a_loader: (errors.NotIteratedError, "no data set yet.*wrap"),
    reading_ahead: (errors.ReadAheadError, "2 batches.*batch_ids"),
    fetching_in_a_thread: (errors.ReadAheadError, "another thread.*batch_ids"),
    reducing_twice: (errors.ReducedTwiceError, "reduced already.*one reduce"),
    a_batch_of_a_plan_that_was_dropped: (errors.StaleBatchError, r"epoch 1 .*iter\(loader\)"),
    a_mean_loss: (errors.ScalarLossError, "a scalar.*reduction='none'"),
    a_dense_loss: (errors.ScalarLossError, r"\(4, 7\).*\(4,\).*per_sample"),
    a_number: (errors.ScalarLossError, "type float.*reduction='none'"),
    losses_of_another_length: (errors.BatchMismatchError, "3 losses .* 4 samples.*ids=ids"),
    scores_of_another_length: (errors.BatchMismatchError, r"'loss' of shape \(3,\).*\(4,\)"),
    ids_of_another_length: (errors.BatchMismatchError, "2 losses .* 3 samples"),
    a_missing_score: (errors.MissingScoreError, r"Omission.*scores\.logit_grad_norm\("),
    a_first_batch_of_nan: (errors.AllLossesNaNError, "All 4 losses of the first batch"),
    an_epoch_of_nan: (errors.AllLossesNaNError, "All 12 scores of epoch 0"),
    an_id_that_is_not_planned: (errors.UnplannedIdError, r"only samples of its plan \(6 of 12\)"),
    an_id_that_does_not_exist: (errors.UnplannedIdError, r"samples \[12\]"),
    the_epoch_after_next: (errors.EpochError, r"plan\(2\); expected: 0, in progress, or 1"),
    an_epoch_without_a_batch: (errors.EmptyEpochError, "1 samples.*drop_last=False"),
    a_state_of_another_method: (errors.CheckpointError, r"InfoBatch\(.*RePB\("),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_refused_by_name_with_a_cure(mistake: Callable[[], None]) -> None:
    kind, message = MISTAKES[mistake]
    with pytest.raises(ThresherError, match=message) as caught:
        mistake()
    assert type(caught.value) is kind
    assert caught.value.came
    assert caught.value.expected
    assert caught.value.cure
    text = str(caught.value)
    assert text.endswith(".")
    assert ".." not in text.replace("...", "")
    assert "; expected: " in text


def test_every_kind_of_error_is_raised_above() -> None:
    assert {kind for kind, _ in MISTAKES.values()} == set(FAMILY)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying(kind: type[ThresherError]) -> None:
    error = kind("a; b.", "c (d)", "e 'f'")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert (twin.came, twin.expected, twin.cure) == ("a; b.", "c (d)", "e 'f'")
        assert str(twin) == str(error) == "a; b.; expected: c (d). e 'f'."


def test_parts_that_are_not_given_leave_no_trace() -> None:
    assert str(ThresherError("came")) == "came."
    assert str(ThresherError("came.", cure="Do this.")) == "came. Do this."
    assert str(ThresherError("came", "this")) == "came; expected: this."


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.SettingError, ValueError)
    assert issubclass(errors.ScalarLossError, ValueError)
    assert issubclass(errors.UnplannedIdError, KeyError)
    assert issubclass(errors.IterableDatasetError, TypeError)
    assert issubclass(errors.AllLossesNaNError, ArithmeticError)
    assert issubclass(ThresherWarning, UserWarning)


def raises_of_the_family() -> list[tuple[str, ast.Call]]:
    names, found = {kind.__name__ for kind in FAMILY}, []
    for path in sorted(Path(thresher.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in names:
                found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_no_refusal_in_the_source_lacks_what_was_expected_or_a_cure() -> None:
    found = raises_of_the_family()
    assert len(found) > 40
    for where, call in found:
        # A setting out of its range: saying the range is saying what to do.
        needed = 2 if call.func.id == "SettingError" else 3  # type: ignore[attr-defined]
        assert len(call.args) >= needed, where


def test_a_refused_batch_can_be_given_again_correctly() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    for wrong in (torch.rand(4).mean(), torch.rand(3), torch.full((4,), torch.nan)):
        with pytest.raises(ThresherError):
            pruner.reduce(wrong)
        assert pruner.position == 0
    pruner.reduce(torch.rand(4))
    assert pruner.position == 4
    assert Pruner(Full(), epochs=1).epoch == 0
