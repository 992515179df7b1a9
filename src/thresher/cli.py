"""The command line: `thresher compare`, `bench`, `report` and `methods`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import thresher
from thresher.bench import command
from thresher.bench.catalogue import BASELINES, DEFAULT_METHODS, METHODS, TASKS
from thresher.bench.chosen_once import STATIC
from thresher.bench.compare import Options, compare
from thresher.bench.report import command as reporting
from thresher.bench.spelling import PUBLISHED, step_exponent
from thresher.errors import SettingError, ThresherError

_METHODS = "list the methods, or print one's card and BibTeX"
"""What `thresher methods` is for. Here, because importing the cards imports torch."""

_EXAMPLES = """\
examples:
  thresher compare
      a minute: four methods and the baselines on tiny data, 3 seeds, to see what comes out
  thresher compare --task fashion-mnist
      a real comparison: 7 methods at ratio 0.5, 3 seeds, 10 epochs
  thresher compare --task fashion-mnist --methods repb infobatch --prune-ratio 0.3 0.5 0.7 --seeds 5
      two methods and the baselines at three ratios
  thresher compare --task cifar10 --data ~/data/cifar10 --step-exponent published 0.5
      each method at its paper's step length and at a common one (γ = 0.5)
  thresher compare --methods repb "repb(window=8)" "repb(resample=false)"
      a method with other settings than it comes with, each a row of its own
  thresher compare --task fashion-mnist --methods el2n forgetting "k-center-greedy(balanced=true)"
      methods that choose a subset once, by a reference model that is trained first
  thresher compare --task tinyshakespeare --data ~/data/tinyshakespeare --prune-ratio 0.3
      a GPT on characters: bits per character, of which less is better
  thresher compare --task cifar10 --data ~/data --scale paper --batch-size 8 --dry-run
      a few steps of each row at the papers' settings, to see that they run; nothing is written
  thresher compare --task cifar10 --data ~/data --scale paper --device cuda
      the papers' settings in earnest: a ResNet-18 for 200 epochs
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
        _complain(f"{error}\nTry: thresher {_named(arguments)} --help")
        return 2
    except ThresherError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("stopped")
        return 130
    except SystemExit as leaving:
        # How jsonargparse leaves: 0 after --help and --version, 2 for what it refuses.
        return leaving.code if isinstance(leaving.code, int) else 1


def parse(arguments: Sequence[str] | None) -> Options:
    """Return what a command line and its YAML file ask for.

    Raises:
        SettingError: a value that no comparison can use.
        SystemExit: the flags cannot be read, or only help was wanted.

    Example:
        >>> parse(["compare", "--seeds", "2", "--step-exponent", "published", "0.5"]).seeds
        (0, 1)
    """
    given: Any = _parser().parse_args(_given(arguments))
    return Options(**_values(given.as_dict()["compare"]))


def _run(arguments: Sequence[str] | None) -> int:
    given = _given(arguments)
    if given[:1] == ["methods"]:
        # Before anything of an extra is imported: what there is can be read without them.
        from thresher.cards import command as cards

        return cards.methods(given[1:])
    if given[:1] == ["report"]:
        asked: Any = _parser().parse_args(given)
        return reporting.report(reporting.Request.of(asked.as_dict()["report"]))
    from rich.console import Console

    # Where nobody watches, a table may be as wide as it likes.
    console = Console(width=None if sys.stdout.isatty() else 200)
    if given[:1] == ["bench"]:
        return command.bench(_parser().parse_args(given).as_dict()["bench"], console)
    return compare(parse(given), console)


def _given(arguments: Sequence[str] | None) -> list[str]:
    return sys.argv[1:] if arguments is None else list(arguments)


