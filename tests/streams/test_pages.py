"""The loops of docs/streams.md and docs/other_loaders.md run as they are written.

FFCV and DALI are not here: each has a stand-in of its loop's shape, which takes and gives what the
sources and the documentation of the real one say, and nothing is claimed of the real one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import thresher

DOCS = Path(__file__).parent.parent.parent / "docs"
N = 96


def blocks(page: str) -> list[str]:
    """The blocks of a page that say they are run here."""
    mark = r"<!-- run by tests/streams/test_pages.py -->\n```python\n(.*?)```"
    return re.findall(mark, (DOCS / page).read_text(), re.DOTALL)


def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 5, generator=generator), torch.randint(3, (N,), generator=generator)


def script(**given: Any) -> dict[str, Any]:
    """What a user's script has before the block; the global streams are nobody else's."""
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names = {"thresher": thresher, "F": F, "np": np, "DataLoader": DataLoader}
    return {**names, "model": model, "optimizer": optimizer, "num_samples": N, **given}


class Stream(IterableDataset[Any]):
    """Samples with an id, in another order in each epoch."""

    def __init__(self) -> None:
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.order = random.Random(epoch).sample(range(N), N)

    def __iter__(self) -> Iterator[Any]:
        x, y = features()
        return ({"id": id_, "x": x[id_], "y": y[id_]} for id_ in self.order)


def test_the_loops_over_streams(capsys: pytest.CaptureFixture[str]) -> None:
    online, historical = blocks("streams.md")
    names = script(stream=Stream())
    exec(online, names)
    report = names["pruner"].report()
    assert (report.trained, report.extra_forwards, report.passed) == (20 * 48, 20 * N, 20 * N)
    assert "on a stream" in capsys.readouterr().out
    exec(historical, names)
    report = names["pruner"].report()
    assert report.trained == report.planned
    assert report.prune_rate == pytest.approx(0.5, abs=0.1)


class OrderOption(Enum):
    """As FFCV's: what its Loader takes as `order`."""

    SEQUENTIAL = auto()
    RANDOM = auto()


class MappedLoader:
    """Reads rows of a memory map as ffcv.loader.Loader does: `indices` in the order of `order`."""

    folder: Path
    built = 0

    def __init__(
        self,
        fname: str,
        batch_size: int,
        *,
        indices: Any,
        order: OrderOption,
        pipelines: Any,
        drop_last: bool = True,
    ) -> None:
        assert order is OrderOption.SEQUENTIAL
        type(self).built += 1
        self.images = np.load(self.folder / f"{fname}.npy", mmap_mode="r")
        self.labels = features()[1]
        self.indices, self.batch_size, self.drop_last = np.array(indices), batch_size, drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self.indices), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(len(self)):
            ids = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
            yield torch.from_numpy(self.images[ids]), self.labels[ids]


class ReadAhead:
    """Asks a source as DALI's iterator does: a batch ahead, and again from 0 after a reset."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.reset()

    def reset(self) -> None:
        self.iteration, self.is_over = 0, False
        self.ahead = self._asked()

    def _asked(self) -> Any:
        try:
            encoded, labels, ids = self.source(self.iteration)
        except StopIteration:
            self.is_over = True
            return None
        self.iteration += 1
        images = torch.from_numpy(np.stack([one.view(np.float32) for one in encoded]))
        labels, ids = (torch.from_numpy(np.stack(each)) for each in (labels, ids))
        return [{"images": images, "labels": labels, "ids": ids}]

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.ahead is None:
            raise StopIteration
        given, self.ahead = self.ahead, None if self.is_over else self._asked()
        return given


def assert_every_epoch_trained_its_plan(pruner: thresher.Pruner) -> None:
    report = pruner.report()
    assert len(report.rows) == 16
    assert report.trained == report.planned
    assert report.prune_rate == pytest.approx(0.5, abs=0.1)


def test_the_loop_of_ffcvs_shape_and_a_resume(tmp_path: Path) -> None:
    np.save(tmp_path / "train.beton.npy", features()[0].numpy())
    (block, *_) = blocks("other_loaders.md")
    block = block.replace("512", "20")
    MappedLoader.folder, MappedLoader.built = tmp_path, 0
    given = {"Loader": MappedLoader, "OrderOption": OrderOption, "pipelines": None}
    names = script(**given)
    exec(block, names)
    assert MappedLoader.built == 16
    assert_every_epoch_trained_its_plan(names["pruner"])
    # Killed in the middle of epoch 5: the same lines go on with what is left.
    pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=16, num_samples=N)
    for epoch in range(6):
        for ids in pruner.plan(epoch).ids.split(20)[: 1 if epoch == 5 else None]:
            pruner.observe(ids, torch.arange(len(ids)) + 0.5)
    state = pruner.state_dict()
    resumed = block.replace("\nfor epoch", "\npruner.load_state_dict(state)\nfor epoch", 1)
    names = script(state=state, **given)
    exec(resumed, names)
    assert MappedLoader.built == 16 + 11
    assert_every_epoch_trained_its_plan(names["pruner"])


def test_the_loop_of_dalis_shape(tmp_path: Path) -> None:
    x, y = features()
    files = [tmp_path / f"{id_}.bin" for id_ in range(N)]
    for file, row in zip(files, x, strict=True):
        row.numpy().tofile(file)
    _, source, loop = blocks("other_loaders.md")
    names = script(files=files, labels=y.numpy(), batches_of=ReadAhead)
    exec(source, names)
    exec(loop.replace("256", "20"), names)
    assert_every_epoch_trained_its_plan(names["pruner"])


def test_what_a_source_reads_ahead_is_of_the_plan_only_if_that_came_first() -> None:
    """Else the page's remark on `reset` is idle."""
    _, source, _ = blocks("other_loaders.md")
    names = script()
    exec(source, names)
    planned = names["PlannedFiles"]([], np.zeros(3), 2)
    assert ReadAhead(planned).ahead is None
