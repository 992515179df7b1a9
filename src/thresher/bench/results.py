"""The results of a comparison as they lie in its folder: what was asked, and which runs are there.

`design.json` says what was asked, beside the runs: rows, seeds, looks, margin, and the key of every
run, so that a table, a report or a status can be made without the data or the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from thresher.bench.begun import Asked, changes
from thresher.bench.store import PACKED, RUNS, FolderError, Store
from thresher.bench.suite import Row
from thresher.bench.summary import Line, Records, summarise
from thresher.drafts import drafted

DESIGN = "design.json"


@final
@dataclass(frozen=True, kw_only=True)
class Results:
    """What a comparison asks, and its runs.

    Args:
        store: of its folder.
        task: its name.
        title: of the task, for a heading.
        command: that makes the runs.
        asked: seeds, looks, margin and rows.
        begun: the same as it was when the first run was made, with all rows asked for since.
        rows: those asked for and the controls that were added; for each, the key of its run under
            each seed that is asked for by now.
    """

    store: Store
    task: str
    title: str
    command: str
    asked: Asked
    begun: Asked
    rows: Mapping[Row, Mapping[int, str]]

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.store.path.parent

    @property
    def margin(self) -> float:
        """δ, in points."""
        return self.asked.margin

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which verdicts may be read, if more than one."""
        return self.asked.looks

    @property
    def records(self) -> Records:
        """The finished runs, by row and seed."""
        finished = self.store.records
        return {
            row: {seed: finished[key] for seed, key in keys.items() if key in finished}
            for row, keys in self.rows.items()
        }

    def lines(self) -> list[Line]:
        """Return the table's lines, with their verdicts."""
        return summarise(self.records, self.margin, self.looks)

    @property
    def notes(self) -> list[str]:
        """What takes from the verdicts: runs that are missing, changes when results were seen."""
        notes = list[str]()
        num = sum(map(len, self.rows.values()))
        left = num - sum(map(len, self.records.values()))
        if left:
            notes.append(
                f"{left} of {num} runs are not finished. Verdicts are for the number of seeds that "
                "was fixed beforehand; until it is reached they are only something to look at."
            )
        return notes + changes(self.begun, self.asked)

    def save(self) -> None:
        """Write `design.json`, whole or not at all.

        Raises:
            FolderError: it cannot be written.
        """
        rows = [
            asdict(row) | {"keys": {str(seed): key for seed, key in keys.items()}}
            for row, keys in self.rows.items()
        ]
        asked = {name: getattr(self.asked, name) for name in ("seeds", "looks", "margin")}
        content = {name: getattr(self, name) for name in ("task", "title", "command")}
        content |= asked | {"begun": asdict(self.begun), "rows": rows}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        try:
            with drafted(self.folder / DESIGN) as file:
                file.write(text.encode())
        except OSError as error:
            raise FolderError(
                f"{self.folder / DESIGN} could not be written ({error.strerror})"
            ) from error


def open_results(folder: Path) -> list[Results]:
    """Return the results in a folder and in the folders below it, in the order of their paths.

    Raises:
        FolderError: there are none, or one says what was asked in a file that cannot be read.
    """
    names = (RUNS, PACKED, DESIGN)
    found = sorted({path.parent for name in names for path in folder.rglob(name)})
    if not found:
        raise FolderError(f"no {RUNS} in {folder} or below it", cure="Give a folder of results")
    stores = [Store(each, writable=False) for each in found]
    return [designed(store) or _guessed(store) for store in stores]


def designed(store: Store) -> Results | None:
    """Return the results in a folder as its `design.json` has them; None if it has none.

    Raises:
        FolderError: it cannot be read.
    """
    path = store.path.parent / DESIGN
    try:
        return _read(store, json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FolderError(
            f"{path} is damaged",
            cure="Delete it: the runs are not in it, and the command that made them writes it anew",
        ) from error


def _read(store: Store, design: Mapping[str, Any]) -> Results:
    rows = {
        _row(row): {int(seed): key for seed, key in row["keys"].items()} for row in design["rows"]
    }
    asked, begun = [row for row in rows if not row.is_added], design["begun"]
    # Older versions did not write down which rows a comparison was begun with.
    known = map(_row, begun["rows"]) if "rows" in begun else asked
    return Results(
        store=store,
        task=design["task"],
        title=design["title"],
        command=design["command"],
        asked=_asked(design, asked),
        begun=_asked(begun, known),
        rows=rows,
    )


def _asked(design: Mapping[str, Any], rows: Iterable[Row]) -> Asked:
    seeds = design["seeds"]
    return Asked(
        seeds=seeds if isinstance(seeds, int) else tuple(map(int, seeds)),
        looks=tuple(map(int, design["looks"])),
        margin=float(design["margin"]),
        rows=tuple(rows),
    )


def _row(design: Mapping[str, Any]) -> Row:
    return Row(design["method"], design["prune_ratio"], design["step_exponent"], design["is_added"])


def _guessed(store: Store) -> Results:
    """Return what a folder tells that has runs alone: every configuration but the seed is a row."""
    rows: dict[Row, dict[int, str]] = {}
    for key, record in store.records.items():
        config = record["config"]
        row = Row(config["method"], config["prune_ratio"], config["step_exponent"])
        rows.setdefault(row, {})[config["seed"]] = key
    task = next((record["config"]["task"] for record in store.records.values()), "")
    seeds = sorted({seed for keys in rows.values() for seed in keys})
    asked = Asked(seeds=tuple(seeds), looks=(), margin=0.5, rows=tuple(rows))
    return Results(
        store=store, task=task, title=task, command="", asked=asked, begun=asked, rows=rows
    )
