"""runs.jsonl: one line for each finished run, appended whole, never changed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, final

from thresher.errors import ThresherError

_NEEDED = ("key", "config", "metric", "samples_trained", "prune_rate", "seconds")


class FolderError(ThresherError):
    """Results cannot be written where the user wants them."""


@final
class Store:
    """The finished runs of a folder, by the key of their configuration.

    Args:
        folder: is made if it does not exist.

    Attributes:
        path: the file.
        records: by key; a key written twice counts with its last line.
        damaged: what is wrong with each line that was skipped.

    Raises:
        FolderError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.jsonl"
        self.records: dict[str, dict[str, Any]] = {}
        self.damaged: list[str] = []
        _require_writable(folder)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                missing = [name for name in _NEEDED if name not in record]
            except (ValueError, TypeError):
                self.damaged.append(
                    f"{self.path}, line {number}: damaged, skipped; the run is repeated"
                )
                continue
            if missing:
                self.damaged.append(
                    f"{self.path}, line {number}: no {', '.join(missing)}; skipped, "
                    "the run is repeated"
                )
                continue
            self.records[record["key"]] = record

    def append(self, record: dict[str, Any]) -> None:
        """Add a finished run; when this returns it is on the disk.

        Raises FolderError if it cannot be written, for instance because the disk is full.

        A write that was cut off leaves a last line without its end; the next starts a new line.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=True).encode() + b"\n"
        try:
            with self.path.open("ab+") as file:
                if file.tell() > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FolderError(
                f"{self.path} could not be written ({error.strerror})",
                cure="Finished runs are kept; the same command continues",
            ) from error
        self.records[record["key"]] = record


def _require_writable(folder: Path) -> None:
    cure = "Give another folder by --out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking for permission bits would be wrong for root and for read-only mounts.
        with tempfile.TemporaryFile(dir=folder):
            pass
        existing = folder / "runs.jsonl"
        if existing.exists():
            with existing.open("ab"):
                pass
    except OSError as error:
        raise FolderError(
            f"--out {folder} cannot be written ({error.strerror})", cure=cure
        ) from error
