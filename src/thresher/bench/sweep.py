"""Many runs of many tasks, made by any number of workers, and of invocations, each run once.

There is no plan of who does what: whoever is free takes the next run that is neither finished nor
claimed. What was finished when the power went is on the disk, and the next invocation goes on.

The order has the seeds outermost: under one seed all rows of a task run one after the other, `full`
first, so that times that are compared are near in time, and a sweep that is stopped early has whole
tables of fewer seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, final

from thresher.bench.experiment import Experiment
from thresher.bench.suite import Row, RunConfig
from thresher.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.bench.display import Display
    from thresher.bench.workers import Event, Failed

Runner = Callable[..., "Generator[Event]"]
"""`workers.run_all`, or what does the same elsewhere."""


@final
class Sweep:
    """Experiments, and what makes their runs.

    Args:
        experiments: by name.
        console: where to show it.
        num_workers: runs at the same time.
        runner: what trains; None means processes of this machine.

    Raises:
        SettingError: two experiments ask for the same run.
    """

    def __init__(
        self,
        experiments: Mapping[str, Experiment],
        console: Console,
        *,
        num_workers: int,
        runner: Runner | None = None,
    ) -> None:
        self.experiments, self.console = experiments, console
        _require_different(experiments)
        self._num_workers, self._runner = num_workers, runner
        # Runs that failed before may work now; those that fail from now on are not tried again.
        self._failures = {
            name: dict(experiment.store.failures) for name, experiment in experiments.items()
        }
        self._is_waiting = False

    def run(self) -> None:
        """Make what is not finished yet: the rows asked for, the controls they call for, by look.

        Whatever it is left by, its claims are given back.
        """
        with ExitStack() as stack:
            for experiment in self.experiments.values():
                for text in experiment.store.damaged:
                    self._say(text, style="yellow")
                stack.callback(experiment.claims.release_all)
            going = dict(self.experiments)
            while going:
                self._train({name: each.question.rows for name, each in going.items()})
                added = {name: each.add_controls() for name, each in going.items()}
                for each in going.values():
                    each.results().save()
                added = {name: rows for name, rows in added.items() if rows}
                for name, rows in added.items():
                    about = f"{name}: controls" if len(self.experiments) > 1 else "Controls"
                    self._say(f"{about} at achieved rates: {', '.join(map(str, rows))}.")
                if added:
                    self._train(added)
                going = {name: each for name, each in going.items() if each.look_further()}

    def _train(self, asked: Mapping[str, Sequence[Row]]) -> None:
        from thresher.bench.display import Display
        from thresher.bench.pace import Pace
        from thresher.bench.workers import run_all

        wanted: dict[str, tuple[str, RunConfig]] = {}
        most = max(len(self.experiments[name].seeds) for name in asked)
        for place in range(most):
            for name, rows in asked.items():
                for seed in self.experiments[name].seeds[place : place + 1]:
                    configs = (self.experiments[name].config(row, seed) for row in rows)
                    wanted |= {config.key: (name, config) for config in configs}
        for name, rows in asked.items():
            self._begin(name, rows, [config for owner, config in wanted.values() if owner == name])
        left = [config for name, config in wanted.values() if not self._is_over(name, config)]
        if not left:
            return
        finished = [self.experiments[name].store.records.values() for name in self.experiments]
        owner = {key: name for key, (name, _) in wanted.items()}
        display = Display(
            self.console,
            left,
            lambda config: self.experiments[owner[config.key]].full(config.seed),
            Pace(record for records in finished for record in records),
            owner if len(self.experiments) > 1 else None,
            {each.task.name: each.task.metric for each in self.experiments.values()},
        )
        folders = {each.source: each.question.data for each in self.experiments.values()}
        with display:
            events = (self._runner or run_all)(
                self._free({config.key: owner[config.key] for config in left}, wanted, display),
                num_workers=min(self._num_workers, len(left)),
                folders={
                    source: folder for source, folder in folders.items() if folder is not None
                },
            )
            # Before claims are given back, whoever works on them has to be ended.
            with closing(events):
                for event in events:
                    self._keep(owner[event.config.key], event)
                    display.show(event)

    def _begin(self, name: str, rows: Sequence[Row], configs: Sequence[RunConfig]) -> None:
        """Say what is there and what is to come, and write it down."""
        experiment = self.experiments[name]
        experiment.store.refresh()
        experiment.results().save()
        left = sum(config.key not in experiment.store.records for config in configs)
        if left < len(configs):
            num = len(configs)
            self._say(f"{num - left} of {num} runs are in {experiment.store.path}.")
        if left:
            workers = min(self._num_workers, left)
            self._say(
                f"{experiment.task.title}: {left} runs of {len(rows)} rows, {experiment.epochs} "
                f"epochs in full, {workers} process{'es' * (workers > 1)} with one thread each."
            )

    def _free(
        self, left: dict[str, str], wanted: Mapping[str, tuple[str, RunConfig]], display: Display
    ) -> Iterator[RunConfig | None]:
        """Yield runs that nobody else makes, in order, each claimed; None while others have all."""
        while left:
            taken = None
            for key, name in list(left.items()):
                config = wanted[key][1]
                experiment = self.experiments[name]
                if not self._is_over(name, config) and not experiment.claims.take(key):
                    continue
                # Only now: who had it may have finished it after the last look into the store.
                experiment.store.refresh()
                del left[key]
                if not self._is_over(name, config):
                    taken = config
                    break
                experiment.claims.release(key)
                display.leave_out(config)
            if taken is None and left and not self._is_waiting:
                self._is_waiting = True
                runs = f"{len(left)} run{'s' * (len(left) > 1)}"
                self._say(f"Waiting for {runs} that another invocation makes.")
            if taken is not None or left:
                yield taken

    def _is_over(self, name: str, config: RunConfig) -> bool:
        """Tell whether a run is finished, or has failed since this invocation began."""
        store, before = self.experiments[name].store, self._failures[name]
        failure = store.failures.get(config.key)
        return config.key in store.records or (
            failure is not None and failure != before.get(config.key)
        )

    def _keep(self, name: str, event: Event) -> None:
        from thresher.bench.workers import Failed, Finished

        experiment, key = self.experiments[name], event.config.key
        if isinstance(event, Finished):
            experiment.store.append(event.record)
        elif isinstance(event, Failed):
            experiment.store.fail(_failure(event))
        else:
            return
        experiment.claims.release(key)

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)


def _require_different(experiments: Mapping[str, Experiment]) -> None:
    """Refuse two experiments that ask for the same run: only one of them would get it."""
    owners: dict[str, str] = {}
    for name, experiment in experiments.items():
        for row in experiment.question.rows:
            for seed in experiment.seeds:
                owner = owners.setdefault(experiment.config(row, seed).key, name)
                if owner != name:
                    raise SettingError(
                        f"{owner} and {name} are the same runs, of the same data",
                        "entries that differ in task, scale, epochs, batch_size or what the data "
                        "are",
                    )


def _failure(event: Failed) -> dict[str, Any]:
    import time

    from thresher.bench.display import row_of

    return {
        "key": event.config.key,
        "row": str(row_of(event.config)),
        "seed": event.config.seed,
        "time": time.time(),
        "reason": event.reason,
        "details": event.details,
    }
