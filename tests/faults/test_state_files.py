"""State files that are cut, damaged or of another run are refused by name, before they are used."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from loops import Numbers
from small_runs import differences
from thresher import InfoBatch, Method, Omission, OrderDP, Pruner, RePB, Subset
from thresher.checkpoint import save_atomically
from thresher.errors import CheckpointError, DatasetChangedError, ThresherError
from thresher.online import SelectiveBackprop

N = 24
METHODS: list[Method] = [
    RePB(prune_ratio=0.4, window=2),
    Omission(prune_ratio=0.4),
    Subset(range(10)),
    SelectiveBackprop(prune_ratio=0.4),
]


def score(ids: Tensor) -> dict[str, Tensor]:
    return {"loss": torch.frac((ids + 1) * 0.618034).float() + 0.01}


def built(method: Method, num_samples: int = N, **settings: Any) -> tuple[Pruner, Any]:
    pruner = Pruner(method, **{"epochs": 5, **settings})
    plain = DataLoader(Numbers(num_samples), 4, shuffle=True)
    return pruner, pruner.wrap(plain, score_fn=score)


def halfway(method: Method, **settings: Any) -> Pruner:
    """A pruner in the middle of its third epoch."""
    pruner, loader = built(method, **settings)
    for epoch in range(3):
        for batch, ids in enumerate(loader):
            scores = torch.frac((ids + 1) * (epoch + 2) * 0.618034).float()
            needs = pruner.method.needs or ("loss",)
            pruner.reduce(scores, scores=dict.fromkeys(needs, scores))
            if epoch == 2 and batch == 1:
                return pruner
    raise AssertionError


def assert_told_in_three_parts(error: ThresherError, *words: str) -> None:
    assert error.came
    assert error.expected
    assert error.cure
    for word in words:
        assert word in str(error)


# ---------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_file_cut_at_any_64th_length_is_refused(method: Method, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "cut.pt"
    halfway(method).save(whole)
    content, (pruner, _) = whole.read_bytes(), built(method)
    cuts = sorted({*range(0, len(content), 64), *range(len(content) - 3, len(content))})
    assert len(cuts) > 50
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.raises(CheckpointError) as caught:
            pruner.load(path)
        assert_told_in_three_parts(caught.value, "cut.pt cannot be read", "older checkpoint")
    pruner.load(whole)
    assert not differences(pruner.state_dict(), torch.load(whole, weights_only=True))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(
    method: Method, tmp_path: Path
) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "flipped.pt"
    halfway(method).save(whole)
    content, (pruner, _) = whole.read_bytes(), built(method)
    state, ends = torch.load(whole, weights_only=True), Counter[str]()
    for place in range(0, len(content), 29):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            pruner.load(path)
        except CheckpointError as error:
            assert_told_in_three_parts(error, "flipped.pt cannot be read")
            ends["refused"] += 1
        else:  # padding, or a field that no reader looks at
            assert not differences(pruner.state_dict(), state), place
            ends["same"] += 1
    assert ends["refused"] > 100


def test_an_entry_that_a_flipped_bit_makes_a_folder_is_refused(tmp_path: Path) -> None:
    """Of such an entry torch reads nothing, and returns whatever its memory held before."""
    whole, path = tmp_path / "whole.pt", tmp_path / "flipped.pt"
    method = SelectiveBackprop(prune_ratio=0.4)
    halfway(method).save(whole)
    content, (pruner, _) = whole.read_bytes(), built(method)
    entries = [place.start() for place in re.finditer(b"PK\x01\x02", content)]
    assert len(entries) > 5
    for entry in entries:
        flipped = bytearray(content)
        flipped[entry + 38] ^= 1 << 4
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="is marked as a folder"):
            pruner.load(path)


def test_torch_alone_would_take_changed_numbers_for_saved_ones(tmp_path: Path) -> None:
    """Why the checksums are looked at: if this fails, torch does it, and we need not."""
    path = tmp_path / "state.pt"
    halfway(RePB(rho=0.5)).save(path)
    content, state = path.read_bytes(), torch.load(path, weights_only=True)
    at = content.index(state["clock"]["progress"]["step"].numpy().tobytes())
    path.write_bytes(content[: at + 1] + bytes([content[at + 1] ^ 1]) + content[at + 2 :])
    assert differences(torch.load(path, weights_only=True), state)
    with pytest.raises(CheckpointError, match=r"checksum of .* is wrong"):
        built(RePB(rho=0.5))[0].load(path)


# ------------------------------------------------------------------------------------ other runs


@pytest.mark.parametrize(
    ("other", "kind", "words"),
    [
        (lambda: halfway(InfoBatch(), num_samples=25), DatasetChangedError, "25 samples; .*: 24"),
        (lambda: halfway(OrderDP()), CheckpointError, r"OrderDP\(.*expected: InfoBatch\("),
        (lambda: halfway(InfoBatch(r=0.25)), CheckpointError, r"r=0\.25.*expected.*r=0\.5"),
        (lambda: halfway(InfoBatch(), seed=7), CheckpointError, "seed=7; expected: seed=0"),
        (lambda: halfway(InfoBatch(), epochs=6), CheckpointError, "epochs=6; expected: epochs=5"),
    ],
    ids=["data set", "method", "parameter", "seed", "epochs"],
)
def test_a_file_of_another_run_is_refused_by_what_differs(
    other: Callable[[], Pruner], kind: type[ThresherError], words: str, tmp_path: Path
) -> None:
    other().save(tmp_path / "other.pt")
    pruner, _ = built(InfoBatch())
    before = pruner.state_dict()
    with pytest.raises(kind) as caught:
        pruner.load(tmp_path / "other.pt")
    assert_told_in_three_parts(caught.value)
    assert re.search(words, str(caught.value))
    assert not differences(pruner.state_dict(), before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"format": 0}, "format 0"),
        ({"format": 1000}, "format 1000"),
        ({"model": torch.zeros(2)}, "format None"),
        ({"pruner": {"format": 1}}, "format None"),
        ({}, "format None"),
        (torch.zeros(3), "holds a Tensor"),
        ([1, 2], "holds a list"),
        (None, "holds a NoneType"),
    ],
    ids=["older", "newer", "a model", "a whole script", "empty", "tensor", "list", "nothing"],
)
def test_a_file_of_another_format_or_program_is_refused(
    content: Any, words: str, tmp_path: Path
) -> None:
    save_atomically(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as caught:
        built(InfoBatch())[0].load(tmp_path / "other.pt")
    assert_told_in_three_parts(caught.value, words)


@pytest.mark.parametrize("state", [None, "state.pt", [1], torch.zeros(2)], ids=repr)
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        built(InfoBatch())[0].load_state_dict(state)
    assert_told_in_three_parts(caught.value, type(state).__name__, "pruner.load(path)")


def test_a_folder_is_refused_and_a_missing_file_is_missing(tmp_path: Path) -> None:
    pruner, _ = built(InfoBatch())
    with pytest.raises(CheckpointError) as caught:
        pruner.load(tmp_path)
    assert_told_in_three_parts(caught.value, tmp_path.name, "is a folder", "dcp.load")
    # What a script catches that may be a new run.
    with pytest.raises(FileNotFoundError, match=r"No such file; expected.*load nothing.*absent"):
        pruner.load(tmp_path / "absent.pt")
    assert not differences(pruner.state_dict(), built(InfoBatch())[0].state_dict())


# ------------------------------------------------------------------------------------- mutilated


def places(state: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all values in a nested state, and of all that hold values."""
    for name, value in state.items() if isinstance(state, dict) else ():
        yield (*path, name)
        yield from places(value, (*path, name))


