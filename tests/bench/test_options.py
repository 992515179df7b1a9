"""What the flags of `thresher compare` are read as, and the command line that asks for it again."""

from pathlib import Path

import pytest

from thresher.bench.compare import Options
from thresher.cli import parse


def test_flags_come_from_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "task: fashion-mnist\nmethods: [repb]\nprune_ratio: [0.3, 0.7]\nseeds: [4, 5]\n"
        "step_exponent: [published, 0.5]\nmargin: 0.2\n"
    )
    assert parse(["compare", "--config", str(file), "--margin", "0.3"]) == Options(
        task="fashion-mnist",
        methods=("repb",),
        prune_ratio=(0.3, 0.7),
        seeds=(4, 5),
        step_exponent=(None, 0.5),
        margin=0.3,
    )


def test_a_number_of_seeds_and_a_list_of_seeds() -> None:
    assert parse(["compare", "--seeds", "4"]).seeds == (0, 1, 2, 3)
    assert parse(["compare", "--seeds", "4", "7"]).seeds == (4, 7)


def test_looks_say_how_many_seeds_there_may_be() -> None:
    options = parse(["compare", "--looks", "3", "5", "10"])
    assert (options.looks, options.seeds) == ((3, 5, 10), tuple(range(10)))
    assert parse(options.command().split()[1:]) == options
    assert parse(["compare"]).seeds == (0, 1, 2)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3, 4), (5, 7), (2, 1, 0)])
def test_the_command_in_the_table_asks_for_the_same(seeds: tuple[int, ...]) -> None:
    options = Options(
        task="cifar10",
        data="/somewhere",
        methods=("repb", "omission"),
        prune_ratio=(0.3, 0.5),
        step_exponent=(None, 0.5),
        seeds=seeds,
    )
    command = options.command()
    assert "/somewhere" not in command
    again = parse(command.replace("FOLDER", "/somewhere").split()[1:])
    assert again == options


def test_a_single_other_seed_that_no_command_asks_for_has_none() -> None:
    assert Options(seeds=(5,)).command() == ""
    assert Options(seeds=(5,)).question().seeds == (5,)
