"""The command line, in real processes where exit codes and signals are the point."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import pytest

from thresher.cli import main

TINY = ("--task", "digits", "--epochs", "3", "--workers", "1")


def thresher(
    *arguments: str, folder: Path, program: Sequence[str] = ("-m", "thresher")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", *program, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


HELD = """\
import signal, sys, time
from thresher.bench.display import Display
from thresher.bench.workers import Started
from thresher.cli import main
show, begun = Display.show, []
def show_and_wait(self, event):
    show(self, event)
    begun.extend([event] * isinstance(event, Started))
    if len(begun) == 2:
        print("waits")
        time.sleep(600)

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs of a shell ignore it
Display.show = show_and_wait
sys.exit(main(sys.argv[1:]))
"""
"""The command line; it begins a second run and then waits for a signal, however fast runs are."""


def keys(folder: Path) -> list[str]:
    lines = (folder / "out" / "runs.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["key"] for line in lines]


def test_interrupted_comparison_keeps_its_runs_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("compare", *TINY, "--methods", "infobatch", *("--prune-ratio", "0.7"))
    command += ("--seeds", "2", "--out", "out")
    process = thresher(*command, folder=tmp_path, program=("-c", HELD))
    assert process.stdout is not None
    begun = list(takewhile("waits\n".__ne__, process.stdout))
    process.send_signal(signal.SIGINT)
    assert begun[-1].startswith("[1/8] full · seed 0: ")
    rest, complaints = process.communicate(timeout=300)
    assert process.returncode == 130, complaints
    assert complaints == ""
    kept = keys(tmp_path)
    assert f"Stopped. {len(kept)} finished runs are kept in out/runs.jsonl" in rest
    assert 1 <= len(kept) < 8
    assert not (tmp_path / "out" / "table.md").exists()

    # As if the machine had died in the middle of a write as well.
    with (tmp_path / "out" / "runs.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    process = thresher(*command, folder=tmp_path)
    shown, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints
    assert complaints == ""
    assert f"line {len(kept) + 1}: damaged, skipped; the run is repeated" in shown
    assert f"{len(kept)} of 8 runs are in out/runs.jsonl." in shown
    assert f"[{8 - len(kept)}/{8 - len(kept)}] infobatch 0.7 · seed 1: " in shown
    # InfoBatch can never save 70 %.
    assert "Controls at achieved rates: random @ 0." in shown
    assert "This is a smoke test" in shown
    assert "thresher compare --task fashion-mnist" in shown
    check_results(tmp_path / "out", kept)

    before = (tmp_path / "out" / "runs.jsonl").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "8 of 8 runs are in out/runs.jsonl." in shown
    assert "2 of 2 runs are in out/runs.jsonl." in shown
    assert "seed 0:" not in shown
    assert (tmp_path / "out" / "runs.jsonl").read_bytes() == before


def check_results(folder: Path, kept: list[str]) -> None:
    lines = (folder / "runs.jsonl").read_text("utf-8").splitlines()
    finished = [json.loads(line) for line in lines if not line.startswith('{"key": "cut o')]
    assert [record["key"] for record in finished[: len(kept)]] == kept
    assert len({record["key"] for record in finished}) == len(finished) == 10
    for name in ("versions", "commit", "machine", "config", "epochs", "seconds"):
        assert all(name in record for record in finished)
    page = (folder / "table.md").read_text("utf-8")
    command = "thresher compare --methods infobatch --prune-ratio 0.7 --seeds 2 --epochs 3"
    assert f"    {command}\n" in page
    assert (folder / "tradeoff.svg").read_text("utf-8").startswith("<?xml")


def test_a_failing_run_is_named_and_the_others_make_the_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One process for all of it, and random pruning fails in it.
    def in_this_process(configs, *, num_workers, folders):
        from thresher.bench.run import load, train
        from thresher.bench.tasks import task
        from thresher.bench.workers import Failed, Finished, Started

        digits = task("digits")
        images = load(digits, None)
        for config in configs:
            yield Started(0, config)
            if config.method == "random":
                yield Failed(0, config, "ValueError: [no] luck", "Traceback of it")
            else:
                yield Finished(0, config, train(config, digits, images, lambda *_: None))

    monkeypatch.setattr("thresher.bench.workers.run_all", in_this_process)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *TINY, "--methods", "orderdp", "--seeds", "1", "--out", "out"]) == 1
    shown = capfd.readouterr().out
    assert "[2/4] random 0.5 · seed 0: failed: ValueError: [no] luck" in shown
    assert "Failed: random 0.5, seed 0: ValueError: [no] luck\nTraceback of it" in shown
    assert "| orderdp |" in (tmp_path / "out" / "table.md").read_text("utf-8")
    assert len(keys(tmp_path)) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "digit"], 2, "unknown task 'digit'; expected: one of digits"),
        (["--methods", "infobach"], 2, "The nearest is 'infobatch'."),
        (["--methods", "el2n(balance=true)"], 2, "The nearest is 'balanced'."),
        (["--methods", "KCenterGreedy"], 2, "The nearest is 'k-center-greedy'."),
        (["--prune-ratio", "30"], 2, "If you meant 30 percent, write 0.3."),
        (["--prune-ratio", "0.5", "-0.1"], 2, "--prune-ratio -0.1; expected: a share in [0, 1)"),
        (["--prune-ratio", "half"], 2, "half"),
        (["--step-exponent", "paper"], 2, "expected: `published` or a number"),
        (["--seeds", "0"], 2, "a number of seeds, or different seeds from 0 up"),
        (["--seeds", "1", "1"], 2, "--seeds 1 1"),
        (["--seeds", "-3", "1"], 2, "seed"),
        (["--looks", "5", "3"], 2, "--looks 5 3; expected: ascending numbers of seeds"),
        (["--looks", "1", "3"], 2, "--looks 1 3; expected: ascending numbers of seeds, from 2 up"),
        (["--looks", "2", "3", "--seeds", "4"], 2, "--looks 2 3 with 4 seeds"),
        (["--epochs", "0"], 2, "--epochs 0; expected: 1 or more"),
        (["--batch-size", "0"], 2, "--batch-size 0"),
        (["--workers", "0"], 2, "--workers 0"),
        (["--margin", "0"], 2, "--margin 0; expected: more than 0 points"),
        (["--device", "nonsense"], 2, "--device nonsense cannot be used here"),
        (["--epoch-count", "3"], 2, "epoch-count"),
        (["--data", "."], 1, "no folder: digits come with scikit-learn"),
        (["--task", "fashion-mnist", "--data", "."], 1, "no file train-images-idx3-ubyte.gz"),
        (["--task", "cifar10", "--data", "."], 1, "no file cifar10.npz"),
        (["--out", "a-file/out"], 1, "--out a-file/out cannot be written"),
    ],
)
def test_what_cannot_work_stops_before_any_training(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("")
    assert main(["compare", *arguments]) == code
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not list(tmp_path.rglob("runs.jsonl"))


def test_exit_codes_of_the_real_process(tmp_path: Path) -> None:
    wrong = thresher("compare", "--task", "digit", folder=tmp_path)
    missing = thresher("compare", "--task", "fashion-mnist", "--data", ".", folder=tmp_path)
    assert "The nearest is 'digits'" in wrong.communicate(timeout=300)[1]
    assert "no file train-images" in missing.communicate(timeout=300)[1]
    assert (wrong.returncode, missing.returncode) == (2, 1)


@pytest.mark.parametrize("package", ["rich", "jsonargparse", "scipy", "matplotlib", "sklearn"])
def test_a_missing_package_names_the_extra(
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["compare"]) == 1
    assert 'pip install "thresher[bench]"' in capsys.readouterr().err


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    for part in (
        "examples:\n  thresher compare\n",
        "fewer-epochs-scaled",
        "k-center-greedy",
        "cifar100",
        "--margin δ",
    ):
        assert part in text


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = "import sys, thresher.cli; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    assert not modules & {"matplotlib", "sklearn", "scipy", "rich", "jsonargparse", "datasets"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["compare", "--help"], ["--version"], ["compare", "--nonsense"]]
)
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    """Importing it takes more than a second."""
    program = (
        "import sys; from thresher.cli import main; code = main(sys.argv[1:]); "
        "print(code, *sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == ("2" if "--nonsense" in arguments else "0")
    assert "thresher.cli" in modules
    assert "jsonargparse" in modules
    assert not set(modules) & {"torch", "numpy"}


def test_no_command_is_an_error_and_version_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("thresher ")
