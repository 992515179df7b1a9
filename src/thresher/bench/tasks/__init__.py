"""The built-in tasks, one file each."""

from __future__ import annotations

from importlib import import_module

from thresher.bench.catalogue import TASKS, UnknownNameError, require_known
from thresher.bench.tasks._task import Budget, Data, DataError, NoDataError, Paper, Task

__all__ = ["Budget", "Data", "DataError", "NoDataError", "Paper", "Task", "task"]

_FILES = {
    "digits": "digits",
    "fashion-mnist": "fashion_mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "cifar10n": "cifar10n",
    "cifar10n-worse": "cifar10n",
    "fashion-mnist-vit": "vit",
    "cifar10-vit": "vit",
    "ag-news": "ag_news",
    "ag-news-noisy": "ag_news",
    "esc10": "esc10",
    "tinyshakespeare": "tinyshakespeare",
    "imagenet": "imagenet",
}


def task(name: str) -> Task:
    """Return a task by its name on the command line; NAME@paper is it with the papers' settings.

    Raises:
        UnknownNameError: there is no such task, or no paper's settings of it.

    Example:
        >>> task("fashion-mnist").budget.batch_size, task("cifar10@paper").budget.epochs
        (128, 200)
    """
    name, at, scale = name.partition("@")
    require_known("task", name, TASKS)
    module = import_module(f"{__name__}.{_FILES[name]}")
    tasks: dict[str, Task] = module.TASKS
    found = tasks[name]
    if not at:
        return found
    if scale != "paper" or found.paper is None:
        known = [each for each in TASKS if task(each).paper is not None]
        raise UnknownNameError(
            f"there are no {scale} settings of {name}", f"--scale paper with {', '.join(known)}"
        )
    return found.as_in_papers()