def mutilated(state: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The state without what is at a path, and with something else there."""
    value = state
    for name in path:
        value = value[name]
    others = ["x" if not isinstance(value, str) else 5]
    if isinstance(value, Tensor):
        others += [
            value[:-1] if value.dim() else value.view(1),
            value.double() if value.dtype != torch.float64 else value.float(),
        ]
    for other in (None, *others):
        if value is None and other is None:
            continue
        changed = copy.deepcopy(state)
        inner = changed
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = other
        yield changed
    changed = copy.deepcopy(state)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    yield changed


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_state_that_lost_a_part_or_has_another_there_is_refused_by_its_name(
    method: Method,
) -> None:
    state = halfway(method).state_dict()
    pruner, _ = built(method)
    before, tried = pruner.state_dict(), 0
    for path in places(state):
        for changed in mutilated(state, path):
            with pytest.raises(CheckpointError) as caught:
                pruner.load_state_dict(changed)
            name = path[-1] if path != ("contents",) else ""
            assert_told_in_three_parts(caught.value, name)
            tried += 1
    assert tried > 60
    assert not differences(pruner.state_dict(), before)
    pruner.load_state_dict(state)
    assert not differences(pruner.state_dict(), state)


def test_a_state_with_something_more_is_refused_too() -> None:
    state = halfway(InfoBatch()).state_dict()
    state["clock"]["ledger"]["columns"]["surprise"] = torch.zeros(N)
    with pytest.raises(CheckpointError, match=r"not what was saved: clock\.ledger.*surprise"):
        built(InfoBatch())[0].load_state_dict(state)
