"""The task of `by_hand` as Ray Train runs it: in each worker a loop by the guide, docs/ray.md."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import get_device, prepare_data_loader, prepare_model
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Epochs, Trained
from thresher import Pruner
from thresher.errors import ThresherError

PAGE = Path(__file__).parents[3] / "docs" / "ray.md"


def fit(accumulation: int = 1, *, prepares: bool = False) -> Trained:
    """Train to the end; `prepares`: let Ray prepare the wrapped loader as the guide allows."""
    size = ray.train.get_context().get_world_size()
    pruner, net = by_hand.pruner_of(accumulation), by_hand.network()
    model = prepare_model(net)
    steps = by_hand.steps_of(BATCH * size, accumulation)
    optimizer, schedule = by_hand.optimizer_of(model, steps)
    loader = pruner.wrap(DataLoader(by_hand.data(), BATCH, shuffle=True))
    if prepares:
        loader = prepare_data_loader(loader, move_to_device=False)
    scheduler = pruner.pace(schedule)
    batches, rates, leftover = Epochs(), list[float](), 0.0
    for epoch in range(EPOCHS):
        if size > 1:
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches[epoch], length = [], len(loader)
        for number, (ids, x, y) in enumerate(loader, 1):
            batches[epoch].append(ids.tolist())
            x, y = x.to(get_device()), y.to(get_device())
            is_step = number % accumulation == 0 or number == length
            with nullcontext() if is_step or size == 1 else model.no_sync():
                loss = pruner.reduce(by_hand.losses_of(model, x, y))
                (loss / accumulation).backward()
            if is_step:
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
        leftover = max(leftover, by_hand.largest_gradient(net))
    return by_hand.trained(batches, pruner, rates, net, leftover)


class LeftError(Exception):
    """A run leaves off."""


def by_the_page(log: str, saves: list[int], *, leaves: int = 0, dies: int = 0) -> Trained:
    """Train by the guide's lines, from what was reported last; note each step of all lives.

    Args:
        log: where each worker writes what it trained.
        saves: the steps after which to report.
        leaves: the step before which the run leaves off.
        dies: the step before which the last worker is killed, if it does not start there.
    """
    context = ray.train.get_context()
    pruner, net = by_hand.pruner_of(), by_hand.network()
    model = prepare_model(net)
    size = BATCH * context.get_world_size()
    optimizer, schedule = by_hand.optimizer_of(model, by_hand.steps_of(size, 1))
    ids, *columns = by_hand.data().tensors
    loader = pruner.wrap(DataLoader(TensorDataset(ids, ids), BATCH, shuffle=True))
    scheduler, rates, first = pruner.pace(schedule), dict[int, float](), 0

    def train_step(ids: Tensor, rows: Tensor) -> None:
        nonlocal first
        step, epoch = names["step"] + 1, pruner.epoch
        first = first or step
        if step == leaves:
            raise LeftError
        if step == dies and dies not in (first, first + 1):
            die()
        x, y = (column[rows] for column in columns)
        pruner.reduce(by_hand.losses_of(model, x, y)).backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        rates[epoch] = optimizer.param_groups[0]["lr"]
        with Path(f"{log}.{context.get_world_rank()}").open("a") as file:
            file.write(json.dumps([step, epoch, ids.tolist()]) + "\n")

    names: dict[str, Any] = {"os": os, "tempfile": tempfile, "torch": torch, "ray": ray}
    names |= {"model": model, "optimizer": optimizer, "scheduler": scheduler, "pruner": pruner}
    names |= {"loader": loader, "epochs": EPOCHS, "train_step": train_step}
    with suppress(LeftError):
        exec(lines(saves), names)
    return by_hand.trained({}, pruner, list(rates.values()), net, 0.0)


def lines(saves: list[int]) -> str:
    """The guide's lines that report and resume."""
    found = re.search(r"<!-- resume: .*? -->\n```python\n(.*?)```\n", PAGE.read_text(), re.S)
    assert found
    changed = found[1].replace("step % 100 == 0", f"step in {saves}")
    assert changed != found[1]
    return changed


def die() -> None:
    """Kill the last worker, when Ray has noted what was reported."""
    ray.train.get_all_reported_checkpoints()
    context = ray.train.get_context()
    if context.get_world_rank() == context.get_world_size() - 1:
        os.kill(os.getpid(), signal.SIGKILL)


def refused(case: str) -> str:
    """What is raised where a loop goes wrong."""
    plain, pruner = DataLoader(by_hand.data(), BATCH, shuffle=True), by_hand.pruner_of()
    try:
        CASES[case](plain, pruner)
    except ThresherError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def _prepared_after(plain: DataLoader[Any], pruner: Pruner) -> None:
    for ids, *_ in prepare_data_loader(pruner.wrap(plain)):
        pruner.reduce(ids.float())


def _prepared_before(plain: DataLoader[Any], pruner: Pruner) -> None:
    pruner.wrap(prepare_data_loader(plain))


def _prepared_by_batches(plain: DataLoader[Any], pruner: Pruner) -> None:
    batches = BatchSampler(RandomSampler(plain.dataset), BATCH, drop_last=False)
    loader = DataLoader(plain.dataset, batch_size=None, sampler=batches)
    for ids, *_ in prepare_data_loader(pruner.wrap(loader), move_to_device=False):
        pruner.reduce(ids.float().reshape(-1))


CASES: dict[str, Callable[[DataLoader[Any], Pruner], None]] = {
    "prepared after": _prepared_after,
    "prepared before": _prepared_before,
    "prepared by batches": _prepared_by_batches,
}
_KINDS: dict[str, Callable[..., Any]] = {
    "fit": fit,
    "by_the_page": by_the_page,
    "refused": refused,
}


def in_worker(config: dict[str, Any]) -> None:
    """Make the runs that were asked for, and leave what came of them in the folder."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    found = [_KINDS[kind](**arguments) for kind, arguments in config["runs"]]
    rank = ray.train.get_context().get_world_rank()
    Path(config["folder"], f"{rank}.pickle").write_bytes(pickle.dumps(found))
