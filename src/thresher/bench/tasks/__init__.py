"""The built-in tasks, one file each."""

from __future__ import annotations

from importlib import import_module

from thresher.bench.catalogue import TASKS, require_known
from thresher.bench.tasks._task import Budget, DataError, Task

__all__ = ["Budget", "DataError", "Task", "task"]

_FILES = {
    "digits": "digits",
    "fashion-mnist": "fashion_mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
}


def task(name: str) -> Task:
    """Return a task by its name on the command line.

    Raises:
        UnknownNameError: there is no such task.

    Example:
        >>> task("fashion-mnist").budget.batch_size
        128
    """
    require_known("task", name, TASKS)
    module = import_module(f"{__name__}.{_FILES[name]}")
    tasks: dict[str, Task] = module.TASKS
    return tasks[name]
