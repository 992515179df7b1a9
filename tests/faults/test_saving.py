"""`pruner.save` on a full disk or killed in its middle: the older file is whole, and no litter."""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path

import pytest
import torch
from torch.serialization import get_crc32_options, set_crc32_options

from faults.conftest import Zygote
from faults.saving import number_of, numbered
from small_runs import differences
from thresher.checkpoint import load_safely, save_atomically, write
from thresher.drafts import drafted
from thresher.errors import CheckpointError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------- full disks


def test_a_disk_that_fills_up_at_any_byte_leaves_the_older_file_whole(
    zygote: Zygote, tmp_path: Path
) -> None:
    path, output = tmp_path / "state.pt", tmp_path / "output"
    numbered(1).save(path)
    old = path.read_bytes()
    limits = [0, 1, 100, *range(500, len(old), 2017), len(old) - 1]
    death = zygote.run("faults.saving:at_every_limit", output, path=str(path), limits=limits)
    assert death.code == 0, output.read_text()
    assert json.loads(output.read_text()) == ["EFBIG state.pt"] * len(limits)
    assert len(limits) > 30
    assert path.read_bytes() == old
    assert names(tmp_path) == ["output", "state.pt"]


def test_a_real_small_disk_that_is_full_keeps_the_older_file_and_serves_again_when_it_is_not(
    zygote: Zygote, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    (tmp_path / "disk").mkdir()
    death = zygote.run("faults.saving:on_a_small_disk", output, folder=str(tmp_path / "disk"))
    text = output.read_text()
    assert death.code == 0, text
    if text.strip() == "cannot mount":
        pytest.skip("this system lets nobody mount a tmpfs of his own")
    full = ["ENOSPC state.pt", "ballast,state.pt"]
    assert json.loads(text) == ["saved", *full * 4, "saved", "state.pt"]


def test_a_device_that_takes_nothing_is_told_as_the_system_tells_it() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    for buffering in (-1, 0):
        with (
            pytest.raises(OSError, match="No space left") as caught,
            Path("/dev/full").open("wb", buffering=buffering) as file,
        ):
            write(numbered(1).state_dict(), file)  # type: ignore[arg-type]
        assert caught.value.errno == errno.ENOSPC


# --------------------------------------------------------------------------------------- kills


def test_a_save_killed_at_any_moment_leaves_a_whole_file_and_at_most_one_draft(
    zygote: Zygote, tmp_path: Path
) -> None:
    path, output, rng = tmp_path / "state.pt", tmp_path / "output", random.Random(0)
    number = left = in_save = 0
    for _ in range(30):
        kill = ("save", rng.randint(1, 2), rng.uniform(0, 0.01))
        arguments = {"path": str(path), "number": number}
        death = zygote.run("faults.saving:until_killed", output, kill, **arguments)
        assert death.code == -9, output.read_text()
        in_save += death.phase == "save"
        drafts = [name for name in names(tmp_path) if name not in ("state.pt", "output")]
        assert len(drafts) <= 1, drafts
        left += len(drafts)
        if path.exists():
            loaded = numbered(0, 60_000)
            loaded.load(path)
            assert number_of(loaded) >= number
            number = number_of(loaded)
    # Most kills came in the middle of a save, and many of these before its end.
    assert in_save >= 15
    assert left >= 5
    assert number >= 10
    numbered(1).save(path)
    assert names(tmp_path) == ["output", "state.pt"]


# --------------------------------------------------------------------------------------- drafts


def test_a_draft_that_is_being_written_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    with drafted(path) as slow:
        numbered(2).save(path)
        assert len(names(tmp_path)) == 2
        write(numbered(1).state_dict(), slow)
    assert names(tmp_path) == ["state.pt"]
    loaded = numbered(0)
    loaded.load(path)
    assert number_of(loaded) == 1  # who ends last has the name


def test_only_dead_drafts_of_the_same_file_are_removed(tmp_path: Path) -> None:
    others = [
        ".state.pt.0123abcd",
        ".state.pt.0123abcde.draft",
        "state.pt.0123abcd.draft",
        ".state_pt.0123abcd.draft",
        ".other.pt.0123abcd.draft",
        ".state.pt.0123abcd.draft~",
    ]
    for name in (*others, ".state.pt.0123abcd.draft", ".state.pt.ffffffff.draft"):
        (tmp_path / name).write_bytes(b"something")
    numbered(1).save(tmp_path / "state.pt")
    assert names(tmp_path) == sorted([*others, "state.pt"])


def test_a_folder_named_like_a_draft_disturbs_nobody(tmp_path: Path) -> None:
    (tmp_path / ".state.pt.0123abcd.draft").mkdir()
    numbered(1).save(tmp_path / "state.pt")
    assert names(tmp_path) == [".state.pt.0123abcd.draft", "state.pt"]


def test_a_draft_that_was_removed_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock, calls = fcntl.flock, 0

    def robbed(file: object, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # another process saves just now, and finds the draft without a lock
            for path in tmp_path.iterdir():
                path.unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", robbed)
    numbered(1).save(tmp_path / "state.pt")
    assert calls == 2
    assert names(tmp_path) == ["state.pt"]


def test_a_file_system_without_locks_saves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".state.pt.0123abcd.draft").write_bytes(b"perhaps alive")
    numbered(1).save(tmp_path / "state.pt")
    assert names(tmp_path) == [".state.pt.0123abcd.draft", "state.pt"]
    monkeypatch.setattr("thresher.drafts.fcntl", None)
    numbered(2).save(tmp_path / "state.pt")
    assert number_of_file(tmp_path / "state.pt") == 2
    assert names(tmp_path) == [".state.pt.0123abcd.draft", "state.pt"]


def number_of_file(path: Path) -> int:
    loaded = numbered(0)
    loaded.load(path)
    return number_of(loaded)


def test_nothing_is_saved_over_a_device_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("folder", "folder"), ("pipe", "device")):
        with pytest.raises(CheckpointError, match=f"{name} is a {kind}; expected: the name of"):
            numbered(1).save(tmp_path / name)
    assert names(tmp_path) == ["folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path / "folder") == []


# ------------------------------------------------------------------------------------ checksums


def test_a_file_has_checksums_whatever_torch_was_told(tmp_path: Path) -> None:
    pruner, before = numbered(1), get_crc32_options()
    set_crc32_options(False)
    try:
        pruner.save(tmp_path / "state.pt")
        assert get_crc32_options() is False
        with pytest.raises((TypeError, AttributeError)):
            save_atomically({"fault": lambda: None}, tmp_path / "state.pt")
        assert get_crc32_options() is False
    finally:
        set_crc32_options(before)
    assert not differences(load_safely(tmp_path / "state.pt"), pruner.state_dict())
    assert torch.load(tmp_path / "state.pt", weights_only=True)["format"] > 0
