"""The tables without pictures: Markdown, CSV and JSON, which has all numbers."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.bench.report.measured import kept, measured
from thresher.bench.report.story import Story
from thresher.bench.report.views import gain
from thresher.bench.summary import Control, Line
from thresher.bench.table import Heading, cells, legend

_TEXTS = ("method", "step", "verdict", "front?", "helped?")


def markdown(stories: Sequence[Story], facts: Mapping[str, Any]) -> str:
    """Return a page of Markdown; what came from the runs can make no markup."""
    parts = ["# Report"]
    for story in stories:
        heading = Heading(
            title=story.title,
            num_seeds=len(story.group.seeds),
            margin=story.margin,
            notes=[],
            command="",
            metric=story.group.measure,
            looks=story.group.looks,
        )
        parts += [f"## {_marked(story.heading)}", _marked("; ".join(story.setting) + ".")]
        parts += [_marked(" ".join(story.summary)), _table(story)]
        parts += [_marked(text) for text in legend(story.lines, heading)]
        parts += ["\n".join(f"- {_marked(note)}" for note in story.notes)] if story.notes else []
    parts += ["## How it was made"]
    parts += [f"    {' '.join(command.split())}" for command in facts["commands"]]
    told = [
        *facts["versions"],
        *(f"commit {each}" for each in facts["commits"]),
        *facts["machines"],
    ]
    parts += ["\n".join(f"- {_marked(text)}" for text in told)] if told else []
    parts += ["\n".join(f"- {_marked(text)}" for text in facts["notes"])] if facts["notes"] else []
    return "\n\n".join(parts) + "\n"


def _table(story: Story) -> str:
    columns = cells(story.lines, story.group.measure)
    aligned = ["---" if name in _TEXTS else "---:" for name in columns]
    rows = [[_marked(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in ([_marked(name) for name in columns], aligned, *rows)
    )


def _marked(text: str) -> str:
    r"""Return a text on one line in which no character is markup.

    Example:
        >>> _marked("<b> a|b\n[x](y)")
        '\\<b> a\\|b \\[x](y)'
    """
    return re.sub(r"([\\`*_\[<|]|^[#>+=~-])", r"\\\1", " ".join(text.split()))


def table(stories: Sequence[Story]) -> str:
    """Return one line of CSV for each row of each task.

    A text that a spreadsheet would take for a formula is given a quote before it.
    """
    rows = [{**_about(story), **_numbers(line)} for story in stories for line in story.lines]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def _about(story: Story) -> dict[str, Any]:
    """Return what tells a task's rows from another's, and what their numbers are of."""
    measure = story.group.measure
    return {
        "task": story.group.task,
        "folder": story.group.entry,
        "epochs": story.group.common["epochs"],
        "metric": measure.name,
        "unit": measure.unit,
        "higher_is_better": measure.higher_is_better,
        "margin": story.margin,
    }


def _cell(value: object) -> object:
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula else value


def document(
    stories: Sequence[Story], facts: Mapping[str, Any], folders: Sequence[Path] = ()
) -> str:
    """Return everything but the samples as JSON; what is not a number is null.

    Args:
        stories: the tasks, in order.
        facts: of the whole folder.
        folders: to look for the tasks' data in, to know which labels are wrong.
    """
    content = {
        "tasks": [
            {
                "task": story.group.task,
                "folder": story.group.entry,
                "title": story.title,
                "setting": dict(story.group.common),
                "metric": story.group.measure.in_record(),
                "margin": story.margin,
                "seeds": story.group.seeds,
                "summary": story.summary,
                "rows": [
                    {**_numbers(line), **measured(story.group.records[line.row].values())}
                    for line in story.lines
                ],
                "samples": kept(story, folders),
                "notes": story.notes,
            }
            for story in stories
        ],
        **{name: facts[name] for name in ("commands", "versions", "commits", "machines", "notes")},
    }
    return json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    """Return what JSON can say: it has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _strict(each) for name, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value


def _numbers(line: Line) -> dict[str, Any]:
    interval = line.difference.interval() if line.difference is not None else None
    low, high = interval or (None, None)
    difference = gain(line)
    return {
        "method": line.row.method,
        "step_length": line.row.step_length,
        "is_added": line.row.is_added,
        "asked": line.row.prune_ratio,
        "saved": line.rate,
        "seeds": line.num_seeds,
        "samples": line.samples,
        "reference_samples": line.reference,
        "extra_forwards": line.extra_forwards,
        "seconds": line.seconds,
        "speed_up": _number(line.speed_up),
        "time_share": _number(line.time_share),
        "flops_share": _number(line.flops),
        "mean": line.mean,
        "sd": _number(line.sd),
        "difference": _number(difference),
        "low": low,
        "high": high,
        "verdict": line.verdict,
        **_control("random", line.random),
        **_control("fewer_epochs", line.fewer_epochs),
        **_control("same_seconds", line.same_seconds),
        "front": line.front,
        "front_share": _number(line.front_share),
        "helped": line.has_helped,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _control(name: str, control: Control | None) -> dict[str, Any]:
    if control is None:
        return {f"to_{name}": None, f"beats_{name}": None}
    return {f"to_{name}": control.difference.mean, f"beats_{name}": control.is_beaten}
