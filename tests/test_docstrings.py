"""Every example in a docstring runs, as a reader would type it after `import torch`."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
import torch

import thresher
from thresher import draws, scores, weights

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(thresher.__path__, "thresher.")
    names = [
        module.name
        for module in found
        # Importing an integration imports its framework, which may not be installed.
        if not module.name.endswith("__main__") and ".integrations." not in module.name
    ]
    return [thresher, *map(importlib.import_module, names)]


EXAMPLES = [
    test
    for module in modules()
    for test in doctest.DocTestFinder(exclude_empty=True).find(
        module, globs={**vars(module), "torch": torch}
    )
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_runs(example: doctest.DocTest) -> None:
    before = torch.get_rng_state()
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    results = runner.run(example, out=report.append)
    torch.set_rng_state(before)  # an example may make data with torch.randn
    assert results.attempted
    assert not results.failed, "".join(report)


def test_examples_are_found() -> None:
    names = {example.name for example in EXAMPLES}
    assert "thresher.pruner.Pruner" in names
    assert "thresher.draws.systematic" in names
    assert len(names) >= 20


PUBLIC = [
    (name, thing)
    for module in (thresher, draws, scores, weights)
    for name, thing in ((name, getattr(module, name)) for name in module.__all__)
    if inspect.isclass(thing) or inspect.isfunction(thing)
]


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=lambda each: getattr(each, "__name__", ""))
def test_public_name_has_an_example(name: str, thing: object) -> None:
    if inspect.isabstract(thing):
        return
    assert thing.__doc__ is not None
    assert "Example:\n" in thing.__doc__, name
    assert ">>> " in thing.__doc__, name
