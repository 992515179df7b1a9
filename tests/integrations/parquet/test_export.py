"""`thresher bench export RUNS all.parquet`, read again by pyarrow."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from made_up_runs import Runner, sweep
from thresher.bench.export import write
from thresher.bench.results import open_results


def test_a_parquet_table_has_a_row_for_each_run(tmp_path: Path) -> None:
    sweep(tmp_path / "runs", Runner(lambda config: 90.0 + config.seed))[0].run()
    write(tmp_path / "runs", tmp_path / "all.parquet", Console(quiet=True))
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    [results] = open_results(tmp_path / "runs")
    assert [row["key"] for row in table] == list(results.store.records)
    assert {row["config.seed"] for row in table} == {0, 1, 2}
    assert all(row["metric"] == 90.0 + row["config.seed"] for row in table)
    assert all(json.loads(row["epochs"]) == [] for row in table)


def test_a_column_of_numbers_and_words_is_one_of_words(tmp_path: Path) -> None:
    sweep(tmp_path, Runner())[0].run()
    [results] = open_results(tmp_path)
    for number, run in enumerate(results.store.records.values()):
        run["config"]["batch_size"] = "many" if number == 0 else 128
        run["config"]["epochs"] = 0.5 if number == 1 else 10
        results.store.append(run)
    write(tmp_path, tmp_path / "all.parquet", Console(quiet=True))
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert {row["config.batch_size"] for row in table} == {"many", "128"}
    assert {row["config.epochs"] for row in table} == {0.5, 10.0}
