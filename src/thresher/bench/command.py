"""`thresher bench`: whole suites, on this machine or a cluster, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.catalogue import require_known
from thresher.bench.suite_file import Suite, read_suite
from thresher.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.bench.experiment import Experiment

_EXAMPLES = """\
examples:
  thresher bench run benchmarks/suites/lossless.yaml
      make all runs of a suite, one process a core; results go to runs/lossless
  thresher bench status runs/lossless
      how far it is, from anywhere that sees the folder, at any time
  thresher bench run benchmarks/suites/lossless.yaml --only ag-news --workers 2
      a part of it; also at the same time as another invocation
  thresher bench run benchmarks/suites/lossless.yaml --ray auto
      the same on the Ray cluster this machine belongs to
  thresher bench export runs/lossless lossless.parquet
      all runs as one table

A suite file:
  seeds: 5                      # or a list; unset: as many as the last look has, or 5
  looks: [3, 5]                 # optional: judge at 3 seeds, and add seeds only if undecided
  margin: 0.5                   # points that may be lost; unset: each metric's own
  tasks:
    fashion-mnist:              # a task, and the name of its folder
    quick:
      task: fashion-mnist
      epochs: 5
  rows:                         # beside full, random and fewer-epochs, which are always there
    - methods: [repb, "repb(window=8)", infobatch]
      prune_ratio: [0.3, 0.5, 0.7]
    - methods: [repb]
      step_exponent: [0.5]      # a common step length instead of each paper's
      tasks: [fashion-mnist]

Stop it however you like: what is finished is on the disk, and the same command continues. Any
number of invocations may work on one folder, from several machines if it is shared: a run is
claimed by a lock on a file, which goes when its maker dies. The disk must have locks (`flock`).
"""


@final
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `thresher bench run` is asked; its --help explains each."""

    suite: str
    out: str | None = None
    only: tuple[str, ...] = ()
    data: str | None = None
    workers: int | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"--workers {self.workers}", "1 or more")

    @property
    def folder(self) -> Path:
        """Where results go."""
        return Path(self.out) if self.out is not None else Path("runs") / Path(self.suite).stem


def run(options: RunOptions, console: Console) -> int:
    """Make what a suite asks for and is not finished; return the exit code.

    Returns:
        0; 1 if a run failed, here or in another invocation, and is not there (the others are in the
        tables); 130 after Ctrl-C.

    Raises:
        ThresherError: before any training.
    """
    from thresher.bench.compare import finish, require_packages, usable_cores
    from thresher.bench.sweep import Sweep

    suite = read_suite(Path(options.suite))
    for name in options.only:
        require_known("entry at --only", name, suite.tasks)
    require_packages()
    if options.ray is not None:
        from thresher.bench import on_ray

        runner: Any = partial(on_ray.run_all, address=options.ray)
        num_workers = options.workers or on_ray.num_slots(options.ray, suite.device)
    else:
        runner = None
        num_workers = options.workers or (usable_cores() if suite.device == "cpu" else 1)
    experiments = {
        name: opened(suite, name, options)
        for name in suite.tasks
        if not options.only or name in options.only
    }
    return finish(Sweep(experiments, console, num_workers=num_workers, runner=runner))


def opened(suite: Suite, name: str, options: RunOptions) -> Experiment:
    """Return the experiment of a suite's entry.

    Raises:
        ThresherError: something would fail in every run of it.
    """
    from thresher.bench.experiment import Experiment, Question
    from thresher.bench.tasks import DataError, NoDataError

    entry = suite.tasks[name]
    question = Question(
        task=suite.full_task(name),
        rows=suite.asked(name),
        seeds=suite.all_seeds,
        looks=tuple(suite.looks),
        margin=entry.margin or suite.margin,
        epochs=entry.epochs,
        batch_size=entry.batch_size,
        device=suite.device,
        data=entry.data or options.data,
        command=f"thresher bench run {Path(options.suite).name}",
    )
    try:
        return Experiment(question, options.folder / name)
    except NoDataError as nothing:
        if entry.data is not None or options.data is None:
            raise
        # --data is for all tasks, and not all may have files there.
        try:
            return Experiment(replace(question, data=None), options.folder / name)
        except DataError as error:
            raise DataError(
                f"{nothing.came}; without that folder: {error.came}", error.expected, error.cure
            ) from error


def bench(given: dict[str, Any], console: Console) -> int:
    """Do what was asked on the command line; return the exit code.

    Args:
        given: the subcommand, and its values under its name.
        console: where to show it.
    """
    values = given[given["subcommand"]]
    if given["subcommand"] == "run":
        options: dict[str, Any] = {name: values[name] for name in RunOptions.__dataclass_fields__}
        options["only"] = tuple(options["only"])
        return run(RunOptions(**options), console)
    if given["subcommand"] == "status":
        from thresher.bench import status

        return status.show(Path(values["folder"]), console)
    from thresher.bench import export

    return export.write(Path(values["folder"]), Path(values["file"]), console)


def add_to(commands: Any) -> None:
    """Add `bench` and its own subcommands to the command line's."""
    from jsonargparse import ArgumentParser

    whole: Any = ArgumentParser(
        prog="thresher bench",
        description="Make the runs of a suite of comparisons, and see how far they are.",
        epilog=_EXAMPLES,
    )
    text = "make the runs of a suite, or show how far they are"
    commands.add_subcommand("bench", whole, help=text)
    # After it was added itself, as jsonargparse wants it.
    own = whole.add_subcommands(required=True)
    for name, (text, arguments) in _COMMANDS.items():
        each: Any = ArgumentParser(
            prog=f"thresher bench {name}", description=text, epilog=_EXAMPLES
        )
        for argument, settings in arguments.items():
            each.add_argument(argument, **settings)
        own.add_subcommand(name, each, help=text)


_COMMANDS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "run": (
        "make what a suite asks for and is not finished",
        {
            "suite": {"type": str, "metavar": "SUITE.yaml", "help": "the suite"},
            "--out": {
                "type": str | None,
                "metavar": "FOLDER",
                "help": "for the results (runs/SUITE)",
            },
            "--only": {
                "type": str,
                "nargs": "+",
                "default": [],
                "metavar": "NAME",
                "help": "entries of the suite to work on (all)",
            },
            "--data": {
                "type": str | None,
                "metavar": "FOLDER",
                "help": "where tasks look for their files first, before the usual places",
            },
            "--workers": {
                "type": int | None,
                "metavar": "N",
                "help": "processes of one thread each (one a core; on Ray: what it has room for)",
            },
            "--ray": {
                "type": str | None,
                "metavar": "ADDRESS",
                "help": "of a Ray cluster: auto, local, or ray://HOST:PORT (none: this machine)",
            },
        },
    ),
    "status": (
        "show what is done, running, failed and waiting",
        {"folder": {"type": str, "metavar": "FOLDER", "help": "of the results"}},
    ),
    "export": (
        "write all finished runs as one table",
        {
            "folder": {"type": str, "metavar": "FOLDER", "help": "of the results"},
            "file": {"type": str, "metavar": "FILE", "help": "to write: .parquet or .jsonl.xz"},
        },
    ),
}
