"""Sweeps without training: order, looks, controls, what is made again and what is not."""

import json
import math
from pathlib import Path

import pytest

from made_up_runs import Runner, question, record, row, sweep
from thresher.bench.experiment import Experiment
from thresher.bench.results import open_results
from thresher.bench.suite import Row, RunConfig, added_rows, asked_rows
from thresher.bench.summary import time_shares
from thresher.bench.workers import Event, Finished, Started


def lines(folder: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (folder / "runs.jsonl").read_text().splitlines()]


def test_seeds_are_outermost_and_full_is_beside_its_rivals(tmp_path: Path) -> None:
    runner = Runner()
    one, _ = sweep(
        tmp_path,
        runner,
        {"a": question(seeds=(0, 1)), "b": question(seeds=(0, 1), epochs=4)},
    )
    one.run()
    rows = ["full", "random 0.5", "fewer-epochs 0.5", "repb 0.5"]
    assert runner.made == [f"digits {name} {s}" for s in (0, 1) for _ in "ab" for name in rows]


def test_a_second_time_there_is_nothing_to_make(tmp_path: Path) -> None:
    sweep(tmp_path, Runner())[0].run()
    before = (tmp_path / "digits" / "runs.jsonl").read_bytes()
    again = Runner()
    one, said = sweep(tmp_path, again)
    one.run()
    assert again.made == []
    assert (tmp_path / "digits" / "runs.jsonl").read_bytes() == before
    assert "12 of 12 runs are in" in said.getvalue()


def test_stopping_anywhere_loses_and_repeats_nothing(tmp_path: Path) -> None:
    whole = Runner()
    sweep(tmp_path / "whole", whole)[0].run()

    class StopError(Exception):
        pass

    made: list[str] = []
    while len(made) < len(whole.made):

        def one_more(config: RunConfig, runner: Runner) -> float:
            if len(runner.made) == 2:
                raise StopError
            return 90.0

        runner = Runner()
        runner.metric = lambda config, runner=runner: one_more(config, runner)
        one, _ = sweep(tmp_path / "parts", runner)
        try:
            one.run()
            made += runner.made
        except StopError:
            made += runner.made[:-1]
        assert list((tmp_path / "parts" / "digits" / "claims").iterdir()) == []
    assert made == whole.made
    assert lines(tmp_path / "parts" / "digits") == lines(tmp_path / "whole" / "digits")


def test_runs_of_others_are_waited_for_and_not_made(tmp_path: Path) -> None:
    other = Experiment(question(seeds=(0, 1)), tmp_path / "digits")
    theirs = other.config(Row("repb", 0.5), 0)
    assert other.claims.take(theirs.key)
    asked: list[RunConfig | None] = []

    def runner(configs, *, num_workers, folders):
        for config in configs:
            asked.append(config)
            if config is None:
                # All that is left is theirs, and now they finish it.
                other.store.append(record(theirs, 80.0))
                other.claims.release(theirs.key)
                continue
            yield Started(0, config)
            yield Finished(0, config, record(config, 90.0))

    one, said = sweep(tmp_path, Runner(), {"digits": question(seeds=(0, 1))})
    one._runner = runner
    one.run()
    assert asked.count(None) == 1
    assert theirs not in asked
    assert len(lines(tmp_path / "digits")) == 8
    assert "Waiting for 1 run that another invocation makes." in said.getvalue()
    assert one.experiments["digits"].records()[Row("repb", 0.5)][0]["metric"] == 80.0


def test_failures_are_kept_told_and_tried_again_only_by_the_next_invocation(tmp_path: Path) -> None:
    runner = Runner(fails=lambda row: row.method == "repb")
    one, _ = sweep(tmp_path, runner)
    one.run()
    assert len(runner.made) == 12
    unfinished = one.experiments["digits"].unfinished()
    assert [(row, seed) for row, seed, _ in unfinished] == [
        (Row("repb", 0.5), seed) for seed in range(3)
    ]
    assert {failure["reason"] for _, _, failure in unfinished} == {"ValueError: no luck"}
    store = open_results(tmp_path)[0].store
    assert {failure["reason"] for failure in store.failures.values()} == {"ValueError: no luck"}
    again = Runner()
    sweep(tmp_path, again)[0].run()
    assert again.made == [f"digits repb 0.5 {seed}" for seed in range(3)]
    assert open_results(tmp_path)[0].store.failures == {}


def noisy(effect: float) -> Runner:
    def metric(config: RunConfig) -> float:
        noise = 0.3 * math.sin(12.9898 * (config.seed + 1) + ord(config.method[0]))
        return 90.0 + noise + effect * (config.method == "repb")

    return Runner(metric)


