"""What a run is saved as, and state files that are whole or not there."""

from __future__ import annotations

import os
import secrets
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thresher.clock import Clock
from thresher.errors import CheckpointError, ThresherWarning
from thresher.methods._method import Method
from thresher.parallel.team import require_whole
from thresher.settings import Data, Settings

_FORMAT = 2
_KEYS = ("method", "settings", *Data._fields, "clock")


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
    return {
        "format": _FORMAT,
        "method": repr(clock.epochs.method),
        "settings": asdict(settings),
        "num_samples": clock.budget.num_samples,
        "visits": clock.budget.visits,
        "shuffled": clock.epochs.shuffled,
        "batch_size": clock.epochs.batch_size,
        "clock": state,
    }


def require_continuable(state: dict[str, Any], method: Method, settings: Settings) -> None:
    """Refuse a state of another format, method or run."""
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
    settings.require_same(state["settings"], method, state["method"])
    require_whole(state["clock"]["ranks"])


def save_atomically(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `state` beside `path`, force it to disk, and rename it into place.

    Whatever happens on the way (a full disk, a kill), an older file at `path` survives whole.
    """
    target = Path(path).resolve()
    # Not by tempfile, whose files only their owner may read, whatever the umask says.
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if os.name != "posix":
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_safely(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state without running code from the file.

    Raises:
        CheckpointError: the file is cut short or is no state of Thresher's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise  # there is no such file, or it may not be read
    except Exception as error:  # a damaged file makes torch's reader stumble in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason.rstrip('.')})",
            "a file that pruner.save wrote",
            "It may be cut short: use an older checkpoint",
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}",
            "a state of Thresher's",
            "Load a file that pruner.save wrote",
        )
    return state
