"""The file of a state is whole or not there, and loading one runs no code."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from partly_trained import built, trained
from small_runs import differences
from thresher.checkpoint import load_safely, save_atomically
from thresher.errors import CheckpointError


def test_a_file_restores_the_state_it_was_saved_from(tmp_path: Path) -> None:
    pruner = trained(built())
    pruner.save(str(tmp_path / "state.pt"))
    loaded = built()
    loaded.load(tmp_path / "state.pt")
    assert not differences(loaded.state_dict(), pruner.state_dict())
    assert isinstance(torch.load(tmp_path / "state.pt", weights_only=True), Mapping)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_file_has_the_rights_that_the_umask_gives_and_follows_a_link(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        built().save(tmp_path / "state.pt")
    finally:
        os.umask(before)
    assert (tmp_path / "state.pt").stat().st_mode & 0o777 == 0o640
    (tmp_path / "real").mkdir()
    (tmp_path / "last").symlink_to(tmp_path / "real" / "epoch-1")
    trained(built()).save(tmp_path / "last")
    assert (tmp_path / "last").is_symlink()
    built().load(tmp_path / "real" / "epoch-1")


def test_a_file_cut_anywhere_is_refused_with_its_name(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "cut.pt"
    trained(built()).save(whole)
    content = whole.read_bytes()
    cuts = {0, 1, 2, 3, 4, len(content) - 1, *range(0, len(content), 61)}
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match=r"cut\.pt cannot be read.*older checkpoint"):
            built().load(path)


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 500, b"hello, this is no checkpoint\n" * 9, b"PK\x03\x04" + b"\x11" * 300, b"\x80"],
    ids=["zeros", "text", "half a zip", "half a pickle"],
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="garbage cannot be read"):
        built().load(path)


class Exploding:
    """A pickle of it runs code when it is loaded without weights_only."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_a_file_that_would_run_code_is_refused_without_running_it(tmp_path: Path) -> None:
    path, made = tmp_path / "bad.pt", tmp_path / "made"
    torch.save({"format": Exploding(made)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        built().load(path)
    assert not made.exists()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        built().load(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="format None"):
        built().load(path)


def test_a_missing_file_or_folder_is_said_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        built().load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"):
        built().save(tmp_path / "absent" / "state.pt")


def test_an_error_while_saving_leaves_the_old_file_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    pruner = trained(built())
    pruner.save(path)
    old = path.read_bytes()
    with pytest.raises((TypeError, AttributeError), match=r"pickle|local"):
        save_atomically({"fault": lambda: None}, path)
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["state.pt"]
    assert not differences(load_safely(path), pruner.state_dict())


def test_states_are_equal_after_a_file_and_after_a_buffer() -> None:
    state = trained(built()).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    assert not differences(torch.load(buffer, weights_only=True), state)
