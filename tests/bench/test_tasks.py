"""Reading data, refusing what is damaged, and augmentation that depends on the sample alone."""

import gzip
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import thresher
from contracts.found import CLASSES
from thresher.bench.catalogue import METHODS, TASKS, UnknownNameError, build_method, require_known
from thresher.bench.chosen_once import STATIC
from thresher.bench.images import Images, TrainingSet
from thresher.bench.tasks import DataError, task
from thresher.bench.tasks import fashion_mnist as fashion_mnist_module
from thresher.bench.tasks.fashion_mnist import read_idx
from thresher.methods import Method

LABELS = "train-labels-idx1-ubyte"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    return header + array.tobytes()


def images(num: int = 12, size: int = 6, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (num, 1, size, size), dtype=torch.uint8, generator=generator)
    return Images(
        train_images=pixels,
        train_labels=torch.arange(num) % 10,
        test_images=pixels[:4],
        test_labels=torch.arange(4),
    )


def training_set(seed: int = 0, *, flip: bool = True, shift: int = 2) -> TrainingSet:
    return TrainingSet(images(), mean=(100.0,), std=(50.0,), flip=flip, shift=shift, seed=seed)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_the_catalogue_has_its_file(name: str) -> None:
    assert task(name).name == name


DYNAMIC = [name for name in METHODS if name not in STATIC]


@pytest.mark.parametrize("name", DYNAMIC)
def test_every_method_of_the_catalogue_can_be_built(name: str) -> None:
    method = build_method(name, 0.4)
    assert isinstance(method, Method)
    ratio = method.prune_ratio
    assert ratio == (None if name in ("full", "fewer-epochs", "fewer-epochs-scaled") else 0.4)


def test_every_dynamic_method_of_the_library_can_be_compared() -> None:
    named = {type(build_method(name, 0.4)).__name__ for name in DYNAMIC}
    online = set(thresher.online.__all__) - {"Candidates", "Choice", "OnlineMethod"}
    dynamic = {kind.__name__ for kind in CLASSES} | online
    assert named == dynamic - {"Subset"}, "bench/catalogue.py"


@pytest.mark.parametrize(
    ("typed", "nearest"), [("fashion_mnist", "fashion-mnist"), ("cifar-10", "cifar10")]
)
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown task '{typed}'.*nearest is '{nearest}'"):
        task(typed)


def test_a_name_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(UnknownNameError, match=r"one of full, random.*fewer-epochs-scaled.$"):
        require_known("method", "xyzzy", METHODS)


def test_digits_hold_half_out_and_never_differ() -> None:
    first, second = task("digits").load(None), task("digits").load(None)
    assert first.train_images.shape == (899, 1, 8, 8)
    assert first.test_images.shape == (898, 1, 8, 8)
    assert first.checksum() == second.checksum()
    assert set(first.train_labels.tolist()) == set(range(10))


def test_digits_take_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder.*Leave --data out"):
        task("digits").load(tmp_path)


def test_the_checksum_sees_every_pixel_and_label() -> None:
    base, pixel, label = images(), images(), images()
    pixel.test_images[3, 0, 5, 5] ^= 1
    label.train_labels[7] += 1
    assert len({base.checksum(), images().checksum(), pixel.checksum(), label.checksum()}) == 3


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = idx_bytes(array)
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_idx(tmp_path, "x", (2, 3, 4)).numpy().tolist() == array.tolist()


def test_a_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file train-images-idx3-ubyte.gz in .*apt-get install"):
        task("fashion-mnist").load(tmp_path)


