"""One task's comparison: what is asked, its runs on the disk, and which are to come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.begun import Asked
from thresher.bench.catalogue import is_control
from thresher.bench.claims import Claims
from thresher.bench.looks import require_looks
from thresher.bench.results import Results, designed
from thresher.bench.store import Store
from thresher.bench.suite import Row, RunConfig, Source, added_rows
from thresher.bench.summary import FULL, Line, Records, rates, time_shares

if TYPE_CHECKING:
    from thresher.bench.tasks import Task


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a task.

    Args:
        task: its name.
        rows: asked for, baselines among them, `full` first.
        seeds: all that there may be.
        looks: the numbers of seeds at which to judge, and to stop where nothing is undecided any
            more; none: once, with all of them.
        margin: δ, in points; None is the metric's own.
        epochs: of full training; None is the task's.
        batch_size: samples a step; None is the task's.
        device: where to train.
        data: the folder of the task's files; None means the usual places.
        command: that asks this.
    """

    task: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    looks: tuple[int, ...] = ()
    margin: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    device: str = "cpu"
    data: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        require_looks(self.looks, len(self.seeds))


@final
class Experiment:
    """A question, and the runs that answer it.

    Args:
        question: what is asked.
        folder: of the results.

    Attributes:
        source: the data of all its runs.
        added: the controls that are known to be called for.

    Raises:
        ThresherError: something would fail in every run; nothing has been trained.
    """

    def __init__(self, question: Question, folder: Path) -> None:
        from thresher.bench.run import load, require_device
        from thresher.bench.tasks import task

        self.question = question
        self.store = Store(folder)
        self.claims = Claims(folder / "claims")
        require_device(question.device)
        self.task: Task = task(question.task)
        self.source: Source = (self.task.name, load(self.task, question.data).checksum())
        self._configs: dict[tuple[Row, int], RunConfig] = {}
        self._look = question.looks[0] if question.looks else len(question.seeds)
        self._asked = self._begun = Asked(
            seeds=question.seeds, looks=question.looks, margin=self.margin, rows=question.rows
        )
        self.added: list[Row] = []
        earlier = designed(self.store)
        if earlier is not None:
            self._continue(earlier)

    def _continue(self, earlier: Results) -> None:
        """Take over what an earlier invocation wrote down."""
        if self.store.records:
            self._begun = earlier.begun.and_rows_of(self._asked)
        # Until others are known, and as far as they are of the runs that are asked for now.
        self.added = [
            row
            for row, keys in earlier.rows.items()
            if row.is_added
            and replace(row, is_added=False) not in self.question.rows
            and any(self.config(row, seed).key == key for seed, key in keys.items())
        ]

    @property
    def margin(self) -> float:
        """δ, in the metric's points."""
        return self.question.margin or self.task.metric.margin

    @property
    def epochs(self) -> int:
        """Of full training."""
        return self.question.epochs or self.task.budget.epochs

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of the look that is being worked for."""
        return self.question.seeds[: self._look]

    @property
    def rows(self) -> list[Row]:
        """The rows asked for, and the controls that were added."""
        return [*self.question.rows, *self.added]

    def config(self, row: Row, seed: int) -> RunConfig:
        """Return the run of a row under a seed."""
        from thresher.bench.run import configure

        found = self._configs.get((row, seed))
        if found is None:
            found = self._configs[row, seed] = configure(
                self.task,
                row,
                data=self.source[1],
                epochs=self.epochs,
                batch_size=self.question.batch_size or self.task.budget.batch_size,
                seed=seed,
                device=self.question.device,
                threads=1,
            )
        return found

    def results(self) -> Results:
        """Return what is on the disk, of the rows and seeds that are asked for by now."""
        return Results(
            store=self.store,
            task=self.question.task,
            title=self.task.title,
            command=self.question.command,
            asked=self._asked,
            begun=self._begun,
            rows={
                row: {seed: self.config(row, seed).key for seed in self.seeds} for row in self.rows
            },
        )

    def records(self) -> Records:
        """Return the finished runs, by row and seed."""
        return self.results().records

    def lines(self) -> list[Line]:
        """Return the table's lines."""
        return self.results().lines()

    def unfinished(self) -> list[tuple[Row, int, dict[str, Any]]]:
        """Return the runs that are asked for by now and not there: row, seed, and its failure.

        The failure is empty where none is known.
        """
        self.store.refresh()
        return [
            (row, seed, self.store.failures.get(key, {}))
            for row, keys in self.results().rows.items()
            for seed, key in keys.items()
            if key not in self.store.records
        ]

    def full(self, seed: int) -> dict[str, Any] | None:
        """Return the finished run of full training under a seed."""
        return self.store.records.get(self.config(FULL, seed).key)

    def add_controls(self) -> list[Row]:
        """Add the controls that the costs of the asked rows call for, and return all added ones.

        While a row has not all its runs, nobody knows what it calls for: what is there stays.
        """
        found, num_seeds = self.records(), len(self.seeds)
        records = {row: found[row] for row in self.question.rows}
        new = added_rows(rates(records, num_seeds), self.epochs, time_shares(records, num_seeds))
        is_known = all(len(runs) == num_seeds for runs in records.values())
        self.added = new if is_known else list(dict.fromkeys((*self.added, *new)))
        return self.added

    def look_further(self) -> bool:
        """Go on to the next look if there is one and a method is undecided; tell whether."""
        further = [look for look in self.question.looks if look > self._look]
        if not further or not any(
            line.verdict == "undecided" and not is_control(line.row.method) for line in self.lines()
        ):
            return False
        self._look = further[0]
        return True
