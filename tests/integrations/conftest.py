"""The tests of an integration are collected where its framework is installed."""

from __future__ import annotations

from importlib.util import find_spec

_PACKAGES = {
    "test_lightning": "lightning",
    "test_fabric": "lightning",
    "test_accelerate": "accelerate",
}

collect_ignore_glob = [
    f"{name}*.py" for name, package in _PACKAGES.items() if not find_spec(package)
]
