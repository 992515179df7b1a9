"""runs.jsonl: one line for each finished run, appended whole, never changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

from thresher.bench.kept import stored
from thresher.bench.lines import Lines, packed
from thresher.errors import ThresherError

_NEEDED = ("key", "config", "metric", "samples_trained", "prune_rate", "seconds")

RUNS, PACKED, FAILURES = "runs.jsonl", "runs.jsonl.xz", "failures.jsonl"


class FolderError(ThresherError):
    """Results cannot be written where the user wants them, or are not where they are looked for."""


@final
class Store:
    """The finished runs of a folder, by the key of their configuration.

    They are read from `runs.jsonl.xz` (`xz runs.jsonl` makes it) and from `runs.jsonl`, to which
    new ones are appended; where neither is there yet, no run is. Several processes may append to
    one folder: `refresh` reads what the others have.

    Args:
        folder: of the results.
        writable: whether runs are to be added; then the folder is made if it does not exist.

    Attributes:
        path: the file that grows.
        records: by key; a key written twice counts with its last line.
        failures: the last failure of each run that never finished since, by key.
        damaged: what is wrong with each line that was skipped.

    Raises:
        FolderError: runs are to be added, and nothing can be written there.
    """

    def __init__(self, folder: Path, *, writable: bool = True) -> None:
        self.path = folder / RUNS
        self.records: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, dict[str, Any]] = {}
        self.damaged: list[str] = []
        self._runs, self._failures = Lines(self.path), Lines(folder / FAILURES)
        if writable:
            _require_writable(folder)
        if (folder / PACKED).exists():
            self._take(folder / PACKED, packed(folder / PACKED))
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since, by this process or by others."""
        self._take(self.path, self._runs.new())
        for _, failure in self._failures.new():
            if isinstance(failure, dict) and "key" in failure:
                self.failures[failure["key"]] = failure
        for key in self.failures.keys() & self.records.keys():
            del self.failures[key]

    def _take(self, path: Path, lines: Iterable[tuple[int, Any]]) -> None:
        for number, record in lines:
            if not isinstance(record, dict):
                self.damaged.append(f"{path}, line {number}: damaged, skipped; the run is repeated")
            elif missing := [name for name in _NEEDED if name not in record]:
                self.damaged.append(
                    f"{path}, line {number}: no {', '.join(missing)}; skipped, the run is repeated"
                )
            else:
                self.records[record["key"]] = record

    def append(self, record: dict[str, Any]) -> None:
        """Add a finished run; when this returns it is on the disk.

        Raises FolderError if it cannot be written, for instance because the disk is full.
        """
        record = self._write(self._runs, record)
        self.records[record["key"]] = record
        self.failures.pop(record["key"], None)

    def fail(self, failure: dict[str, Any]) -> None:
        """Note that a run has failed, under its `key`; it will be tried again some other time.

        Raises FolderError if it cannot be written.
        """
        self._write(self._failures, failure)
        self.failures[failure["key"]] = failure

    def _write(self, lines: Lines, content: dict[str, Any]) -> dict[str, Any]:
        """Write a line; return what of the content is in it."""
        try:
            content = stored(content, self.path.parent)
            lines.append(content)
        except OSError as error:
            raise FolderError(
                f"{lines.path} could not be written ({error.strerror})",
                cure="Finished runs are kept; the same command continues",
            ) from error
        return content


def _require_writable(folder: Path) -> None:
    cure = "Give another folder by --out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking for permission bits would be wrong for root and for read-only mounts.
        with tempfile.TemporaryFile(dir=folder):
            pass
        existing = folder / RUNS
        if existing.exists():
            with existing.open("ab"):
                pass
    except OSError as error:
        raise FolderError(
            f"--out {folder} cannot be written ({error.strerror})", cure=cure
        ) from error
