"""The results of a comparison as they lie in its folder: what was asked, and which runs are there.

`design.json` says what was asked, beside the runs: rows, seeds, looks, margin, and the key of every
run, so that a table, a report or a status can be made without the data or the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

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
        margin: δ, in points.
        seeds: how many there may be.
        looks: the numbers of seeds at which verdicts may be read, if more than one.
        command: that makes the runs.
        rows: for each, the key of its run under each seed that is asked for by now.
        begun: seeds, looks and margin as they were when the first run was made.
    """

    store: Store
    task: str
    title: str
    margin: float
    seeds: int
    looks: tuple[int, ...]
    command: str
    rows: Mapping[Row, Mapping[int, str]]
    begun: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.store.path.parent

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
        now, begun, notes = self._settings(), self.begun, list[str]()
        num = sum(map(len, self.rows.values()))
        left = num - sum(map(len, self.records.values()))
        if left:
            notes.append(
                f"{left} of {num} runs are not finished. Verdicts are for the number of seeds that "
                "was fixed beforehand; until it is reached they are only something to look at."
            )
        if now["looks"] != begun["looks"] or (now["seeds"] != begun["seeds"] and not self.looks):
            was = f"{begun['seeds']} seeds" + _at(begun["looks"])
            notes.append(
                f"Begun with {was}, now {self.seeds} seeds{_at(self.looks)}: that was changed when "
                "results could be seen, so verdicts may be wrong more often than is said here. "
                "Name the looks beforehand (--looks)."
            )
        if now["margin"] != begun["margin"]:
            notes.append(
                f"Begun with a margin of {begun['margin']:g}, now {self.margin:g}: chosen when "
                "results could be seen."
            )
        return notes

    def save(self) -> None:
        """Write `design.json`, whole or not at all.

        Raises:
            FolderError: it cannot be written.
        """
        rows = [
            asdict(row) | {"keys": {str(seed): key for seed, key in keys.items()}}
            for row, keys in self.rows.items()
        ]
        names = ("task", "title", "margin", "seeds", "looks", "command", "begun")
        content = {name: getattr(self, name) for name in names} | {"rows": rows}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        try:
            with drafted(self.folder / DESIGN) as file:
                file.write(text.encode())
        except OSError as error:
            raise FolderError(
                f"{self.folder / DESIGN} could not be written ({error.strerror})"
            ) from error

    def _settings(self) -> dict[str, Any]:
        return {"seeds": self.seeds, "looks": list(self.looks), "margin": self.margin}


def settings_at_begin(store: Store, now: Mapping[str, Any]) -> dict[str, Any]:
    """Return seeds, looks and margin of a folder when its first run was made: now, if none was."""
    begun = _design(store.path.parent).get("begun")
    return dict(begun if begun and store.records else now)


def open_results(folder: Path) -> list[Results]:
    """Return the results in a folder and in the folders below it, in the order of their paths.

    Raises:
        FolderError: there are none.
    """
    names = (RUNS, PACKED, DESIGN)
    found = sorted({path.parent for name in names for path in folder.rglob(name)})
    if not found:
        raise FolderError(f"no {RUNS} in {folder} or below it", cure="Give a folder of results")
    return [_opened(each) for each in found]


def _opened(folder: Path) -> Results:
    store, design = Store(folder, writable=False), _design(folder)
    if not design:
        return _guessed(store)
    rows = {
        Row(row["method"], row["prune_ratio"], row["step_exponent"], row["is_added"]): {
            int(seed): key for seed, key in row["keys"].items()
        }
        for row in design["rows"]
    }
    names = ("task", "title", "margin", "seeds", "command", "begun")
    given = {name: design[name] for name in names}
    return Results(store=store, rows=rows, looks=tuple(design["looks"]), **given)


def _design(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / DESIGN).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FolderError(
            f"{folder / DESIGN} is damaged", cure="Run the comparison again"
        ) from error


def _guessed(store: Store) -> Results:
    """Return what a folder tells that has runs alone: every configuration but the seed is a row."""
    rows: dict[Row, dict[int, str]] = {}
    for key, record in store.records.items():
        config = record["config"]
        row = Row(config["method"], config["prune_ratio"], config["step_exponent"])
        rows.setdefault(row, {})[config["seed"]] = key
    task = next((record["config"]["task"] for record in store.records.values()), "")
    seeds = max(map(len, rows.values()), default=0)
    begun = {"seeds": seeds, "looks": [], "margin": 0.5}
    return Results(
        store=store,
        task=task,
        title=task,
        margin=0.5,
        seeds=seeds,
        looks=(),
        command="",
        rows=rows,
        begun=begun,
    )


def _at(looks: object) -> str:
    return f" (looks at {', '.join(map(str, looks))})" if looks else ""  # pyright: ignore
