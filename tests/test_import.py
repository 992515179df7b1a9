"""`import thresher` brings torch and numpy, and nothing that the user did not ask for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

import thresher

# What torch brings is not ours to count. The global state is looked at before and after, too.
_CHILD = """
import json, random, sys, time
import numpy as np
import torch

def state():
    return [torch.get_rng_state().tolist(), random.getstate()[1], np.random.get_state()[1].tolist(),
            torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled()]

modules, before, start = set(sys.modules), state(), time.perf_counter()
import thresher
for name in thresher.__all__:
    getattr(thresher, name)
seconds = time.perf_counter() - start
same = json.dumps(state()) == json.dumps(before)
print(json.dumps({"seconds": seconds, "same": same, "new": sorted(set(sys.modules) - modules)}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """What a fresh interpreter saw; a warning, or a word on stderr, is an error."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", _CHILD], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_importing_thresher_imports_no_package_beyond_torch_and_numpy(
    imported: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds beyond torch", imported["seconds"])  # reported, not a timed test
    new = {name.partition(".")[0] for name in imported["new"]}
    assert "thresher" in new
    packages = metadata.packages_distributions()
    installed = {name for name, owners in packages.items() if "thresher" not in owners}
    assert "scipy" in installed
    assert new & installed <= {"numpy", "torch"}


def test_importing_thresher_imports_nothing_that_is_only_for_comparisons(
    imported: dict[str, Any],
) -> None:
    assert "thresher.pruner" in imported["new"]
    assert not [
        name for name in imported["new"] if name.startswith(("thresher.bench", "thresher.cli"))
    ]


def test_an_unknown_name_is_an_attribute_error_and_every_known_one_is_listed() -> None:
    """Names are imported when they are first asked for; nobody should notice."""
    with pytest.raises(AttributeError, match="module 'thresher' has no attribute 'Prunner'"):
        thresher.Prunner  # type: ignore[attr-defined] # noqa: B018
    assert set(thresher.__all__) <= set(dir(thresher))
    assert thresher.Pruner is thresher.Pruner
    assert thresher.Subset.__module__ == "thresher.methods.subset"


def test_importing_thresher_changes_nothing_global(imported: dict[str, Any]) -> None:
    assert imported["same"]


def test_what_a_user_types_is_there() -> None:
    for name in thresher.__all__:
        assert hasattr(thresher, name)
    assert {"Pruner", "RePB", "InfoBatch", "Full", "scores", "errors"} <= set(thresher.__all__)
