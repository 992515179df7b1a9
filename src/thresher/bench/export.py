"""All finished runs of a folder in one file: a Parquet table, or compressed JSON lines."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.bench.results import open_results
from thresher.drafts import drafted
from thresher.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console


def write(folder: Path, file: Path, console: Console) -> int:
    """Write all finished runs in a folder and below it; return the exit code.

    `.jsonl.xz`: the lines of all `runs.jsonl` as they are, which `thresher` reads again under the
    name `runs.jsonl.xz`. `.parquet`: a row for each run; columns are the record's numbers and
    texts, by their path (`config.task`, `seconds.training`), and `epochs`, as JSON.

    Raises:
        SettingError: another kind of file.
        FolderError: there are no results.
    """
    records = [run for results in open_results(folder) for run in results.store.records.values()]
    if file.name.endswith(".jsonl.xz"):
        lines = (json.dumps(run, ensure_ascii=False) + "\n" for run in records)
        with drafted(file) as draft:
            draft.write(lzma.compress("".join(lines).encode(), preset=9))
    elif file.suffix == ".parquet":
        _parquet(records, file)
    else:
        raise SettingError(f"{file}", "a name that ends with .parquet or .jsonl.xz")
    console.print(f"{len(records)} runs in {file}", highlight=False, soft_wrap=True)
    return 0


def _parquet(records: list[dict[str, Any]], file: Path) -> None:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(
            f"{file}: pyarrow, which writes Parquet, is not installed",
            "pyarrow",
            'pip install "thresher[parquet]", or write .jsonl.xz',
        ) from error

    rows = [dict(_flat(record)) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    with drafted(file) as draft:
        pq.write_table(pa.table(columns), draft)


def _flat(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        elif isinstance(value, list):
            yield path + name, json.dumps(value, ensure_ascii=False)
        else:
            yield path + name, value


def _column(values: list[Any]) -> list[Any]:
    """Return values of one type: a setting may be a number here and a word there."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
