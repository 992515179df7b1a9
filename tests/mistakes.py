"""One mistake after the other, and what it is refused by."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SubsetRandomSampler

from thresher import InfoBatch, Omission, Pruner, RandomPruning, RePB, errors
from thresher.errors import ThresherError
from thresher.parallel.exchange import Exchange

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


def a_loader_rebuilt_by_its_arguments() -> None:
    _, loader = wrapped()
    type(loader)(loader.dataset, loader.batch_size)


def an_epoch_without_a_batch() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.9), epochs=5)
    iter(pruner.wrap(plain(drop_last=True)))


def a_state_of_another_method() -> None:
    state = Pruner(InfoBatch(), epochs=5, num_samples=N).state_dict()
    Pruner(RePB(), epochs=5, num_samples=N).load_state_dict(state)


class TwoRanks:
    """What ranks gather whose batches are of 3 and of 4 samples."""

    rank, world_size = 0, 2

    def gathered(self, values: np.ndarray) -> np.ndarray:
        return np.stack([values, np.where(values == 3, 4, values)])


def a_stream_that_repeats_an_id() -> None:
    class Twice(IterableDataset[dict[str, int]]):
        def __iter__(self) -> Iterator[dict[str, int]]:
            return iter([{"id": 1}, {"id": 1}])

    pruner = Pruner(InfoBatch(), epochs=8, num_samples=2)
    next(iter(pruner.wrap(DataLoader(Twice(), 2), ids="id")))


def ranks_with_different_batches() -> None:
    exchange = Exchange(cast("Any", TwoRanks()), {"method": "InfoBatch()"})
    exchange.agree("opening an epoch", {"batch size": 3})


MISTAKES: dict[Callable[[], None], tuple[type[ThresherError], str]] = {
    a_ratio_in_percent: (errors.SettingError, "If you meant 50 percent, write 0.5"),
    a_ratio_without_epochs: (errors.SettingError, r"epochs=\.\.\.\), or steps="),
    an_iterable_data_set: (errors.IterableDatasetError, "Stream .*map-style"),
    a_stream_that_repeats_an_id: (errors.StreamIdError, r"twice .* \[1\];.*each sample once"),
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
    a_loader_rebuilt_by_its_arguments: (
        errors.LoaderReplacedError,
        "rebuilt the wrapped loader.*as pruner.wrap returned it",
    ),
    an_epoch_without_a_batch: (errors.EmptyEpochError, "1 samples.*drop_last=False"),
    a_state_of_another_method: (errors.CheckpointError, r"InfoBatch\(.*RePB\("),
    ranks_with_different_batches: (
        errors.RanksDisagreeError,
        r"batch size \(3 on rank 0; 4 on rank 1\).*loader and pruner alike",
    ),
}
