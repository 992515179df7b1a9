"""What children of the zygote do: save on disks that are full, and again and again until killed."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
from pathlib import Path

import torch

from faults.script import Mark
from thresher import InfoBatch, Pruner

NUM_SAMPLES = 5000
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def numbered(number: int, num_samples: int = NUM_SAMPLES) -> Pruner:
    """A pruner in mid-epoch whose scores tell which one it is."""
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=num_samples)
    ids = pruner.plan(0).ids[: num_samples // 2]
    pruner.observe(ids, torch.full((len(ids),), float(number)))
    return pruner


def number_of(pruner: Pruner) -> int:
    """Which one was loaded; fails if it was loaded in part."""
    scores = pruner.state_dict()["clock"]["progress"]["scores"]["loss"]
    seen = scores[~scores.isnan()]
    assert len(seen) == len(scores) // 2
    assert (seen == seen[0]).all()
    return int(seen[0])


def tried(pruner: Pruner, path: str) -> str:
    """Save; return how that went."""
    try:
        pruner.save(path)
    except OSError as error:
        return f"{errno.errorcode[error.errno or 0]} {Path(error.filename).name}"
    return "saved"


def at_every_limit(mark: Mark, path: str, limits: list[int]) -> None:
    """Save while no file may grow beyond a limit, which stops a write in its middle."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    pruner, found = numbered(2), list[str]()
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        found.append(tried(pruner, path))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(json.dumps(found))


def _mounted(folder: str, kilobytes: int) -> bool:
    """Put a small disk at a folder, seen by this process alone; needs no rights on most systems."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _CLONE_NEWNS if os.geteuid() == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if libc.unshare(flags):
        return False
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None):
        return False
    options = f"size={kilobytes}k".encode()
    return libc.mount(b"none", folder.encode(), b"tmpfs", ctypes.c_ulong(0), options) == 0


def on_a_small_disk(mark: Mark, folder: str) -> None:
    """Save on a disk that others fill up."""
    if not _mounted(folder, 256):
        print("cannot mount")
        return
    path, ballast = Path(folder) / "state.pt", Path(folder) / "ballast"
    steps = [tried(numbered(1), str(path))]
    size = path.stat().st_size
    for left in (size - 9000, 30_000, 4096, 0):
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
        with ballast.open("ab") as file:
            file.write(bytes(max(0, free - left)))
        steps.append(tried(numbered(2), str(path)))
        steps.append(",".join(sorted(each.name for each in Path(folder).iterdir())))
        loaded = numbered(3)
        loaded.load(path)
        assert number_of(loaded) == 1
    # What a killed save left takes no place from the next one.
    ballast.rename(path.with_name(".state.pt.0123abcd.draft"))
    steps.append(tried(numbered(4), str(path)))
    steps.append(",".join(sorted(each.name for each in Path(folder).iterdir())))
    print(json.dumps(steps))


def until_killed(mark: Mark, path: str, number: int) -> None:
    """Save states of rising numbers."""
    while True:
        number += 1
        pruner = numbered(number, 60_000)
        mark("save")
        pruner.save(path)
        mark("step")
