"""Collected where the extra `streams` is installed; `.ci/integrations` installs it."""

import io
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

is_here = find_spec("datasets") is not None and find_spec("webdataset") is not None
collect_ignore_glob = [] if is_here else ["*"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Four shards of ten samples: a class, and a text of JSON."""
    folder: Path = tmp_path_factory.mktemp("shards")
    for shard in range(4):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(10 * shard, 10 * shard + 10):
                for ending, text in (("cls", f"{number}"), ("json", f'{{"x": {number}}}')):
                    about = tarfile.TarInfo(f"{number:04d}.{ending}")
                    about.size = len(text)
                    tar.addfile(about, io.BytesIO(text.encode()))
    return [str(folder / f"{shard}.tar") for shard in range(4)]
