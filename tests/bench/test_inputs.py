"""What happens to a sample on its way into a batch depends on seed, epoch and sample id alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from thresher.bench.images import Images, Pictures
from thresher.bench.photographs import Crops, Photographs, middle, part
from thresher.bench.tasks import DataError
from thresher.bench.texts import PADDING, UNKNOWN, Sequences, Tokens

NUM = 12


def tokens() -> Tokens:
    words = torch.arange(2, 2 + NUM * 20, dtype=torch.int16).view(NUM, 20)
    words[:, 15:] = PADDING
    labels = torch.arange(NUM) % 3
    return Tokens(
        train_tokens=words,
        train_labels=labels,
        test_tokens=words[:4],
        test_labels=labels[:4],
        texts=("text",) * NUM,
    )


def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (NUM, 1, 6, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(NUM)
    return Images(
        train_images=pixels, train_labels=labels, test_images=pixels[:2], test_labels=labels[:2]
    )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    folder = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    paths: list[Path] = []
    for number in range(NUM):
        pixels = torch.randint(0, 256, (30 + number, 40, 3), dtype=torch.uint8, generator=generator)
        path = folder / f"{number}.png"
        Image.fromarray(pixels.numpy()).save(path)
        paths.append(path)
    labels = torch.arange(NUM)
    return Photographs(
        train_paths=tuple(paths),
        train_labels=labels,
        test_paths=tuple(paths[:3]),
        test_labels=labels[:3],
        class_names=(),
    )


CROPS = Crops(size=16, mean=(100.0, 110.0, 120.0), std=(50.0, 50.0, 50.0))


@pytest.fixture(params=["words", "pictures", "photographs"])
def kind(request: pytest.FixtureRequest, photographs: Photographs) -> tuple[Any, Any]:
    return {
        "words": (Sequences(hidden=0.4), tokens()),
        "pictures": (Pictures(mean=(100.0,), std=(50.0,), shift=(0, 3)), images()),
        "photographs": (CROPS, photographs),
    }[request.param]


@pytest.mark.usefixtures("unchanged_global_rng")
def test_a_sample_is_the_same_in_any_batch_of_its_epoch(kind: tuple[Any, Any]) -> None:
    inputs, data = kind

    def batch(seed: int, epoch: int, ids: list[int]) -> torch.Tensor:
        training = inputs.training_set(data, seed)
        training.start_epoch(epoch)
        found, labels = training.__getitems__(ids)
        assert torch.equal(labels, data.train_labels[ids])
        return found

    whole = batch(1, 5, list(range(NUM)))
    assert torch.equal(batch(1, 5, [7, 2]), whole[[7, 2]])
    assert torch.equal(inputs.training_set(data, 1).__getitem__(3)[0], batch(1, 0, [3])[0])
    assert not torch.equal(batch(1, 6, list(range(NUM))), whole)
    assert not torch.equal(batch(2, 5, list(range(NUM))), whole)


def test_without_augmentation_every_epoch_is_the_same(kind: tuple[Any, Any]) -> None:
    inputs, data = kind
    plain = inputs.plain_set(data)
    before, _ = plain.__getitems__([0, 1, 2])
    plain.start_epoch(3)
    assert torch.equal(plain.__getitems__([0, 1, 2])[0], before)
    batches = list(inputs.test_batches(data, 3))
    num = min(3, len(data.test_labels))
    assert torch.equal(batches[0][0], before[:num])
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.test_labels)


def test_the_beginning_of_data_is_its_first_samples(kind: tuple[Any, Any]) -> None:
    inputs, data = kind
    part_of_it = data.head(5, 1)
    assert len(part_of_it) == 5
    assert len(part_of_it.test_labels) == 1
    assert part_of_it.checksum() != data.checksum() == data.head(NUM, 4).checksum()
    whole, first = inputs.plain_set(data), inputs.plain_set(part_of_it)
    assert torch.equal(whole.__getitems__([4])[0], first.__getitems__([4])[0])


def test_hidden_words_are_as_many_as_asked_and_never_padding() -> None:
    data = tokens()
    training = Sequences(hidden=0.4).training_set(data, 0)
    hidden = 0
    for epoch in range(40):
        training.start_epoch(epoch)
        words = training.__getitems__(list(range(NUM)))[0]
        whole = data.train_tokens.long()
        assert torch.equal(words == PADDING, whole == PADDING)
        assert torch.equal(words[words != UNKNOWN], whole[words != UNKNOWN])
        hidden += int((words == UNKNOWN).sum())
    num = 40 * NUM * 15
    assert abs(hidden - 0.4 * num) < 4 * (0.24 * num) ** 0.5
    assert int((data.train_tokens == UNKNOWN).sum()) == 0, "the data themselves stay as they are"


def test_a_shift_of_one_axis_leaves_the_other_alone() -> None:
    data = images()
    moved = Pictures(mean=(0.0,), std=(1.0,), flip=False, shift=(0, 3)).training_set(data, 0)
    seen: set[int] = set()
    for epoch in range(30):
        moved.start_epoch(epoch)
        picture = moved.__getitem__(4)[0][0]
        whole = data.train_images[4, 0].float()
        places = [
            dx
            for dx in range(-3, 4)
            if torch.equal(
                torch.roll(whole, -dx, 1)[:, max(0, -dx) : 8 - max(0, dx)],
                picture[:, max(0, -dx) : 8 - max(0, dx)],
            )
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert seen == set(range(-3, 4))


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    *[st.floats(0, 1, exclude_max=True) for _ in range(4)],
)
def test_a_random_part_lies_inside_the_photograph(
    width: int, height: int, area: float, shape: float, left: float, top: float
) -> None:
    x, y, right, below = part(width, height, area, shape, left, top)
    assert 0 <= x < right <= width * (1 + 1e-12)
    assert 0 <= y < below <= height * (1 + 1e-12)
    share = (right - x) * (below - y) / (width * height)
    assert share <= (0.08 + 0.92 * area) * (1 + 1e-9)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_middle_is_a_square_around_the_centre(width: int, height: int) -> None:
    left, top, right, below = middle(width, height)
    assert right - left == pytest.approx(below - top)
    assert left + right == pytest.approx(width)
    assert top + below == pytest.approx(height)
    assert right - left == pytest.approx(0.875 * min(width, height))


def test_a_photograph_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    labels = torch.zeros(1, dtype=torch.long)
    data = Photographs(
        train_paths=(path,),
        train_labels=labels,
        test_paths=(),
        test_labels=labels[:0],
        class_names=(),
    )
    with pytest.raises(DataError, match=r"broken.png cannot be read as a photograph"):
        CROPS.training_set(data, 0).__getitem__(0)


def test_what_is_shown_of_a_sample_is_for_people(
    photographs: Photographs,
) -> None:
    assert photographs.shown(2).shape == (3, 224, 224)
    assert torch.equal(images().shown(3), images().train_images[3])
    assert tokens().shown(0) == "text"
