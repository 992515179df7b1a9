"""`thresher report`: read a folder of runs, write a page about them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.store import FolderError
from thresher.errors import SettingError

if TYPE_CHECKING:
    from thresher.bench.report.runs import Found
    from thresher.bench.report.story import Story

FORMATS: dict[str, str] = {
    "html": "report.html",
    "markdown": "report.md",
    "csv": "report.csv",
    "json": "report.json",
}
"""Format -> the name of its file, unless another is given."""


_FLAGS: dict[str, dict[str, Any]] = {
    "out": {
        "type": str | None,
        "metavar": "FILE",
        "help": "where to, - for the standard output (report.html and so on, in the folder)",
    },
    "format": {"type": str, "default": "html", "help": f"{', '.join(FORMATS)} (html)"},
    "data": {
        "type": str,
        "nargs": "+",
        "default": [],
        "metavar": "FOLDER",
        "help": "where the tasks' files may be, to show samples, if they are not found by "
        "themselves; a folder of such folders will do",
    },
    "margin": {
        "type": float | None,
        "metavar": "δ",
        "help": "points below full that would still be lossless (what was asked for, or each "
        "metric's own); one for all tasks, and noted",
    },
}

_EXAMPLES = """\
examples:
  thresher report runs/fashion-mnist
      runs/fashion-mnist/report.html: one file, to be opened in a browser or sent to somebody
  thresher report runs/cifar10 --data ~/data --out cifar10.html
      with pictures of the samples that were kept most and least
  thresher report runs/digits --format csv --out -
      the table, to the standard output
"""


def parser() -> Any:
    """Return the command line of `thresher report`."""
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser

    made: Any = ArgumentParser(
        prog="thresher report",
        description="Write a page about finished runs: verdicts, pictures, samples, times.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    made.add_argument("runs", type=str, metavar="RUNS", help="a folder of runs, or of such folders")
    for name, settings in _FLAGS.items():
        made.add_argument(f"--{name}", **settings)
    return made


@final
@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report is asked to be; `thresher report --help` explains each."""

    runs: str
    out: str | None = None
    format: str = "html"
    data: tuple[str, ...] = ()
    margin: float | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Request:
        """Return what parsed flags ask for."""
        values: dict[str, Any] = {name: given[name] for name in cls.__dataclass_fields__}
        values["data"] = tuple(given["data"])
        return cls(**values)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SettingError(f"--format {self.format}", f"one of {', '.join(FORMATS)}")
        if self.margin is not None and not self.margin > 0:
            raise SettingError(f"--margin {self.margin:g}", "more than 0")


def report(request: Request) -> int:
    """Write a report and say where; return the exit code.

    `--out -` writes to the standard output.

    Raises:
        NoRunsError: there is nothing to report about.
        FolderError: the file cannot be written.
    """
    from thresher.bench.report.runs import read

    found = read(Path(request.runs))
    text = written(found, request)
    if request.out == "-":
        sys.stdout.write(text)
        return 0
    path = Path(request.out) if request.out else found.folder / FORMATS[request.format]
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FolderError(
            f"{path} cannot be written ({error.strerror})", cure="Give another file by --out"
        ) from error
    for line in found.damaged:
        sys.stdout.write(f"{line}\n")
    num = sum(len(group.all) for group in found.groups)
    sys.stdout.write(f"Written: {path}, from {num} runs.\n")
    return 0


def written(found: Found, request: Request) -> str:
    """Return the report in the format that is asked for."""
    from thresher.bench.report import plain
    from thresher.bench.report.story import stories_of

    stories = stories_of(found, request.margin)
    if request.format == "csv":
        return plain.table(stories)
    facts = _facts(found, stories, request)
    if request.format == "json":
        return plain.document(stories, facts, [Path(folder) for folder in request.data])
    if request.format == "markdown":
        return plain.markdown(stories, facts)
    from thresher.bench.report.page import page

    return page(stories, facts, [Path(folder) for folder in request.data])


def _facts(found: Found, stories: list[Story], request: Request) -> dict[str, Any]:
    from thresher.bench.report.commands import command_of
    from thresher.bench.report.story import provenance

    commands = [command_of(story) for story in stories]
    judged = "" if request.margin is None else f" --margin {request.margin:g}"
    return {
        "name": found.folder.resolve().name,
        "folder": found.folder,
        "commands": [*dict.fromkeys(filter(None, commands)), f"thresher report RUNS{judged}"],
        "notes": found.damaged,
        **provenance(found),
    }
