"""`thresher compare`: many paired runs, continued where they stopped, and the table they make."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, final

from thresher.bench.catalogue import DEFAULT_METHODS, TASKS, require_known, require_method
from thresher.bench.looks import require_looks
from thresher.bench.suite import asked_rows
from thresher.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.bench.experiment import Experiment, Question
    from thresher.bench.sweep import Sweep


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
    looks: tuple[int, ...] = ()
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
        require_looks(self.looks, len(self.seeds))
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
        return min(usable_cores(), 4) if self.device == "cpu" else 1

    def question(self) -> Question:
        """Return what is asked of the task."""
        from thresher.bench.experiment import Question

        return Question(
            task=self.full_task,
            rows=tuple(asked_rows(self.methods, self.prune_ratio, self.step_exponent)),
            seeds=self.seeds,
            looks=self.looks,
            margin=self.margin,
            epochs=self.epochs,
            batch_size=self.batch_size,
            device=self.device,
            data=self.data,
            command=self.command(),
        )

    def command(self) -> str:
        """Return the command line that asks for the same, without the folders of this machine.

        Empty if none does: one number of seeds is how many there are, so no other single seed than
        0 can be asked for.
        """
        if len(self.seeds) == 1 and self.seeds != (0,):
            return ""
        words = ["thresher", "compare"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name in ("workers", "out", "dry_run"):
                continue
            if field.name == "seeds" and self.looks and value == tuple(range(len(value))):
                continue  # they say it themselves
            words.append(f"--{field.name.replace('_', '-')}")
            if field.name == "data":
                words.append("FOLDER")
            elif field.name == "seeds" and value == tuple(range(len(value))):
                words.append(str(len(value)))
            else:
                values = value if isinstance(value, tuple) else (value,)
                words += ["published" if part is None else f"{part}" for part in values]
        return shlex.join(words)


def compare(options: Options, console: Console) -> int:
    """Run a comparison, print its table, write it; return the exit code.

    Returns:
        0; 1 if a run failed, here or in another invocation, and is not there (the others are in the
        table); 130 after Ctrl-C (what is finished is kept, and the same command continues).

    Raises:
        ThresherError: before any training.
    """
    if options.dry_run:
        from thresher.bench.rehearsal import rehearse

        return rehearse(options, console)
    from thresher.bench.experiment import Experiment
    from thresher.bench.sweep import Sweep

    require_packages()
    experiment = Experiment(options.question(), options.folder)
    sweep = Sweep({options.task: experiment}, console, num_workers=options.num_workers)
    return finish(sweep)


def require_packages() -> None:
    """Refuse now what would fail only when the runs are over and the table is made."""
    for package in ("scipy", "matplotlib"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def usable_cores() -> int:
    """Return how many cores this process may use, where the system can tell (not macOS)."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def finish(sweep: Sweep) -> int:
    """Make all runs of a sweep, and a table for each experiment; return the exit code."""
    console = sweep.console
    try:
        sweep.run()
    except KeyboardInterrupt:
        for experiment in sweep.experiments.values():
            num = sum(map(len, experiment.records().values()))
            console.print(
                f"Stopped. {num} finished runs are kept in {experiment.store.path}; the same "
                "command continues.",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
        return 130
    for experiment in sweep.experiments.values():
        report(experiment, console)
    unfinished = {name: each.unfinished() for name, each in sweep.experiments.items()}
    for name, runs in unfinished.items():
        about = f"{name}: " if len(sweep.experiments) > 1 else ""
        for row, seed, failure in runs:
            why = f": {failure['reason']}\n{failure['details']}" if failure else " is not there"
            console.print(
                f"\nFailed: {about}{row}, seed {seed}{why}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return 1 if any(unfinished.values()) else 0


def report(experiment: Experiment, console: Console) -> None:
    """Print the table and write `table.md` and `tradeoff.svg` into the folder of the results."""
    from thresher.bench import table
    from thresher.bench.figure import picture

    results = experiment.results()
    results.save()
    lines = results.lines()
    if not lines:
        return
    heading = table.Heading(
        title=results.title,
        num_seeds=len(experiment.seeds),
        margin=results.margin,
        notes=[*results.notes, *table.notes(results.records, experiment.task.note)],
        command=results.command,
        metric=experiment.task.metric,
        looks=results.looks,
    )
    for part in table.terminal(lines, heading, console.width):
        console.print(part)
    for text in table.legend(lines, heading):
        console.print(text, highlight=False, style="dim", markup=False)
    page, drawing = results.folder / "table.md", results.folder / "tradeoff.svg"
    page.write_text(table.markdown(lines, heading), encoding="utf-8")
    picture(lines, heading.title, heading.margin, drawing, heading.metric)
    console.print(
        f"\nWritten: {page}, {drawing}, {results.store.path}", highlight=False, soft_wrap=True
    )
