"""What a run is saved as, and state files that are whole or not there."""

from __future__ import annotations

import errno
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor
from torch.serialization import get_crc32_options, set_crc32_options

from thresher.clock import Clock
from thresher.drafts import drafted
from thresher.errors import CheckpointError, ThresherWarning
from thresher.methods._method import Method
from thresher.parallel.ranks import Ranks
from thresher.parallel.team import require_whole
from thresher.settings import Data, Settings
from thresher.shard import Shard
from thresher.streamed import about_stream

_FORMAT = 2
_KEYS = (
    "method",
    "settings",
    "num_samples",
    "visits",
    "shuffled",
    "batch_size",
    "clock",
    "contents",
)


def packed(clock: Clock, settings: Settings, *, gather: bool) -> dict[str, Any]:
    """Return a run's state: tensors of fixed shape and plain scalars, and what it is a state of."""
    state = clock.state_dict(gather=gather)
    if not state["ranks"]["is_whole"]:
        warnings.warn(
            f"state_dict() in the middle of epoch {state['epoch']} holds what this rank has "
            "trained, not the others, and will be refused when it is loaded; expected: "
            "pruner.state_dict(gather=True) on every rank.",
            ThresherWarning,
            stacklevel=3,
        )
    whole = {
        "format": _FORMAT,
        "method": repr(clock.epochs.method),
        "settings": asdict(settings),
        "num_samples": clock.budget.num_samples,
        "visits": clock.budget.visits,
        "shuffled": clock.epochs.shuffled,
        "batch_size": clock.epochs.batch_size,
        **about_stream(clock.epochs),
        "clock": state,
    }
    # Scores in a file that lost some of them would be missed only when they are needed.
    whole["contents"] = contents(whole)
    # What has another name on each rank is not taken for the same by torch.distributed.checkpoint.
    return (
        {str(clock.team.population.shard): whole} if clock.team.has_shards and not gather else whole
    )


def opened(
    state: dict[str, Any], method: Method, settings: Settings
) -> tuple[Data, dict[str, Any]]:
    """Return what a state says of the data and of the clock, of all samples or of this shard's.

    Raises:
        CheckpointError: it is of another format, method, run or shard, or of one rank of several.
    """
    names = list(state) if isinstance(state, Mapping) else []  # pyright: ignore[reportUnnecessaryIsInstance]
    if len(names) == 1 and names[0].startswith(Shard.name):
        ranks = Ranks.found() if settings.shard else Ranks()
        own = Shard(ranks.rank, ranks.world_size)
        if names[0] != str(own):
            raise CheckpointError(
                f"The state is of {names[0]}",
                f"{own if own.count > 1 else 'all samples'}, as this rank has",
                "Let each of as many ranks load what it saved. For another number of ranks, save "
                "pruner.state_dict(gather=True), called on every rank",
            )
        state = state[names[0]]
    _require_continuable(state, method, settings)
    told = {name: state[name] for name in Data._fields if name in state}
    return Data(**told), state["clock"]


def contents(state: Mapping[str, Any], path: str = "") -> str:
    """Return name, type and shape of everything in a nested state, a line each, sorted."""
    lines: list[str] = []
    for name, value in state.items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            lines.append(contents(cast("Mapping[str, Any]", value), where))
        else:
            is_tensor = isinstance(value, Tensor)
            kind = f"{value.dtype} {list(value.shape)}" if is_tensor else type(value).__name__
            lines.append(f"{where}: {kind}")
    return "\n".join(sorted(lines))


def _require_continuable(state: dict[str, Any], method: Method, settings: Settings) -> None:
    """Refuse a state of another format, method or run."""
    if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CheckpointError(
            f"The state is a {type(state).__name__}",
            "a dict, as Pruner.state_dict makes it",
            "Pass what pruner.state_dict() returned; pruner.load(path) reads a file",
        )
    if state.get("format") != _FORMAT:
        raise CheckpointError(
            f"The state has format {state.get('format')!r}",
            f"format {_FORMAT}, as Pruner.state_dict makes it",
            "Pass what pruner.state_dict() returned, from the version of Thresher that made it",
        )
    missing = [name for name in _KEYS if name not in state]
    if missing:
        raise CheckpointError(
            f"The state lacks {', '.join(missing)}",
            f"{', '.join(_KEYS)}",
            "Save all of Pruner.state_dict()",
        )
    found = contents({name: value for name, value in state.items() if name != "contents"})
    ours, theirs = set(found.splitlines()), set(str(state["contents"]).splitlines())
    if ours != theirs:
        raise CheckpointError(
            f"The state has not what was saved: {_some(ours - theirs)}",
            f"all that pruner.state_dict() returned: {_some(theirs - ours)}",
            "Save and load it whole, or use another checkpoint",
        )
    settings.require_same(state["settings"], method, state["method"])
    require_whole(state["clock"]["ranks"])


def _some(lines: set[str]) -> str:
    return ", ".join(sorted(lines)[:3]) or "nothing else"


def save_whole(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a run's state as `save_atomically` does, unless no run could continue from it.

    Raises:
        CheckpointError: it lacks what other ranks have trained; a file at `path` is left alone.
    """
    if "clock" in state:  # else it is of a shard, which remembers all that is its own
        require_whole(state["clock"]["ranks"])
    save_atomically(state, path)


def save_atomically(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `state` beside `path`, force it to disk, and rename it into place.

    Whatever happens on the way (a full disk, a kill), an older file at `path` survives whole.

    Raises:
        CheckpointError: `path` is a folder or a device.
        OSError: the disk is full, or `path` is in no folder.
    """
    with drafted(path) as file:
        write(state, file)


def write(state: dict[str, Any], file: BinaryIO) -> None:
    """Write a state with its checksums.

    Raises:
        OSError: the disk is full.
    """
    wants_checksums = get_crc32_options()
    set_crc32_options(True)
    try:
        torch.save(state, file)
    except RuntimeError as error:
        # After a failed write torch's writer fails once more, over where it is in the file.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        set_crc32_options(wants_checksums)


def load_safely(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state without running code from the file.

    Raises:
        CheckpointError: the file is damaged or is no state of Thresher's.
        FileNotFoundError: there is no such file.
    """
    if Path(path).is_dir():
        raise CheckpointError(
            f"{path} is a folder",
            "a file that pruner.save wrote",
            "Give the name of the file in it; what torch.distributed.checkpoint saved is loaded by "
            'dcp.load({"pruner": pruner}, checkpoint_id=...)',
        )
    try:
        with Path(path).open("rb") as file:
            state = _read(file, path)
    except FileNotFoundError:
        cure = "expected: a file that pruner.save wrote. For a new run, load nothing"
        raise FileNotFoundError(errno.ENOENT, f"No such file; {cure}", str(path)) from None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}",
            "a state of Thresher's",
            "Load a file that pruner.save wrote",
        )
    return state


def _read(file: BinaryIO, path: str | os.PathLike[str]) -> Any:
    try:
        # torch's own reader takes numbers that have changed on the disk for what was saved.
        archive = zipfile.ZipFile(file)
        broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"the checksum of {broken} is wrong")
        # Where a bit says that an entry is a folder, that reader takes what was in memory for it.
        folder = next((e.filename for e in archive.infolist() if e.external_attr & 0x10), None)
        if folder is not None:
            raise zipfile.BadZipFile(f"{folder} is marked as a folder")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers stumble in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason.rstrip('.')})",
            "a file that pruner.save wrote",
            "It is cut short or damaged: use an older checkpoint",
        ) from error
