"""An integration without its framework says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest

FRAMEWORKS = {
    "lightning": ("lightning", "lightning.pytorch", "pytorch_lightning"),
    "accelerate": ("accelerate",),
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_extra_to_install_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"thresher.integrations.{name}"
    for module in [each for each in sys.modules if each.startswith(package)]:
        monkeypatch.delitem(sys.modules, module)
    for module in FRAMEWORKS[name]:
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    with pytest.raises(ImportError, match=rf'pip install "thresher\[{name}\]"'):
        importlib.import_module(package)
