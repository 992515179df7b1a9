"""Who makes which run: a lock for each, which goes when its holder does.

A claim is a file that is locked (`flock`) for as long as the run is being made. The kernel frees
the lock when the process ends, however it ends, so a claim is never stale: a run whose maker was
killed can be claimed the moment after, and no clock, heartbeat or process number is looked at.

Assumed of the file system: `flock` works between all who share the folder. That is so on any local
disk, on NFS from version 4 (and 3 with its lock daemon; when a *machine* is lost there, its locks
stay until its lease ends), and on most cluster file systems, Lustre only when mounted with `flock`.
Where locks are refused, claims are too, with an error; where a mount only pretends (Lustre's
`localflock`), two machines may make a run twice: the later record counts, and none is lost.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, BinaryIO, final

from thresher.errors import ThresherError

try:
    import fcntl
except ImportError:  # no such locks on Windows: one invocation at a time
    fcntl = None


class ClaimError(ThresherError):
    """The file system of the results has no locks."""


@final
class Claims:
    """The claims on the runs of one folder.

    Args:
        folder: where their files are; it is made with the first claim.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, BinaryIO] = {}

    def take(self, key: str) -> bool:
        """Claim a run; False if somebody has it, in this process or in another.

        Whoever gets it must look into the store before beginning: the one who had it before may
        have finished.

        Raises:
            ClaimError: there are no locks here.
        """
        if key in self._held:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / key
        while True:
            file = path.open("ab")
            try:
                is_locked = _lock(file, self.folder)
            except ClaimError:
                file.close()
                raise
            # Between opening and locking, the one who had it may have finished and removed it.
            if is_locked and _is_same(path, file):
                break
            file.close()
            if not is_locked:
                return False
        file.truncate(0)
        file.write(json.dumps(_holder()).encode())
        file.flush()
        self._held[key] = file
        return True

    def release(self, key: str) -> None:
        """Give a claim back; one that is not held is left alone."""
        file = self._held.pop(key, None)
        if file is None:
            return
        if os.name == "posix":
            (self.folder / key).unlink(missing_ok=True)  # while it is locked
        file.close()

    def release_all(self) -> None:
        """Give all claims back."""
        for key in list(self._held):
            self.release(key)

    def of_others(self) -> dict[str, dict[str, Any]]:
        """Return the claims that somebody holds now, by key: who, and since when.

        Looking takes each lock for a moment, so that a `take` at the same time may fail; the run
        is free again when it is next asked for.
        """
        found: dict[str, dict[str, Any]] = {}
        if fcntl is None or not self.folder.is_dir():
            return found
        for path in sorted(self.folder.iterdir()):
            try:
                with path.open("rb") as file:
                    if not _lock(file, self.folder, shared=True):
                        found[path.name] = _read(file)
            except FileNotFoundError:
                continue
        return found


def _lock(file: BinaryIO, folder: Path, *, shared: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ClaimError(
            f"files in {folder} cannot be locked ({error.strerror})",
            cure="Give a folder on a disk that has locks by --out",
        ) from error
    return True


def _is_same(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder() -> dict[str, Any]:
    return {"node": platform.node(), "process": os.getpid(), "since": round(time.time(), 1)}


def _read(file: BinaryIO) -> dict[str, Any]:
    try:
        return json.loads(file.read())
    except ValueError:  # it is just being written
        return {}
