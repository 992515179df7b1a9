"""Finished runs of a folder, read without changing it, and put together by what may be compared."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from thresher.bench.catalogue import has_step_length, is_control
from thresher.bench.suite import Row
from thresher.errors import ThresherError

_OF_ROW = frozenset(
    ("method", "setting", "prune_ratio", "step_exponent", "seed", "reference_epochs")
)
"""Knobs in which runs that are compared may differ."""

_NUMBERS = ("metric", "samples_trained", "prune_rate")


class NoRunsError(ThresherError):
    """There is nothing to report about."""


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a metric is called, and which way is better.

    Args:
        name: such as accuracy.
        unit: of its values.
        points: of its differences.
        higher_is_better: whether it is.
        margin: δ, the loss that would be accepted, in points.
        digits: behind the decimal point.
    """

    name: str = "accuracy"
    unit: str = "%"
    points: str = "points"
    higher_is_better: bool = True
    margin: float = 0.5
    digits: int = 2


@final
@dataclass(frozen=True, kw_only=True)
class Together:
    """Runs that may be compared: all but the row and the seed is the same.

    Args:
        common: the knobs that all share.
        measure: of the metric.
        records: the runs of each row, by seed; `full` first, then by ratio.
    """

    common: Mapping[str, Any]
    measure: Measure
    records: dict[Row, dict[int, dict[str, Any]]]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.common["task"]

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
        folder: where it was found.
        groups: of runs that may be compared, the first one first.
        damaged: what is wrong with each line that was skipped.
    """

    folder: Path
    groups: list[Together]
    damaged: list[str] = field(default_factory=list)


def read(runs: Path) -> Found:
    """Return what a folder of runs holds, or one file of them.

    Args:
        runs: a folder with `runs.jsonl`, or `runs.jsonl.xz`, or both; or one such file.

    Raises:
        NoRunsError: there is no such file, or no whole run in it.
    """
    files = [runs] if runs.is_file() else [runs / "runs.jsonl.xz", runs / "runs.jsonl"]
    files = [file for file in files if file.is_file()]
    cure = "Give the folder that `thresher compare` or `thresher bench run` wrote to"
    if not files:
        raise NoRunsError(f"{runs} has no runs.jsonl and no runs.jsonl.xz", cure=cure)
    damaged: list[str] = []
    records: dict[str, dict[str, Any]] = {}
    for file in files:
        for record in _whole(file, damaged):
            records[record["key"]] = record
    if not records:
        raise NoRunsError(f"{files[0]} has no finished run", cure=cure)
    return Found(files[0].parent, grouped(records.values()), damaged)


def _whole(file: Path, damaged: list[str]) -> Iterator[dict[str, Any]]:
    try:
        content = file.read_bytes()
        content = lzma.decompress(content) if file.suffix == ".xz" else content
    except (OSError, lzma.LZMAError) as error:
        damaged.append(f"{file.name}: cannot be read or unpacked ({error}); skipped")
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        try:
            record = json.loads(line)
            wrong = _wrong(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            wrong = "damaged"
        if wrong:
            damaged.append(f"{file.name}, line {number}: {wrong}; skipped")
        else:
            yield record


def _wrong(record: dict[str, Any]) -> str:
    """Return what keeps a line from being a run; empty if nothing does."""
    config, seconds, epochs = record["config"], record["seconds"], record.get("epochs", [])
    texts = (record["key"], config["task"], config["method"])
    if not all(isinstance(text, str) for text in texts):
        return "a name that is no text"
    whole = (config["seed"], config["epochs"])
    if not all(isinstance(each, int) for each in whole) or config["epochs"] < 1:
        return "a seed or a number of epochs that is not whole"
    numbers = [record[name] for name in _NUMBERS] + list(seconds.values())
    for knob in ("prune_ratio", "step_exponent"):
        numbers += [config[knob]] if config.get(knob) is not None else []
    numbers += [epoch[name] for epoch in epochs for name in ("planned", "trained", "metric")]
    if not all(isinstance(each, int | float) for each in numbers):
        return "something that should be a number is none"
    return "" if seconds.get("training", 0) > 0 else "no time of training"


def grouped(records: Iterable[dict[str, Any]]) -> list[Together]:
    """Return the runs, put together by what may be compared."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        knobs = {name: value for name, value in record["config"].items() if name not in _OF_ROW}
        groups.setdefault(json.dumps(knobs, sort_keys=True), []).append(record)
    return [_together(json.loads(key), runs) for key, runs in groups.items()]


def _together(common: dict[str, Any], runs: list[dict[str, Any]]) -> Together:
    asked = {
        run["config"].get("prune_ratio") for run in runs if not is_control(run["config"]["method"])
    }
    found: dict[Row, dict[int, dict[str, Any]]] = {}
    for run in runs:
        config = run["config"]
        method, ratio = config["method"], config.get("prune_ratio")
        # Of a control nobody knows who asked for it; at a ratio of no method, nobody did.
        is_added = bool(asked) and is_control(method) and method != "full" and ratio not in asked
        exponent = config.get("step_exponent") if has_step_length(method) else None
        row = Row(method, None if method == "full" else ratio, exponent, is_added)
        found.setdefault(row, {})[config["seed"]] = run
    return Together(
        common=common, measure=_measure(runs), records=dict(sorted(found.items(), key=_place))
    )


def _place(item: tuple[Row, Any]) -> tuple[Any, ...]:
    row = item[0]
    ratio = -1.0 if row.prune_ratio is None else row.prune_ratio
    # Rows of a kind keep the order in which they were found: sorting is stable.
    return row.method != "full", row.is_added, ratio, not is_control(row.method)


def _measure(runs: list[dict[str, Any]]) -> Measure:
    told = next((run["measure"] for run in runs if isinstance(run.get("measure"), dict)), {})
    usual = vars(Measure())
    given: dict[str, Any] = {
        name: float(told[name]) if name == "margin" else told[name]
        for name, value in usual.items()
        if isinstance(told.get(name), (int, float) if name == "margin" else type(value))
    }
    return Measure(**given)