def damaged(kind: str) -> bytes:
    content = idx_bytes(np.zeros(60_000, np.uint8))
    packed = gzip.compress(content)
    flipped = bytearray(packed)
    flipped[20] ^= 0xFF
    return {
        "gzip cut off": packed[:-30],
        "gzip bit flipped": bytes(flipped),
        "not gzip": b"<html>404</html>",
        "empty": b"",
        "idx cut off": gzip.compress(content[:-1]),
        "idx too long": gzip.compress(content + b"x"),
        "idx of another shape": gzip.compress(idx_bytes(np.zeros((2, 30_000), np.uint8))),
        "idx of another type": gzip.compress(content[:2] + b"\x0d" + content[3:]),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("gzip cut off", "gzip bit flipped", "not gzip", "empty"),
        *("idx cut off", "idx too long", "idx of another shape", "idx of another type"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"{LABELS}.gz").write_bytes(damaged(kind))
    with pytest.raises(DataError, match=rf"{LABELS}.gz (is damaged|cannot be read or unpacked)"):
        read_idx(tmp_path, LABELS, (60_000,))


@pytest.mark.filterwarnings("error")
def test_cifar_is_read_from_strips(tmp_path: Path) -> None:
    strip = io.BytesIO()
    pixels = np.zeros((500 * 32, 32, 3), np.uint8)
    pixels[32:64] = (10, 20, 85)
    Image.fromarray(pixels).save(strip, "WEBP", lossless=True)
    arrays: dict[str, Any] = {"quant_step": 3}
    for split, num in (("train", 50_000), ("test", 10_000)):
        count = num // 500
        arrays[f"{split}_webp"] = np.frombuffer(strip.getvalue() * count, np.uint8)
        arrays[f"{split}_offsets"] = np.arange(count + 1) * len(strip.getvalue())
        arrays[f"{split}_labels"] = (np.arange(num) % 100).astype(np.uint8)
    (tmp_path / "cifar100").mkdir()
    np.savez(tmp_path / "cifar100" / "cifar100.npz", **arrays)
    for folder in (tmp_path, tmp_path / "cifar100"):
        found = task("cifar100").load(folder)
        assert found.train_images.shape == (50_000, 3, 32, 32)
        assert found.train_images[501, :, 0, 0].tolist() == [30, 60, 255]
        assert found.train_images[500].sum() == 0
        assert found.test_labels.shape == (10_000,)

    arrays["test_offsets"] = arrays["test_offsets"][:-1]
    np.savez(tmp_path / "cifar10.npz", **arrays)
    with pytest.raises(DataError, match="9500 images and 10000 labels in test, not 10000"):
        task("cifar10").load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_a_damaged_npz_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cifar10.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar10.npz is damaged or not in the expected format"):
        task("cifar10").load(tmp_path)


def test_an_npz_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="KeyError"):
        task("cifar10").load(tmp_path)


def test_no_folder_and_no_hub_client_names_both_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"'datasets'.*not installed.*cifar10.npz by --data"):
        task("cifar10").load(None)
    monkeypatch.setattr(fashion_mnist_module, "DEBIAN_FOLDER", Path("/nowhere"))
    with pytest.raises(DataError, match=r"apt-get install dataset-fashion-mnist.*--data"):
        task("fashion-mnist").load(None)


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def load_dataset(_: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_an_unreachable_hub_is_said_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, ConnectionError("no route"))
    with pytest.raises(DataError, match=r"could not be fetched.*no route.*cifar10.npz by --data"):
        task("cifar10").load(None)


def test_the_hubs_pictures_become_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(np.full((32, 32, 3), (1, 2, 3), np.uint8))
    split = {"img": [picture] * 2, "label": [3, 4]}
    fake_hub(monkeypatch, {"train": split, "test": split})
    found = task("cifar10").load(None)
    assert found.train_images[:, :, 0, 0].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert found.test_labels.tolist() == [3, 4]


def test_without_augmentation_the_pictures_are_only_normalised() -> None:
    data = training_set(flip=False, shift=0)
    pixels, labels = data.__getitems__([3, 0])
    expected = (images().train_images[[3, 0]].float() - 100) / 50
    assert torch.equal(pixels, expected)
    assert labels.tolist() == [3, 0]


def test_a_batch_is_its_samples() -> None:
    data = training_set()
    pixels, labels = data.__getitems__(list(range(12)))
    for sample_id in range(12):
        one, label = data[sample_id]
        assert torch.equal(one, pixels[sample_id])
        assert label == labels[sample_id]


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    def pictures(seed: int, epoch: int, ids: list[int]) -> list[list[float]]:
        data = training_set(seed)
        data.start_epoch(epoch)
        return data.__getitems__(ids)[0].flatten(1).tolist()

    whole = pictures(1, 5, list(range(12)))
    assert pictures(1, 5, [7, 2]) == [whole[7], whole[2]]
    assert pictures(1, 6, list(range(12))) != whole
    assert pictures(2, 5, list(range(12))) != whole


def test_flips_and_shifts_are_what_they_say() -> None:
    data, plain = training_set(), images().train_images.float()
    seen: set[tuple[bool, int, int]] = set()
    for epoch in range(40):
        data.start_epoch(epoch)
        pixels = data.__getitems__([5])[0] * 50 + 100
        matches = [
            (flip, dy, dx)
            for flip in (False, True)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.allclose(pixels[0, 0], moved(plain[5, 0], flip, dy, dx), atol=1e-3)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {flip for flip, _, _ in seen} == {False, True}
    assert {dy for _, dy, _ in seen} == {dx for _, _, dx in seen} == {-2, -1, 0, 1, 2}


def moved(picture: torch.Tensor, flip: bool, dy: int, dx: int) -> torch.Tensor:
    padded = torch.nn.functional.pad(picture, (2, 2, 2, 2))
    crop = padded[2 + dy : 8 + dy, 2 + dx : 8 + dx]
    return crop.flip(1) if flip else crop