def test_seeds_are_added_at_named_looks_while_something_is_undecided(tmp_path: Path) -> None:
    asked = question(seeds=tuple(range(10)), looks=(3, 5, 10))
    clear = noisy(-20.0)
    close = Runner(lambda run: 90.0 + (run.method == "repb") * (0.4 * (-1) ** run.seed - 0.5))
    for name, runner, num in (("clear", clear, 3), ("close", close, 10)):
        one, _ = sweep(tmp_path / name, runner, {"digits": asked})
        one.run()
        assert len(runner.made) == 4 * num
        assert runner.made[::4] == [f"digits full {seed}" for seed in range(num)]
        results = open_results(tmp_path / name)[0]
        assert {len(runs) for runs in results.records.values()} == {num}
        assert results.notes == []


def test_changing_seeds_or_margin_after_results_could_be_seen_is_told(tmp_path: Path) -> None:
    sweep(tmp_path, Runner())[0].run()
    more = question(seeds=(0, 1, 2, 3), margin=1.0)
    one, _ = sweep(tmp_path, Runner(), {"digits": more})
    one.run()
    [seeds, margin] = open_results(tmp_path)[0].notes
    assert seeds.startswith("Begun with 3 seeds, now 4 seeds: that was changed when")
    assert margin.startswith("Begun with a margin of 0.5, now 1")


def test_changing_them_before_the_first_run_is_not(tmp_path: Path) -> None:
    Experiment(question(), tmp_path / "digits").results().save()
    sweep(tmp_path, Runner(), {"digits": question(seeds=(0, 1, 2, 3))})[0].run()
    assert open_results(tmp_path)[0].notes == []


def test_a_method_that_takes_longer_gets_fewer_epochs_of_the_same_time(tmp_path: Path) -> None:
    rows = asked_rows(["selective-backprop"], [0.5], [None])
    rates = dict.fromkeys(rows, 0.5) | {Row("full"): 0.0}
    slow = Row("selective-backprop", 0.5)
    assert added_rows(rates, 10, {slow: 0.84, Row("random", 0.5): 0.9}) == [
        Row("fewer-epochs", 0.1, is_added=True)
    ]
    assert added_rows(rates, 10, {slow: 0.52}) == [], "as long as 5 epochs, within the noise"
    assert added_rows(rates, 10, {slow: 1.3}) == [], "full is the control"
    assert added_rows(rates, 10, {slow: math.nan}) == []


def test_only_rows_that_do_more_than_train_are_timed(tmp_path: Path) -> None:
    one, _ = sweep(tmp_path, Runner())
    one.run()
    records = {row: dict(runs) for row, runs in one.experiments["digits"].records().items()}
    assert time_shares(records, 3) == {}
    asked = Row("repb", 0.5)
    for run in records[asked].values():
        run["extra_forwards"] = 1000
        run["seconds"]["training"] = 8.0
    assert time_shares(records, 3) == {asked: pytest.approx(0.8)}
    del records[asked][2]
    assert time_shares(records, 3) == {}


def test_results_are_read_back_as_they_were(tmp_path: Path) -> None:
    one, _ = sweep(tmp_path, noisy(-0.1))
    one.run()
    [results] = open_results(tmp_path)
    experiment = one.experiments["digits"]
    assert results.records == experiment.records()
    assert repr(results.lines()) == repr(experiment.lines())  # NaN is not equal to NaN
    assert (results.title, results.margin) == (experiment.task.title, 0.5)
    assert (results.asked, results.begun) == (experiment.results().asked,) * 2


def test_runs_without_a_design_are_read_by_their_configurations(tmp_path: Path) -> None:
    one, _ = sweep(tmp_path, noisy(-0.1))
    one.run()
    (tmp_path / "digits" / "design.json").unlink()
    [results] = open_results(tmp_path)
    assert results.records == one.experiments["digits"].records()
    assert results.task == "digits"


def test_a_failing_write_ends_the_workers_before_the_claims_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def runner(configs, *, num_workers, folders):
        try:
            config = next(configs)
            yield Started(0, config)
            yield Finished(0, config, record(config, 90.0))
        finally:
            order.append("workers")

    def events(event: Event) -> None:
        raise OSError("disk")

    one, _ = sweep(tmp_path, Runner())
    one._runner = runner
    experiment = one.experiments["digits"]
    monkeypatch.setattr(experiment.store, "append", events)
    given_back = experiment.claims.release_all
    monkeypatch.setattr(
        experiment.claims, "release_all", lambda: (order.append("claims"), given_back())
    )
    with pytest.raises(OSError, match="disk"):
        one.run()
    assert order == ["workers", "claims"]
    assert row(experiment.config(Row("full"), 0)) == Row("full")
