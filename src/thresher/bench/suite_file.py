"""A suite: many comparisons in one YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, final

from thresher.bench.catalogue import TASKS, require_known, require_method
from thresher.bench.looks import require_looks
from thresher.bench.spelling import step_exponent
from thresher.bench.suite import Row, asked_rows
from thresher.errors import SettingError, ThresherError

_Kind = TypeVar("_Kind", "Entry", "Block", "_File")


class SuiteError(SettingError):
    """A suite file that cannot be read, or asks for what cannot be."""


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A task of a suite; None is what the suite or the task says.

    Args:
        task: its name, where the entry has another one.
        scale: small, or paper for the papers' networks and budgets.
        epochs: of full training.
        batch_size: samples a step.
        margin: δ, in the metric's points.
        data: the folder of its files.
    """

    task: str | None = None
    scale: str = "small"
    epochs: int | None = None
    batch_size: int | None = None
    margin: float | None = None
    data: str | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of a suite: every method at every ratio and every step length.

    Args:
        methods: names, with settings in parentheses or without.
        prune_ratio: shares of the run's sample visits to save.
        step_exponent: `published` or numbers.
        tasks: the entries that get these rows; None: all.
    """

    methods: list[str]
    prune_ratio: list[float] = field(default_factory=lambda: [0.5])
    step_exponent: list[str | float] = field(default_factory=lambda: ["published"])
    tasks: list[str] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Suite:
    """What a suite file says.

    Args:
        tasks: the tasks, by the name of their results' folder.
        rows: what is run on them, beside the baselines.
        seeds: a number of seeds, or a list of them; unset: as many as the last look has, or 5.
        looks: numbers of seeds at which to judge and perhaps to stop, if not at the last alone.
        margin: δ, unless a task has its own.
        device: where to train.
    """

    tasks: dict[str, Entry]
    rows: list[Block]
    seeds: int | list[int]
    looks: list[int]
    margin: float | None
    device: str

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    def full_task(self, name: str) -> str:
        """Return the name of an entry's task with its scale, as `tasks.task` takes it."""
        entry = self.tasks[name]
        task = entry.task or name
        return task if entry.scale == "small" else f"{task}@{entry.scale}"

    def asked(self, name: str) -> tuple[Row, ...]:
        """Return the rows of an entry, baselines among them, `full` first."""
        rows: dict[Row, None] = {}
        for block in self.rows:
            if block.tasks is None or name in block.tasks:
                exponents = [step_exponent(text) for text in block.step_exponent]
                rows |= dict.fromkeys(asked_rows(block.methods, block.prune_ratio, exponents))
        return tuple(rows)


@final
@dataclass(frozen=True, kw_only=True)
class _File:
    """A suite as YAML gives it: tasks and rows are looked at one by one, so that errors say which.

    Args:
        tasks: see `Suite`, and so for the others.
        rows: as above.
        seeds: as above.
        looks: as above.
        margin: as above.
        device: as above.
    """

    tasks: dict[str, Any]
    rows: list[Any]
    seeds: int | list[int] | None = None
    looks: list[int] = field(default_factory=list)
    margin: float | None = None
    device: str = "cpu"


