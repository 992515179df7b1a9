"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from thresher.errors import CheckpointError

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None


@contextmanager
def drafted(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Open a draft beside `path`; on leaving, force it to disk and rename it into place.

    Whatever happens on the way (a full disk, a kill), an older file at `path` survives whole. What
    a killed process left of its drafts for `path` is removed by the next one.

    Raises:
        CheckpointError: `path` is a folder or a device.
        OSError: the file cannot be written.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        # Renamed over, a device such as /dev/null would be gone.
        raise CheckpointError(
            f"{path} is a {'folder' if target.is_dir() else 'device'}",
            "the name of a file, new or saved before",
            "Give the path of the file itself",
        )
    remove_dead(target)
    draft, file = _opened(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                draft.replace(target)  # while it is locked, so that nobody takes it for a dead one
        if fcntl is None:
            draft.replace(target)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_dead(target: Path) -> None:
    """Remove drafts for `target` whose process has ended, as nobody holds their lock any more.

    Where that cannot be told (no locks, another user's file), they stay.
    """
    if fcntl is None:
        return
    name = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.draft")
    with suppress(OSError):
        for each in list(target.parent.iterdir()):
            if name.fullmatch(each.name):
                with suppress(OSError), each.open("rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    each.unlink()


def _opened(target: Path) -> tuple[Path, BinaryIO]:
    """Create a draft and lock it, which tells others that its process lives."""
    while True:
        # Not by tempfile, whose files only their owner may read, whatever the umask says.
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.draft")
        file = draft.open("xb")
        if fcntl is None:
            return draft, file
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return draft, file
        file.close()  # taken for a dead one before it was locked
