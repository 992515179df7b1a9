"""Finished runs of a folder, read without changing it, and put together by what may be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from thresher.bench.catalogue import has_step_length, is_control
from thresher.bench.metrics import Metric, metric_of
from thresher.bench.results import Results, open_results
from thresher.bench.store import PACKED, RUNS, Store
from thresher.bench.suite import Row
from thresher.errors import ThresherError

_OF_ROW = frozenset(
    ("method", "setting", "prune_ratio", "step_exponent", "seed", "reference_epochs")
)
"""Knobs in which runs that are compared may differ."""

_NUMBERS = ("metric", "samples_trained", "prune_rate")

_Runs = dict[Row, dict[int, dict[str, Any]]]


class NoRunsError(ThresherError):
    """There is nothing to report about."""


@final
@dataclass(frozen=True, kw_only=True)
class Together:
    """Runs that may be compared: all but the row and the seed is the same.

    Args:
        folder: where they lie.
        entry: the same, seen from the folder that is reported about.
        common: the knobs that all share.
        records: the runs of each row, by seed; `full` first.
        title: of the task, if the folder says it.
        margin: δ that was asked for; None if nobody knows.
        looks: the numbers of seeds that were named beforehand, if seeds are added.
        command: that made the runs; empty if nobody knows.
        notes: what takes from the verdicts.
    """

    folder: Path
    common: Mapping[str, Any]
    records: _Runs
    entry: str = ""
    title: str = ""
    margin: float | None = None
    looks: tuple[int, ...] = ()
    command: str = ""
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task's name."""
        return self.common["task"]

    @property
    def measure(self) -> Metric:
        """What was measured."""
        return metric_of(self.all[0])

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, ascending."""
        return tuple(sorted({seed for runs in self.records.values() for seed in runs}))

    @property
    def all(self) -> list[dict[str, Any]]:
        """All runs."""
        return [run for runs in self.records.values() for run in runs.values()]

    @property
    def num_samples(self) -> int:
        """Training samples, n."""
        run = max(self.all, key=lambda run: run["samples_trained"])
        kept = 1 - run["prune_rate"]
        return round(run["samples_trained"] / (kept * self.common["epochs"])) if kept > 0 else 0


@final
@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Args:
        folder: that was read.
        groups: of runs that may be compared.
        damaged: what is wrong with each line that was skipped.
    """

    folder: Path
    groups: list[Together]
    damaged: list[str] = field(default_factory=list[str])


def read(folder: Path) -> Found:
    """Return what a folder of runs, and the folders below it, hold.

    Where a folder says what was asked (`design.json`), its rows are those, in that order.

    Raises:
        NoRunsError: there is no whole run.
    """
    cure = "Give the folder that `thresher compare` or `thresher bench run` wrote to"
    places = sorted({path.parent for name in (RUNS, PACKED) for path in folder.rglob(name)})
    if not places:
        raise NoRunsError(f"no {RUNS} and no {PACKED} in {folder} or below it", cure=cure)
    groups: list[Together] = []
    damaged: list[str] = []
    for place in places:
        store = Store(place, writable=False)
        # Without the folder's own path, which is nobody's business on a page.
        damaged += [_named(text.replace(f"{place}/", "")) for text in store.damaged]
        records: dict[str, dict[str, Any]] = {}
        for key, record in store.records.items():
            if wrong := wrong_of(record):
                damaged.append(f"a run of {place.name}: {wrong}; skipped")
            else:
                records[key] = record
        groups += _asked(place, records) or grouped(records.values(), place)
    if not groups:
        raise NoRunsError(f"{folder} has no finished run", cure=cure)
    return Found(folder, [replace(each, entry=_entry(each, folder)) for each in groups], damaged)


def _entry(group: Together, folder: Path) -> str:
    below = group.folder.relative_to(folder)
    return below.as_posix() if below.parts else folder.resolve().name


def _named(text: str) -> str:
    """Return a line's damage without what will be done about it elsewhere."""
    return text.replace(", skipped; the run is repeated", "; skipped").replace(
        "; skipped, the run is repeated", "; skipped"
    )


