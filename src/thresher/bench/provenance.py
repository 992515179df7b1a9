"""What has to be known to make a run again: versions, commit, and facts about the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, torch, numpy and Thresher."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "thresher"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


@cache
def commit() -> str | None:
    """Return the git commit of the Thresher that runs, with `-dirty` if its sources are changed.

    None if it does not run from a git work tree.
    """
    try:
        # A package installed inside some other project's tree is not of that project's commit.
        _git("ls-files", "--error-unmatch", "__init__.py")
        changed = _git("status", "--porcelain", "--", ".")
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parents[1]
    command = ("git", "-C", str(folder), *arguments)
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()


def machine() -> dict[str, str | int | None]:
    """Return what times depend on, and nothing that names the machine."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
    }


@cache
def _processor() -> str | None:
    """Return the processor's model, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)
