"""`thresher compare`: many paired runs, continued where they stopped, and the table they make."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.catalogue import DEFAULT_METHODS, TASKS, require_known, require_method
from thresher.bench.store import Store
from thresher.bench.suite import Row, RunConfig, added_rows, asked_rows
from thresher.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.bench.summary import Line
    from thresher.bench.tasks import Data, Task
    from thresher.bench.workers import Failed


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """What a comparison is asked to do; `thresher compare --help` explains each."""

    task: str = "digits"
    data: str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    prune_ratio: tuple[float, ...] = (0.5,)
    step_exponent: tuple[float | None, ...] = (None,)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    batch_size: int | None = None
    margin: float | None = None
    device: str = "cpu"
    workers: int | None = None
    out: str | None = None
    scale: str = "small"
    dry_run: bool = False

    def __post_init__(self) -> None:
        require_known("task", self.task, TASKS)
        for name in self.methods:
            require_method(name)
        for ratio in self.prune_ratio:
            if not 0 <= ratio < 1:
                raise SettingError(
                    f"--prune-ratio {ratio:g}",
                    "a share in [0, 1), where 0.5 means that half is left out",
                    f"If you meant {ratio:g} percent, write {ratio / 100:g}" if ratio >= 1 else "",
                )
        if not self.prune_ratio or not self.step_exponent:
            raise SettingError("an empty list", "at least one value")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds or min(self.seeds) < 0:
            raise SettingError(
                f"--seeds {' '.join(map(str, self.seeds))}",
                "a number of seeds, or different seeds from 0 up",
            )
        for name in ("epochs", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"--{name.replace('_', '-')} {value}", "1 or more")
        if self.margin is not None and not self.margin > 0:
            raise SettingError(f"--margin {self.margin:g}", "more than 0 points")
        require_known("scale", self.scale, ("small", "paper"))

    @property
    def full_task(self) -> str:
        """The task's name with its scale, as `tasks.task` takes it."""
        return self.task if self.scale == "small" else f"{self.task}@{self.scale}"

    @property
    def folder(self) -> Path:
        """Where results go."""
        name = self.full_task.replace("@", "-")
        return Path(self.out) if self.out is not None else Path("runs") / name

    @property
    def num_workers(self) -> int:
        """Processes: what was asked, else one a core up to four, and one on an accelerator."""
        if self.workers is not None:
            return self.workers
        # Cores this process may use, where the system can tell (not macOS).
        usable = getattr(os, "sched_getaffinity", None)
        cores = len(usable(0)) if usable else os.cpu_count() or 1
        return min(cores, 4) if self.device == "cpu" else 1

    def command(self) -> str:
        """Return the command line that asks for the same, without the folders of this machine."""
        words = ["thresher", "compare"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name in ("workers", "out", "dry_run"):
                continue
            words.append(f"--{field.name.replace('_', '-')}")
            if field.name == "data":
                words.append("FOLDER")
            elif field.name == "seeds" and value == tuple(range(len(value))):
                words.append(str(len(value)))
            else:
                values = value if isinstance(value, tuple) else (value,)
                words += ["published" if part is None else f"{part}" for part in values]
        return shlex.join(words)


@final
class Comparison:
    """One comparison: what is asked, what is finished, what is left.

    Args:
        options: what is asked.
        console: where to show it.

    Raises:
        ThresherError: something would fail in every run; nothing has been trained.
    """

    def __init__(self, options: Options, console: Console) -> None:
        from thresher.bench.provenance import commit, machine, versions
        from thresher.bench.run import load, require_device
        from thresher.bench.tasks import task

        _require_packages()
        self.options, self.console = options, console
        self.store = Store(options.folder)
        require_device(options.device)
        self.task: Task = task(options.full_task)
        data: Data = load(self.task, options.data)
        self._checksum = data.checksum()
        self._facts = {"versions": versions(), "commit": commit(), "machine": machine()}
        self.rows = asked_rows(options.methods, options.prune_ratio, options.step_exponent)
        self.failed: list[Failed] = []
        for text in self.store.damaged:
            console.print(text, style="yellow", highlight=False, soft_wrap=True, markup=False)

    def run(self) -> None:
        """Train what is not finished yet: the rows asked for, then the controls they call for."""
        from thresher.bench.summary import rates

        self._train(self.rows)
        added = added_rows(rates(self.records(), len(self.options.seeds)), self._epochs)
        if added:
            names = ", ".join(map(str, added))
            self._say(f"Controls at achieved rates: {names}.")
            self._train(added)
            self.rows = [*self.rows, *added]

    def records(self) -> dict[Row, dict[int, dict[str, Any]]]:
        """Return the finished runs, by row and seed."""
        found: dict[Row, dict[int, dict[str, Any]]] = {}
        for row in self.rows:
            keys = {seed: self._config(row, seed).key for seed in self.options.seeds}
            finished = self.store.records
            found[row] = {seed: finished[key] for seed, key in keys.items() if key in finished}
        return found

    @property
    def num_finished(self) -> int:
        """Runs that are on the disk."""
        return sum(len(runs) for runs in self.records().values())

    @property
    def margin(self) -> float:
        """δ: what was asked, else the metric's own."""
        return self.options.margin or self.task.metric.margin

    def lines(self) -> list[Line]:
        """Return the table's lines."""
        from thresher.bench.summary import summarise

        return summarise(self.records(), self.margin)

    def _train(self, rows: Sequence[Row]) -> None:
        from thresher.bench.display import Display
        from thresher.bench.workers import Failed, Finished, run_all

        # All rows of a seed before the next seed: times that are compared are near in time.
        configs = [self._config(row, seed) for seed in self.options.seeds for row in rows]
        left = [config for config in configs if config.key not in self.store.records]
        if len(left) < len(configs):
            self._say(
                f"{len(configs) - len(left)} of {len(configs)} runs are in {self.store.path}."
            )
        if not left:
            return
        workers = min(self.options.num_workers, len(left))
        self._say(
            f"{self.task.title}: {len(left)} runs of {len(rows)} rows, {self._epochs} epochs in "
            f"full, {workers} process{'es' * (workers > 1)} with one thread each."
        )
        full = dict(self.records()[self.rows[0]])
        with Display(self.console, left, full, self.task.metric) as display:
            for event in run_all(left, num_workers=workers, folder=self.options.data):
                if isinstance(event, Finished):
                    self.store.append(event.record | self._facts)
                elif isinstance(event, Failed):
                    self.failed.append(event)
                display.show(event)

    @property
    def _epochs(self) -> int:
        return self.options.epochs or self.task.budget.epochs

    def _config(self, row: Row, seed: int) -> RunConfig:
        from thresher.bench.run import configure

        return configure(
            self.task,
            row,
            data=self._checksum,
            epochs=self._epochs,
            batch_size=self.options.batch_size or self.task.budget.batch_size,
            seed=seed,
            device=self.options.device,
            threads=1,
        )

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _require_packages() -> None:
    """Refuse now what would fail only when the runs are over and the table is made."""
    for package in ("scipy", "matplotlib"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def compare(options: Options, console: Console) -> int:
    """Run a comparison, print its table, write it; return the exit code.

    Returns:
        0; 1 if a run failed (the others are in the table); 130 after Ctrl-C (what is finished is
        kept, and the same command continues).

    Raises:
        ThresherError: before any training.
    """
    if options.dry_run:
        from thresher.bench.rehearsal import rehearse

        return rehearse(options, console)
    comparison = Comparison(options, console)
    try:
        comparison.run()
    except KeyboardInterrupt:
        console.print(
            f"Stopped. {comparison.num_finished} finished runs are kept in "
            f"{comparison.store.path}; the same command continues.",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        return 130
    from thresher.bench.display import row_of

    report(comparison)
    for failure in comparison.failed:
        console.print(
            f"\nFailed: {row_of(failure.config)}, seed {failure.config.seed}: {failure.reason}\n"
            f"{failure.details}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return 1 if comparison.failed else 0


def report(comparison: Comparison) -> None:
    """Print the table and write `table.md` and `tradeoff.svg` into the folder of the results."""
    from thresher.bench import table
    from thresher.bench.figure import picture

    options, console = comparison.options, comparison.console
    lines = comparison.lines()
    if not lines:
        return
    heading = table.Heading(
        title=comparison.task.title,
        num_seeds=len(options.seeds),
        margin=comparison.margin,
        notes=table.notes(comparison.records(), comparison.task.note),
        command=options.command(),
        metric=comparison.task.metric,
    )
    for part in table.terminal(lines, heading, console.width):
        console.print(part)
    for text in table.legend(lines, heading):
        console.print(text, highlight=False, style="dim", markup=False)
    page, drawing = options.folder / "table.md", options.folder / "tradeoff.svg"
    page.write_text(table.markdown(lines, heading), encoding="utf-8")
    picture(lines, heading.title, heading.margin, drawing, heading.metric)
    console.print(
        f"\nWritten: {page}, {drawing}, {comparison.store.path}", highlight=False, soft_wrap=True
    )
