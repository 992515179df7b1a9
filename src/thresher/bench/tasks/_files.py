"""Data files in a folder that the user gives: found, or missed and damaged by name."""

from __future__ import annotations

import json
import lzma
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from thresher.bench.tasks._task import DataError, NoDataError

_BROKEN = (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile, lzma.LZMAError)


def found(folder: Path, name: str, *, inside: str, cure: str) -> Path:
    """Return the path of a file in a folder, or in its subfolder `inside`.

    Raises:
        NoDataError: it is in neither.
    """
    candidates = (folder / name, folder / inside / name)
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise NoDataError(f"no file {name} in {folder}", cure=cure)
    return path


def given(folder: Path | None, name: str, *, inside: str, cure: str) -> Path:
    """Return the path of a file that is nowhere but where the user says.

    Raises:
        DataError: no folder is given, or it is not in it.
    """
    if folder is None:
        raise DataError(f"{name} comes with no package, and no folder is given", cure=cure)
    return found(folder, name, inside=inside, cure=cure)


@contextmanager
def reading(path: Path, *, cure: str) -> Generator[None]:
    """Say which file is meant if it cannot be read.

    Raises:
        DataError: what is inside failed as damaged files make it fail.
    """
    try:
        yield
    except _BROKEN as error:
        raise DataError(
            f"{path} is damaged or not in the expected format ({type(error).__name__}: {error})",
            cure=cure,
        ) from error


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines, packed by xz."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
