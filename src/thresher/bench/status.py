"""How far a sweep is: read from its folder, whoever works on it and wherever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.claims import Claims
from thresher.bench.pace import Pace
from thresher.bench.results import Results, open_results
from thresher.bench.suite import expected_epochs
from thresher.bench.table import duration

if TYPE_CHECKING:
    from rich.console import Console


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one comparison is.

    Args:
        name: of its folder.
        title: of its task.
        done: finished runs.
        running: by the run's name, who makes it and since when.
        failed: runs that ended with an error and are neither finished nor running, by name, with
            the reason.
        waiting: runs that nobody has begun.
        left: seconds of work that is not done, as far as finished runs tell; None: nothing tells.
    """

    name: str
    title: str
    done: int
    running: dict[str, dict[str, Any]]
    failed: dict[str, str]
    waiting: int
    left: float | None


def progress(results: Results, now: float) -> Progress:
    """Return how far a comparison is.

    Args:
        results: of its folder.
        now: the time, in seconds since 1970.
    """
    runs = {key: (row, seed) for row, keys in results.rows.items() for seed, key in keys.items()}
    finished = runs.keys() & results.store.records.keys()
    claimed = Claims(results.folder / "claims").of_others()
    running = {key: holder for key, holder in claimed.items() if key in runs.keys() - finished}
    names = {key: f"{row} · seed {seed}" for key, (row, seed) in runs.items()}
    failed = {
        key: results.store.failures[key]["reason"]
        for key in runs.keys() - finished - running.keys()
        if key in results.store.failures
    }
    pace, left = Pace(results.store.records.values()), list[float | None]()
    epochs = _epochs(results)
    for key in runs.keys() - finished - failed.keys():
        row = runs[key][0]
        work = expected_epochs(row.method, row.prune_ratio, epochs)
        seconds = pace.seconds(results.task, work)
        spent = now - running[key].get("since", now) if key in running else 0.0
        left.append(None if seconds is None else max(0.0, seconds - spent))
    return Progress(
        name=results.folder.name,
        title=results.title,
        done=len(finished),
        running={names[key]: holder for key, holder in running.items()},
        failed={names[key]: reason for key, reason in failed.items()},
        waiting=len(runs) - len(finished) - len(running) - len(failed),
        left=None if None in left else sum(each for each in left if each is not None),
    )


def _epochs(results: Results) -> int:
    return next((record["config"]["epochs"] for record in results.store.records.values()), 1)


def show(folder: Path, console: Console) -> int:
    """Print how far the comparisons in a folder are; return 0 if all runs are finished, else 1.

    Raises:
        FolderError: there is none.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = [progress(results, time.time()) for results in open_results(folder)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("done", "running", "failed", "waiting", "left"):
        table.add_column(name, justify="right")
    for one in found:
        counts = (one.done, len(one.running), len(one.failed), one.waiting)
        table.add_row(one.name, *map(str, counts), _left(one.left, len(one.running)))
    if len(found) > 1:
        totals = [
            sum(one.done for one in found),
            sum(len(one.running) for one in found),
            sum(len(one.failed) for one in found),
            sum(one.waiting for one in found),
        ]
        known = [one.left for one in found if one.left is not None]
        left = sum(known) if len(known) == len(found) else None
        table.add_section()
        table.add_row("all", *map(str, totals), _left(left, totals[1]))
    console.print(table)
    _tell(folder, found, console)
    return 0 if all(not (one.running or one.failed or one.waiting) for one in found) else 1


def _left(seconds: float | None, running: int) -> str:
    if seconds is None:
        return "?"
    if seconds == 0:
        return "–"
    at = f" at {running} at a time" if running else " of work"
    return f"{duration(seconds / max(1, running))}{at}"


def _tell(folder: Path, found: list[Progress], console: Console) -> None:
    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)

    for one in found:
        for name, holder in sorted(one.running.items()):
            say(f"{one.name} · {name}: running{_since(holder)}")
        for name, reason in sorted(one.failed.items()):
            say(f"{one.name} · {name}: failed: {reason} (the next invocation tries again)", "red")
    for results in open_results(folder):
        for text in results.store.damaged:
            say(text, "yellow")


def _since(holder: dict[str, Any]) -> str:
    if not holder:
        return ""
    spent = max(0.0, time.time() - holder["since"])
    return f" for {duration(spent)} ({holder['node']}, process {holder['process']})"