def _named(arguments: Sequence[str] | None) -> str:
    """The subcommand that was asked for, as far as one can tell."""
    given = _given(arguments)
    return given[0] if given[:1] in (["methods"], ["bench"], ["report"]) else "compare"


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parsed flags as `Options` takes them."""
    values = {name: given[name] for name in Options.__dataclass_fields__}
    values["methods"] = tuple(values["methods"])
    values["prune_ratio"] = tuple(values["prune_ratio"])
    values["step_exponent"] = tuple(step_exponent(text) for text in values["step_exponent"])
    looks = values["looks"] = tuple(values["looks"])
    seeds = values["seeds"] or [max(looks, default=3)]
    values["seeds"] = tuple(range(seeds[0])) if len(seeds) == 1 else tuple(seeds)
    return values


def _parser() -> Any:
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
        """Keeps the line breaks of lists and examples, and the help texts as they are written."""

        def _get_help_string(self, action: Any) -> str:
            return action.help or ""

    # Subcommands take over the formatter.
    parser: Any = ArgumentParser(
        prog="thresher",
        formatter_class=Formatter,
        description="Train on the samples that matter, and see what it saves and costs.",
        version=thresher.__version__,
    )
    commands = parser.add_subcommands(required=True)
    commands.add_subcommand(
        "compare", _compare_parser(), help="train real models on full and pruned data"
    )
    command.add_to(commands)
    commands.add_subcommand(
        "report", reporting.parser(), help="write a page about finished runs: HTML, one file"
    )
    commands.add_subcommand("methods", ArgumentParser(prog="thresher methods"), help=_METHODS)
    return parser


def _compare_parser() -> Any:
    from jsonargparse import ArgumentParser

    parser: Any = ArgumentParser(
        prog="thresher compare",
        description=(
            "Train the same model on full and on pruned data under paired seeds, and show in one\n"
            "table what was saved and what it cost.\n\n"
            f"tasks:\n{_listed(TASKS)}\n\n"
            f"methods:\n{_listed({name: METHODS[name] for name in METHODS if name not in STATIC})}"
            "\n\nstatic methods, which choose once, by a reference model whose training counts in "
            f"the time:\n{_listed({name: METHODS[name] for name in STATIC})}"
        ),
        epilog=_EXAMPLES,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these flags")
    for name, settings in _FLAGS.items():
        parser.add_argument(f"--{name}", **settings)
    return parser


_FLAGS: dict[str, dict[str, Any]] = {
    "task": {"type": str, "default": "digits", "help": "what to train on (digits)"},
    "data": {
        "type": str | None,
        "metavar": "FOLDER",
        "help": "the task's files, where they are not found by themselves",
    },
    "methods": {
        "type": str,
        "nargs": "+",
        "default": list(DEFAULT_METHODS),
        "metavar": "NAME",
        "help": f"what to compare ({' '.join(DEFAULT_METHODS)}), as it comes or with settings "
        f"in parentheses; {', '.join(BASELINES)} are always in",
    },
    "prune-ratio": {
        "type": float,
        "nargs": "+",
        "default": [0.5],
        "metavar": "SHARE",
        "help": "shares of the run's sample visits to save (0.5)",
    },
    "step-exponent": {
        "type": str | float,
        "nargs": "+",
        "default": [PUBLISHED],
        "metavar": "γ",
        "help": f"step lengths: `{PUBLISHED}`, each paper's own weights, or a number γ, which "
        f"scales an epoch's weights to mean (all/kept samples)^γ ({PUBLISHED})",
    },
    "seeds": {
        "type": int,
        "nargs": "+",
        "default": [],
        "metavar": "N",
        "help": "one number N: the seeds 0 to N-1; several: these seeds (3, or as many as --looks)",
    },
    "looks": {
        "type": int,
        "nargs": "+",
        "default": [],
        "metavar": "N",
        "help": "numbers of seeds at which to judge: more are made only while a row is undecided, "
        "and each look spends a part of the 5 %% (one look, at all seeds)",
    },
    "epochs": {"type": int | None, "metavar": "N", "help": "of full training (the task's)"},
    "batch-size": {"type": int | None, "metavar": "N", "help": "samples a step (the task's)"},
    "margin": {
        "type": float | None,
        "metavar": "δ",
        "help": "how far below full would still be lossless, in points (0.5; 0.02 bits per "
        "character)",
    },
    "device": {"type": str, "default": "cpu", "help": "where to train, such as cuda (cpu)"},
    "workers": {
        "type": int | None,
        "metavar": "N",
        "help": "processes of one thread each (one a core, at most 4)",
    },
    "out": {"type": str | None, "metavar": "FOLDER", "help": "for the results (runs/TASK)"},
    "scale": {
        "type": str,
        "default": "small",
        "metavar": "SCALE",
        "help": "`small`, or `paper`: the network and budget of the papers, for an accelerator "
        "(small)",
    },
    "dry-run": {
        "action": "store_true",
        "help": "train each row on two batches, say what all of it would take, and write nothing",
    },
}


def _listed(names: dict[str, str]) -> str:
    return "\n".join(f"  {name:<20} {text}" for name, text in names.items())


def _complain(message: str) -> None:
    sys.stderr.write(f"thresher: error: {message}\n")
