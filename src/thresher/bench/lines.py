"""A file of JSON lines that several processes append to and read while it grows."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, final

try:
    import fcntl
except ImportError:  # no such locks on Windows: one invocation at a time
    fcntl = None

_TORN = object()
"""What a line that is no JSON is read as."""


@final
class Lines:
    """A file of JSON lines: whole ones are appended, and what others append is read on.

    A writer holds the file's lock (`flock`) for as long as it writes, so lines of several writers
    never mix. What a killed writer left of a line stays without an end; the next writer begins a
    new line, and the reader reports the damaged one.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = self._number = 0
        self._is_torn = False

    TORN = _TORN

    def new(self) -> Iterator[tuple[int, Any]]:
        """Yield what was appended since the last call: (number of the line from 1, its content).

        Content that is no JSON is `Lines.TORN`.
        """
        for line in self._unread():
            self._number += 1
            if line.strip():
                yield self._number, _parsed(line)

    def _unread(self) -> list[bytes]:
        try:
            # Opened each time: on a network file system that is what asks for news.
            with self.path.open("rb") as file, _locked(file, shared=True):
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        if not content:
            return []
        self._offset += len(content)
        lines = content.split(b"\n")
        if self._is_torn:
            lines = lines[1:]  # the end of a line that was counted already
        # Nobody writes while the lock is held, so a line without an end is a killed writer's.
        self._is_torn = bool(lines) and lines[-1] != b""
        return lines if self._is_torn else lines[:-1]

    def append(self, content: dict[str, Any]) -> None:
        """Add one line; when this returns it is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        line = json.dumps(content, ensure_ascii=False, allow_nan=True).encode() + b"\n"
        with self.path.open("ab+") as file, _locked(file):
            is_new = file.seek(0, os.SEEK_END) == 0
            if not is_new:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new and os.name == "posix":
            # A file is on the disk once its folder says so, too.
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def packed(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the lines of an xz file (number from 1, content); the damaged rest is `Lines.TORN`."""
    number = 0
    try:
        with lzma.open(path) as file:
            for line in file:
                number += 1
                if line.strip():
                    yield number, _parsed(line)
    except (EOFError, lzma.LZMAError):
        yield number + 1, _TORN


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _TORN


@contextmanager
def _locked(file: BinaryIO, *, shared: bool = False) -> Generator[None]:
    """Hold the file's lock, where the system and the file system have such a thing."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    # Closing the file gives the lock back.
    yield
