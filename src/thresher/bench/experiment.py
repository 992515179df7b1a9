"""One task's comparison: what is asked, its runs on the disk, and which are to come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.catalogue import is_control
from thresher.bench.claims import Claims
from thresher.bench.looks import require_looks
from thresher.bench.results import Results, settings_at_begin
from thresher.bench.store import Store
from thresher.bench.suite import Row, RunConfig, added_rows
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
        self._checksum = load(self.task, question.data).checksum()
        self._configs: dict[tuple[Row, int], RunConfig] = {}
        self._look = question.looks[0] if question.looks else len(question.seeds)
        self.added: list[Row] = []
        settings = {
            "seeds": len(question.seeds),
            "looks": list(question.looks),
            "margin": self.margin,
        }
        self._begun = settings_at_begin(self.store, settings)

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
                data=self._checksum,
                epochs=self.epochs,
                batch_size=self.question.batch_size or self.task.budget.batch_size,
                seed=seed,
                device=self.question.device,
                threads=1,
            )
        return found

    def results(self) -> Results:
        """Return what is on the disk, of the rows and seeds that are asked for by now."""
        question = self.question
        return Results(
            store=self.store,
            task=question.task,
            title=self.task.title,
            margin=self.margin,
            seeds=len(question.seeds),
            looks=question.looks,
            command=question.command,
            rows={
                row: {seed: self.config(row, seed).key for seed in self.seeds} for row in self.rows
            },
            begun=self._begun,
        )

    def records(self) -> Records:
        """Return the finished runs, by row and seed."""
        return self.results().records

    def lines(self) -> list[Line]:
        """Return the table's lines."""
        return self.results().lines()

    def full(self, seed: int) -> dict[str, Any] | None:
        """Return the finished run of full training under a seed."""
        return self.store.records.get(self.config(FULL, seed).key)

    def add_controls(self) -> list[Row]:
        """Add the controls that the costs of the asked rows call for, and return them."""
        records, num_seeds = self.records(), len(self.seeds)
        self.added = added_rows(
            rates(records, num_seeds), self.epochs, time_shares(records, num_seeds)
        )
        return self.added

    def look_further(self) -> bool:
        """Go on to the next look if there is one and a method is undecided; tell whether."""
        further = [look for look in self.question.looks if look > self._look]
        if not further or not any(
            line.verdict == "undecided" and not is_control(line.row.method) for line in self.lines()
        ):
            return False
        self._look, self.added = further[0], []
        return True
