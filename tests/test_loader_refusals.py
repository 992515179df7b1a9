"""What no plan can drive is refused at wrap or at the first batch, and the cure is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from loops import Everything, Numbers, loss_of, train, wrapped
from thresher import InfoBatch, Pruner, RandomPruning
from thresher.errors import (
    AllLossesNaNError,
    AlreadyWrappedError,
    DatasetChangedError,
    EmptyEpochError,
    IterableDatasetError,
    NotIteratedError,
    SamplerError,
    ScalarLossError,
    SettingError,
    ThresherError,
)

DATA = Numbers(12)
USE_SHUFFLE = "shuffle=True or False"
USE_IDS = r"pruner\.plan\(epoch\) and pruner\.reduce\(losses, ids=ids\)"


class Own(Sampler[int]):
    def __init__(self, data: Any = None) -> None: ...

    def __iter__(self) -> Iterator[int]:
        return iter(range(12))

    def __len__(self) -> int:
        return 12


class OwnRandom(RandomSampler):
    """A subclass may order its samples in any way."""


class OwnBatches(BatchSampler):
    """A subclass may group its samples in any way."""


SAMPLERS: dict[str, tuple[Any, str, str]] = {
    "own": (Own(), "a sampler of its own, Own", USE_SHUFFLE),
    "subclass": (OwnRandom(DATA), "a sampler of its own, OwnRandom", USE_SHUFFLE),
    "list": (list(range(12)), "a sampler of its own, list", USE_SHUFFLE),
    "weighted": (
        WeightedRandomSampler([1.0] * 12, 12),
        "a sampler of its own, WeightedRandomSampler",
        USE_IDS,
    ),
    "subset": (SubsetRandomSampler(range(6)), "SubsetRandomSampler", USE_IDS),
    "replacement": (
        RandomSampler(DATA, replacement=True),
        "RandomSampler draws 12 of 12 samples with replacement",
        "each sample once an epoch",
    ),
    "fewer at random": (
        RandomSampler(DATA, num_samples=5),
        "RandomSampler draws 5 of 12 samples",
        r"torch\.utils\.data\.Subset",
    ),
    "fewer in order": (
        SequentialSampler(range(6)),
        "SequentialSampler draws 6 of 12 samples",
        r"torch\.utils\.data\.Subset",
    ),
    "several ranks": (
        DistributedSampler(DATA, num_replicas=2, rank=1),
        "is for rank 1 of 2",
        "rank 0 of 1, as torch.distributed has it.*to train in one process",
    ),
}


@pytest.mark.parametrize("where", ["sampler", "batch_sampler", "bulk"])
@pytest.mark.parametrize(("sampler", "came", "cure"), SAMPLERS.values(), ids=SAMPLERS)
def test_a_sampler_that_no_plan_can_stand_for_is_refused(
    sampler: Any, came: str, cure: str, where: str
) -> None:
    if where == "sampler":
        loader: Any = DataLoader(DATA, 3, sampler=sampler)
    elif where == "batch_sampler":
        loader = DataLoader(DATA, batch_sampler=BatchSampler(sampler, 3, False))
    else:
        loader = DataLoader(DATA, None, sampler=BatchSampler(sampler, 3, False))  # type: ignore[arg-type]
    with pytest.raises(SamplerError, match=f"{came}.*; expected: .*{cure}") as caught:
        Pruner(InfoBatch(), epochs=8).wrap(loader)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("where", ["batch_sampler", "bulk"])
@pytest.mark.parametrize(
    "batches", [OwnBatches(SequentialSampler(DATA), 3, False), [[0, 1], [2]]], ids=["class", "list"]
)
def test_a_batch_sampler_of_ones_own_is_refused(batches: Any, where: str) -> None:
    if where == "batch_sampler":
        loader: Any = DataLoader(DATA, batch_sampler=batches)
    else:
        loader = DataLoader(DATA, None, sampler=batches)
    with pytest.raises(SamplerError, match=rf"sampler of its own, .*{USE_SHUFFLE}.*{USE_IDS}"):
        Pruner(InfoBatch(), epochs=8).wrap(loader)


def test_an_iterable_data_set_is_refused() -> None:
    class Stream(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            return iter(torch.arange(12))

        def __len__(self) -> int:
            return 12

    with pytest.raises(IterableDatasetError, match=r"Stream has no sample ids.*map-style data set"):
        Pruner(InfoBatch(), epochs=8).wrap(DataLoader(Stream(), 3))


def test_a_data_set_without_a_length_is_refused() -> None:
    class Endless:
        def __getitem__(self, index: int) -> int:
            return index

    loader: Any = DataLoader(Endless(), 3, sampler=Own())  # type: ignore[arg-type]
    with pytest.raises(IterableDatasetError, match=r"Endless has no .* __getitem__ and __len__"):
        Pruner(InfoBatch(), epochs=8).wrap(loader)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(SettingError, match="A data set of 0 samples; expected: at least one"):
        Pruner(InfoBatch(), epochs=8).wrap(DataLoader(Numbers(0), 3))


def test_a_loader_that_is_wrapped_already_is_refused() -> None:
    pruner, loader = wrapped()
    for again in (pruner, Pruner(InfoBatch(), epochs=8)):
        with pytest.raises(
            AlreadyWrappedError, match=r"the loader you built. Call pruner.wrap once"
        ):
            again.wrap(loader)


@pytest.mark.parametrize("loader", [[torch.zeros(3)], DATA, None, iter(DataLoader(DATA))])
def test_what_is_no_dataloader_is_refused(loader: Any) -> None:
    expected = rf"wrap got a {type(loader).__name__}; expected: a torch.utils.data.DataLoader"
    with pytest.raises(SamplerError, match=rf"{expected}.*{USE_IDS}"):
        Pruner(InfoBatch(), epochs=8).wrap(loader)


def test_a_data_set_that_changes_its_length_is_refused_at_the_next_pass() -> None:
    data = Numbers(12)
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(DataLoader(data, 3, shuffle=True))
    train(pruner, loader, 0)
    data.num_samples = 13
    for pass_over in (loader, loader.sampler):
        with pytest.raises(
            DatasetChangedError, match=r"has 13 samples; expected: 12, .*new Pruner"
        ):
            iter(pass_over)
    data.num_samples = 12
    train(pruner, loader, 1)


def test_a_second_loader_of_another_length_or_order_is_refused() -> None:
    pruner, loader = wrapped()
    with pytest.raises(DatasetChangedError, match=r"A data set of 13 samples; expected: 12"):
        pruner.wrap(DataLoader(Numbers(13), 3, shuffle=True))
    train(pruner, loader, 0)
    with pytest.raises(SettingError, match=r"has shuffle=True, and now shuffle=False; .*one order"):
        pruner.wrap(DataLoader(Numbers(12), 3))


def test_an_epoch_without_a_single_batch_is_refused() -> None:
    _, loader = wrapped(12, 7, RandomPruning(prune_ratio=0.5), drop_last=True)
    assert len(loader) == 0
    cure = r"Lower the prune ratio or the batch size, or set drop_last=False\."
    with pytest.raises(EmptyEpochError, match=rf"has 6 samples and .* no batch of 7; .*{cure}$"):
        iter(loader)


LOSSES: dict[str, tuple[Any, str]] = {
    "scalar": (torch.tensor(2.0), r"The loss is a scalar; .*reduction='none'"),
    "2-D": (torch.zeros(3, 1), r"shape \(3, 1\); .*shape \(3,\)\. .*per_sample\(losses, mask\)"),
    "4-D": (torch.zeros(3, 2, 2, 2), r"thresher\.scores\.per_sample"),
    "float": (0.7, r"The loss is of type float; expected: one loss a sample.*reduction='none'"),
    "None": (None, r"of type NoneType"),
    "list": ([0.1, 0.2, 0.3], r"of type list; expected: one loss a sample, a tensor"),
}


@pytest.mark.parametrize(("losses", "message"), LOSSES.values(), ids=LOSSES)
def test_losses_that_are_not_one_number_a_sample_are_refused(losses: Any, message: str) -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    batch = next(batches)
    for ids in (None, batch):
        with pytest.raises(ScalarLossError, match=message):
            pruner.reduce(losses, ids=ids)
    if isinstance(losses, Tensor):
        with pytest.raises(ScalarLossError, match=message):
            pruner.observe(batch, losses)
    # The refusal cost nothing: the same batch still trains.
    pruner.reduce(loss_of(batch, 0))
    assert pruner.position == 3


def test_a_first_batch_without_one_number_is_refused() -> None:
    pruner, loader = wrapped()
    with pytest.raises(
        AllLossesNaNError, match=r"All 3 losses of the first batch are NaN; .*Check"
    ):
        train(pruner, loader, 0, lambda batch: batch * torch.nan)


def test_everything_needs_a_data_set_first() -> None:
    pruner = Pruner(Everything(), epochs=8)
    for call in (lambda: pruner.reduce(torch.ones(3)), lambda: pruner.plan(0), pruner.state_dict):
        with pytest.raises(NotIteratedError, match=r"no data set yet; .*pruner\.wrap\(loader\)"):
            call()


def test_every_refusal_is_of_one_family() -> None:
    for kind in (SamplerError, ScalarLossError, EmptyEpochError, DatasetChangedError):
        assert issubclass(kind, ThresherError)