def read_suite(path: Path) -> Suite:
    """Return what a suite file says, checked.

    Raises:
        SuiteError: it cannot be read, or asks for what cannot be; the message names the key, what
            came and what was expected.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise SuiteError(f"{path} cannot be read ({reason})", "a YAML file of a suite") from error
    try:
        suite = _suite(_parsed(_File, text, "the file"))
        _check(suite)
    except ThresherError as error:
        raise SuiteError(f"{path}: {error.came}", error.expected, error.cure) from error
    return suite


def _suite(given: _File) -> Suite:
    values = {each.name: getattr(given, each.name) for each in fields(given)}
    if given.seeds is None:
        values["seeds"] = max(given.looks, default=5)
    # A task without settings of its own is a key without a value.
    values["tasks"] = {
        name: _parsed(Entry, entry or {}, f"tasks.{name}") for name, entry in given.tasks.items()
    }
    values["rows"] = [
        _parsed(Block, block, f"rows[{number}]") for number, block in enumerate(given.rows, start=1)
    ]
    return Suite(**values)


def _parsed(kind: type[_Kind], given: Any, key: str) -> _Kind:
    """Return a part of the file as what it should be.

    Raises:
        SettingError: it is not.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    expected = f"a mapping of {', '.join(each.name for each in fields(kind))}"
    parser: Any = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        if isinstance(given, str):
            values = parser.parse_string(given)
        elif isinstance(given, dict):
            values = parser.parse_object(given)
        else:
            raise SettingError(f"{key}: {given!r}", expected)
    except (ArgumentError, TypeError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise SettingError(f"{key}: {text}", expected) from error
    return kind(**values.as_dict())


def _check(suite: Suite) -> None:
    if not suite.tasks or not suite.rows:
        raise SettingError("no tasks or no rows", "at least one of each")
    for name in suite.tasks:
        entry = suite.tasks[name]
        key = f"tasks.{name}"
        if not name or "/" in name or name.startswith("."):
            raise SettingError(f"{key}", "a name that a folder may have")
        require_known(f"task at {key}", entry.task or name, TASKS)
        require_known(f"scale at {key}", entry.scale, ("small", "paper"))
        for setting in ("epochs", "batch_size"):
            value = getattr(entry, setting)
            if value is not None and value < 1:
                raise SettingError(f"{key}.{setting}: {value}", "1 or more")
        _check_margin(f"{key}.margin", entry.margin)
    _check_margin("margin", suite.margin)
    seeds = suite.all_seeds
    require_looks(suite.looks, len(seeds), "looks:")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise SettingError(
            f"seeds: {suite.seeds}", "a number of seeds, or a list of different ones from 0 up"
        )
    for number, block in enumerate(suite.rows, start=1):
        _check_block(f"rows[{number}]", block, suite.tasks)
    _check_rows(suite)
    _check_points(suite)
    _check_different(suite)


def _check_margin(key: str, margin: float | None) -> None:
    if margin is not None and not margin > 0:
        raise SettingError(f"{key}: {margin:g}", "more than 0 points")


def _check_block(key: str, block: Block, tasks: dict[str, Entry]) -> None:
    if not (block.methods and block.prune_ratio and block.step_exponent):
        raise SettingError(f"{key} has an empty list", "at least one value in each")
    for method in block.methods:
        require_method(method)
    for ratio in block.prune_ratio:
        if not 0 <= ratio < 1:
            raise SettingError(
                f"{key}.prune_ratio: {ratio:g}",
                "shares in [0, 1), where 0.5 means that half is left out",
            )
    for text in block.step_exponent:
        step_exponent(text, f"{key}.step_exponent:")
    for name in block.tasks or ():
        require_known(f"entry in {key}.tasks", name, tasks)


def _check_rows(suite: Suite) -> None:
    for name in suite.tasks:
        if not suite.asked(name):
            raise SettingError(f"tasks.{name} has no rows", "a block of rows that is for it")


def _check_points(suite: Suite) -> None:
    """Refuse one margin for points of accuracy and bits a character."""
    from thresher.bench.tasks import task

    judged = [name for name, entry in suite.tasks.items() if entry.margin is None]
    points = dict.fromkeys(task(suite.full_task(name)).metric.points for name in judged)
    if suite.margin is not None and len(points) > 1:
        raise SettingError(
            f"margin: {suite.margin:g} for {' and '.join(points)}",
            "one kind of metric",
            "Leave it out, which takes each metric's own, or give it to single tasks",
        )


def _check_different(suite: Suite) -> None:
    """Refuse two entries that would make the same runs, as far as it shows without their data."""
    from thresher.bench.tasks import task

    seen: dict[tuple[object, ...], str] = {}
    for name, entry in suite.tasks.items():
        budget = task(suite.full_task(name)).budget
        epochs, size = entry.epochs or budget.epochs, entry.batch_size or budget.batch_size
        runs = (suite.full_task(name), epochs, size, entry.data)
        if runs in seen:
            raise SettingError(
                f"tasks.{seen[runs]} and tasks.{name} are the same runs", "one entry"
            )
        seen[runs] = name
