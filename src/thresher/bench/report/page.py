"""The page: everything that is known about a folder of runs, in one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from thresher.bench.report import attention, curves, fidelity, front, times
from thresher.bench.report.specimens import Data, data_of
from thresher.bench.report.story import Story
from thresher.bench.report.table_rows import STRIP, parts_of
from thresher.bench.report.views import View, percent, views_of
from thresher.bench.table import has_own_time, heading_of

_FOLDER = "templates"


def page(stories: Sequence[Story], facts: Mapping[str, Any], folders: Sequence[Path]) -> str:
    """Return the page.

    Whatever comes from the runs or the data reaches it through a template that escapes it, and the
    page itself forbids every script but its own, whatever is fetched, and every form.

    Args:
        stories: the tasks, in order.
        facts: of the whole folder: `name`, `folder`, `commands`, `versions`, `notes`.
        folders: to look for the tasks' data in.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("thresher.bench.report", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = _number
    style, script = _text("style.css"), _text("sort.js")
    return environment.get_template("page.html").render(
        facts=facts,
        heading=stories[0].heading if len(stories) == 1 else str(facts["name"]),
        opening=_opening(stories),
        fidelities=fidelity.measured(facts["folder"]),
        sections=[_section(story, folders) for story in stories],
        overview=_overview(stories),
        style=style,
        script=script,
        script_hash=_hash(script),
        strip_width=STRIP,
        time_parts=times.PARTS,
    )


def _section(story: Story, folders: Sequence[Path]) -> dict[str, Any]:
    group, views = story.group, views_of(story.lines)
    data = _data(story, views, folders)
    counted = attention.counted(group, views[0], data) if views else []
    suspicions = attention.suspicions(counted, data)
    share = 0.0 if data is None or data.wrong is None else float(data.wrong.mean())
    return {
        "story": story,
        "parts": parts_of(story.lines, group.measure, story.margin),
        "measure_heading": heading_of(group.measure),
        "has_flops": not all(math.isnan(line.flops) for line in story.lines),
        "has_own_time": any(map(has_own_time, story.lines)),
        "has_extra": any(line.extra_forwards for line in story.lines),
        "has_reference": any(line.reference for line in story.lines),
        "has_steps": len({line.row.step_length for line in story.lines} - {"–"}) > 1,
        "fronts": front.fronts(story.lines, group.measure, story.margin),
        "views": [_view(story, view) for view in views],
        "counted": counted,
        "has_data": data is not None,
        "suspicions": suspicions,
        "precision": attention.precision_chart(suspicions, share),
        "wrong_share": share,
    }


def _view(story: Story, view: View) -> dict[str, Any]:
    bars = times.bars(story.group, view)
    return {
        "title": view.title,
        "view": view,
        "learning": curves.learning(story.group, view),
        "pruning": curves.pruning(story.group, view),
        "bars": bars,
        "parts": {part.name for each in bars for part in each.parts},
    }


def _data(story: Story, views: Sequence[View], folders: Sequence[Path]) -> Data | None:
    """Return the task's data if a single sample is to be shown."""
    if not views or not attention.counted(story.group, views[0], None):
        return None
    return data_of(story.group.task, str(story.group.common.get("data", "")), folders)


def _overview(stories: Sequence[Story]) -> dict[str, Any] | None:
    """Return the differences of all methods on all tasks, at each task's main ratio."""
    if len(stories) < 2:
        return None
    columns = [story.at_main_ratio() for story in stories]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name) for column in columns]) for name in names]
    return {"stories": stories, "rows": rows}


def _opening(stories: Sequence[Story]) -> str:
    """Return what is said of several tasks together."""
    num = sum(len(story.group.all) for story in stories)
    counts: dict[str, int] = {}
    for story in stories:
        for kind, number in story.tally.items():
            counts[kind] = counts.get(kind, 0) + number
    words = {"one seed": "not tested (one seed)"}
    rows = ", ".join(f"{number} {words.get(kind, kind)}" for kind, number in counts.items())
    return f"{num} runs on {len(stories)} tasks. Rows of methods: {rows or 'none'}."


def _number(value: float) -> str:
    """Return what a script reads as a number; empty where there is none."""
    return f"{value!r}" if math.isfinite(value) else ""


def _text(name: str) -> str:
    folder = resources.files("thresher.bench.report") / _FOLDER
    return (folder / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return what a content security policy calls a script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
