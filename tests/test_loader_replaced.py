"""A framework that rebuilds a wrapped loader, shards its sampler once more or reads ahead is told
which switch to set; what it sets on the loader reaches those who fetch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    SequentialSampler,
    get_worker_info,
)

from loops import Numbers, wrapped
from thresher import Full, Pruner
from thresher.errors import LoaderReplacedError

SWITCHES = {
    "lightning.fabric.utilities.data": "Lightning .*DataPruning.*use_distributed_sampler=False",
    "pytorch_lightning.utilities.data": "Lightning .*DataPruning.*use_distributed_sampler=False",
    "accelerate.data_loader": r"Accelerate .*integrations\.accelerate\.wrap\(accelerator",
    "ray.train.torch.train_loop_utils": "Ray Train .*move_to_device=False",
}


def call_in(module: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function as code of another module would."""
    namespace = {"__name__": module}
    exec("def call(function, *arguments): return function(*arguments)", namespace)
    return namespace["call"](function, *arguments)  # type: ignore[operator]


@pytest.mark.parametrize("module", SWITCHES)
def test_a_framework_that_rebuilds_the_loader_is_named_with_its_switch(module: str) -> None:
    _, loader = wrapped()
    with pytest.raises(LoaderReplacedError, match=SWITCHES[module]):
        call_in(module, type(loader), loader.dataset, 3)


@pytest.mark.parametrize("module", SWITCHES)
def test_a_framework_that_takes_the_sampler_is_named_with_its_switch(module: str) -> None:
    _, loader = wrapped()
    shard = BatchSampler(loader.sampler, 3, drop_last=False)
    with pytest.raises(LoaderReplacedError, match=SWITCHES[module]):
        call_in(module, list, shard)
    other = DataLoader(loader.dataset, batch_sampler=loader.batch_sampler)
    with pytest.raises(LoaderReplacedError, match=SWITCHES[module]):
        call_in(module, next, iter(other))


def test_a_pass_by_ray_train_which_is_a_batch_ahead_of_the_loop_is_refused() -> None:
    _, loader = wrapped()
    name = "ray.train.torch.train_loop_utils"
    with pytest.raises(LoaderReplacedError, match=r"Ray Train put.*ahead.*move_to_device=False"):
        call_in(name, iter, loader)
    for module in ("lightning.fabric.wrappers", "my_ray_script"):
        assert next(call_in(module, iter, loader)) is not None


def test_a_loader_that_ray_train_put_around_the_users_is_refused() -> None:
    plain = DataLoader(Numbers(12), 3)
    around = type("_WrappedDataLoader", (DataLoader,), {"__module__": "ray.train.torch"})
    prepared = object.__new__(around)
    prepared.__dict__.update(plain.__dict__)
    with pytest.raises(LoaderReplacedError, match=r"Ray Train put around.*before .*prepare_data"):
        Pruner(Full(), epochs=1).wrap(prepared)


def test_what_stands_for_a_sampler_is_of_a_type_that_trainers_do_not_replace() -> None:
    data = Numbers(12)
    batches = BatchSampler(SequentialSampler(data), 3, drop_last=False)
    for plain in (DataLoader(data, 3), DataLoader(data, batch_size=None, sampler=batches)):  # type: ignore[arg-type]
        loader = Pruner(Full(), epochs=1).wrap(plain)
        sampler: Any = loader.sampler
        assert isinstance(sampler, DistributedSampler)
        sampler.set_epoch(5)
        assert len(sampler) == len(list(sampler))


def test_anybody_else_may_look_at_the_ids_of_the_coming_pass() -> None:
    _, loader = wrapped()
    assert sorted(loader.sampler) == list(range(12))
    assert sorted(call_in("my_lightning_script", list, loader.sampler)) == list(range(12))


def as_floats(samples: list[Tensor]) -> Tensor:
    return DataLoader([]).collate_fn(samples).float()


def moved(worker: int) -> None:
    get_worker_info().dataset.num_samples = 1000 + worker  # type: ignore[union-attr]


class Told(Numbers):
    """Items say how long their data set is, as their worker knows it."""

    def __getitem__(self, index: int) -> Tensor:
        return super().__getitem__(index) * 0 + self.num_samples


def test_a_setting_that_is_changed_later_holds_for_the_next_pass() -> None:
    pruner, loader = wrapped()
    loader.collate_fn = as_floats
    for ids in loader:
        assert ids.is_floating_point()
        pruner.reduce(ids)


def test_a_worker_init_fn_that_is_set_later_runs_in_the_workers() -> None:
    plain = DataLoader(Told(12), 3, num_workers=1)
    pruner = Pruner(Full(), epochs=1)
    loader = pruner.wrap(plain)
    loader.worker_init_fn = moved
    assert [pruner.reduce(batch.float()).item() for batch in loader] == [1000] * 4
    assert plain.worker_init_fn is None, "the user's own is untouched"
