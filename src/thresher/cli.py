"""The command line: `thresher compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import thresher
from thresher.bench.catalogue import BASELINES, DEFAULT_METHODS, METHODS, TASKS
from thresher.bench.compare import Options, compare
from thresher.errors import SettingError, ThresherError

_PUBLISHED = "published"

_EXAMPLES = """\
examples:
  thresher compare
      half a minute: every method once on tiny data, to see what comes out
  thresher compare --task fashion-mnist
      a real comparison: 7 methods at ratio 0.5, 3 seeds, 10 epochs
  thresher compare --task fashion-mnist --methods repb infobatch --prune-ratio 0.3 0.5 0.7 --seeds 5
      two methods and the baselines at three ratios
  thresher compare --task cifar10 --data ~/data/cifar10 --step-exponent published 0.5
      each method at its paper's step length and at a common one (γ = 0.5)
  thresher compare --config sweep.yaml --seeds 10
      flags from a file (the flags' names as keys); the command line wins

Runs are kept in OUT/runs.jsonl. The same command continues an interrupted comparison, and a command
that asks for more trains only what is missing. OUT/table.md and OUT/tradeoff.svg show the result.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: instead of the process's own.

    Returns:
        0; 1 after a failure; 2 if the command line is wrong; 130 after Ctrl-C.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        thresher ...
        0
    """
    try:
        return _run(arguments)
    except ImportError as error:
        if (error.name or "").startswith("thresher"):
            raise
        _complain(f'{error}: the command line needs more packages: pip install "thresher[bench]"')
        return 1
    except SettingError as error:
        _complain(f"{error}\nTry: thresher compare --help")
        return 2
    except ThresherError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("stopped before any training")
        return 130
    except SystemExit as leaving:
        # jsonargparse leaves this way: 0 after --help and --version, 2 for a command line it refuses.
        return leaving.code if isinstance(leaving.code, int) else 1


def _run(arguments: Sequence[str] | None) -> int:
    from rich.console import Console

    given: Any = _parser().parse_args(None if arguments is None else list(arguments))
    options = Options(**_values(given.as_dict()["compare"]))
    return compare(options, Console())


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parsed flags as `Options` takes them."""
    values = {name: given[name] for name in Options.__dataclass_fields__}
    values["methods"] = tuple(values["methods"])
    values["prune_ratio"] = tuple(values["prune_ratio"])
    values["step_exponent"] = tuple(_step_exponent(text) for text in values["step_exponent"])
    seeds = values["seeds"]
    values["seeds"] = tuple(range(seeds[0])) if len(seeds) == 1 else tuple(seeds)
    return values


def _step_exponent(text: str | float) -> float | None:
    if text == _PUBLISHED:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SettingError(f"--step-exponent {text}", f"`{_PUBLISHED}` or a number") from error


def _parser() -> Any:
    from jsonargparse import ArgumentParser

    parser: Any = ArgumentParser(
        prog="thresher",
        description="Train on the samples that matter, and see what it saves and costs.",
        version=thresher.__version__,
    )
    commands = parser.add_subcommands(required=True)
    commands.add_subcommand(
        "compare", _compare_parser(), help="train real models on full and pruned data"
    )
    return parser


def _compare_parser() -> Any:
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """Keeps the line breaks of the lists and examples."""

    parser: Any = ArgumentParser(
        prog="thresher compare",
        formatter_class=Formatter,
        description=(
            "Train the same model on full and on pruned data, under paired seeds, and show in one table\n"
            "what was saved and what it cost.\n\n"
            f"tasks:\n{_listed(TASKS)}\n\nmethods:\n{_listed(METHODS)}"
        ),
        epilog=_EXAMPLES,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these flags")
    parser.add_argument("--task", type=str, default="digits", help="what to train on")
    parser.add_argument("--data", type=str | None, metavar="FOLDER", help="the task's data")
    parser.add_argument(
        "--methods",
        type=str,
        nargs="+",
        default=list(DEFAULT_METHODS),
        metavar="NAME",
        help=f"{', '.join(BASELINES)} are always in",
    )
    parser.add_argument(
        "--prune-ratio",
        type=float,
        nargs="+",
        default=[0.5],
        metavar="SHARE",
        help="shares of the run's sample visits to save",
    )
    parser.add_argument(
        "--step-exponent",
        type=str | float,
        nargs="+",
        default=[_PUBLISHED],
        metavar="γ",
        help="step lengths: `published`, or γ to scale each epoch's weights to mean (n/kept)^γ",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[3],
        metavar="N",
        help="one number N: the seeds 0 to N-1; several: these seeds",
    )
    parser.add_argument("--epochs", type=int | None, metavar="N", help="of full training")
    parser.add_argument("--batch-size", type=int | None, metavar="N", help="samples a step")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="δ",
        help="points of accuracy below full that still count as lossless",
    )
    parser.add_argument("--device", type=str, default="cpu", help="where to train")
    parser.add_argument(
        "--workers",
        type=int | None,
        metavar="N",
        help="processes, one thread each (default: one a core, at most 4)",
    )
    parser.add_argument(
        "--out", type=str | None, metavar="FOLDER", help="results (default: runs/TASK)"
    )
    return parser


def _listed(names: dict[str, str]) -> str:
    return "\n".join(f"  {name:<20} {text}" for name, text in names.items())


def _complain(message: str) -> None:
    sys.stderr.write(f"thresher: error: {message}\n")