def _asked(place: Path, records: Mapping[str, dict[str, Any]]) -> list[Together]:
    """Return the runs as a folder's design has them; nothing where it has none that fits."""
    try:
        [found] = [each for each in open_results(place) if each.folder == place]
        rows = _rows_of(found, records)
        texts: list[Any] = [found.task, found.title, found.command]
        if not found.command or not rows or not all(isinstance(text, str) for text in texts):
            return []
        common = _common(next(iter(next(iter(rows.values())).values())))
        return [
            Together(
                folder=place,
                common=common,
                records=rows,
                title=found.title,
                margin=float(found.margin),
                looks=tuple(int(look) for look in found.looks),
                command=found.command,
                notes=tuple(found.notes),
            )
        ]
    except (ThresherError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _rows_of(found: Results, records: Mapping[str, dict[str, Any]]) -> _Runs:
    rows: _Runs = {}
    for row, keys in found.rows.items():
        runs = {seed: records[key] for seed, key in keys.items() if key in records}
        # A design may be edited; what a row is called is what its runs say.
        if runs and all(run["config"]["method"] == row.method for run in runs.values()):
            rows[row] = runs
    return rows


def wrong_of(record: dict[str, Any]) -> str:
    """Return what keeps a record from being a run; empty if nothing does."""
    try:
        return _wrong(record)
    except (ValueError, TypeError, KeyError, AttributeError):
        return "damaged"


def _wrong(record: dict[str, Any]) -> str:
    config, seconds, epochs = record["config"], record["seconds"], record.get("epochs", [])
    measure = metric_of(record)
    texts = (config["task"], config["method"], measure.name, measure.unit, measure.points)
    if not all(isinstance(text, str) for text in (record["key"], *texts)):
        return "a name that is no text"
    whole = (config["seed"], config["epochs"], measure.digits)
    if not all(isinstance(each, int) for each in whole) or config["epochs"] < 1:
        return "a seed or a number of epochs that is not whole"
    numbers = [record[name] for name in _NUMBERS] + [*seconds.values(), measure.margin]
    for knob in ("prune_ratio", "step_exponent"):
        numbers += [config[knob]] if config.get(knob) is not None else []
    numbers += [epoch[name] for epoch in epochs for name in ("planned", "trained", "metric")]
    numbers += [epoch.get(name, 0) for epoch in epochs for name in ("effective_samples", "seconds")]
    numbers += [record.get(name, 0) for name in ("extra_forwards", "reference_samples")]
    numbers.append(record.get("flops", {"ratio": 0})["ratio"])
    if not isinstance(record.get("notes", []), list):
        return "notes that are no list"
    if not all(isinstance(each, int | float) for each in numbers):
        return "something that should be a number is none"
    return "" if seconds.get("training", 0) > 0 else "no time of training"


def grouped(records: Iterable[dict[str, Any]], folder: Path) -> list[Together]:
    """Return the runs, put together by what may be compared."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(json.dumps(_common(record), sort_keys=True), []).append(record)
    return [
        Together(folder=folder, common=json.loads(key), records=_rows(runs))
        for key, runs in groups.items()
    ]


def _common(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record["config"].items() if name not in _OF_ROW}


def _rows(runs: list[dict[str, Any]]) -> _Runs:
    asked = {
        run["config"].get("prune_ratio") for run in runs if not is_control(run["config"]["method"])
    }
    found: _Runs = {}
    for run in runs:
        config = run["config"]
        method, ratio = config["method"], config.get("prune_ratio")
        # Of a control nobody knows who asked for it; at a ratio of no method, nobody did.
        is_added = bool(asked) and is_control(method) and method != "full" and ratio not in asked
        exponent = config.get("step_exponent") if has_step_length(method) else None
        row = Row(method, None if method == "full" else ratio, exponent, is_added)
        found.setdefault(row, {})[config["seed"]] = run
    return dict(sorted(found.items(), key=_place))


def _place(item: tuple[Row, Any]) -> tuple[Any, ...]:
    row = item[0]
    ratio = -1.0 if row.prune_ratio is None else row.prune_ratio
    # Rows of a kind keep the order in which they were found: sorting is stable.
    return row.method != "full", row.is_added, ratio, not is_control(row.method)
