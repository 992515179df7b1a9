"""What is told about the runs of one task, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from thresher.bench.report import sentences
from thresher.bench.report.runs import Found, Together
from thresher.bench.report.sentences import kind_of, tally
from thresher.bench.report.views import gain, main_ratio, row_name
from thresher.bench.summary import Line, summarise
from thresher.bench.table import signed
from thresher.errors import SettingError, ThresherError

_SHORT = 30
"""Characters of a setting that may stand in a heading."""


@final
@dataclass(frozen=True)
class Story:
    """One task's runs, their table, and what they show.

    Args:
        group: the runs.
        margin: δ, in points.
        place: of the task on the page, from 1.
        apart: what tells it from another story of the same title; empty if there is none.
    """

    group: Together
    margin: float
    place: int
    apart: str = ""

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of the table, as `thresher compare` makes them."""
        return summarise(self.group.records, self.margin, self.group.looks)

    @cached_property
    def title(self) -> str:
        """The task's title; its name if this version does not know it."""
        from thresher.bench.tasks import task

        if self.group.title:
            return self.group.title
        try:
            return task(self.group.task).title
        except ThresherError:
            return self.group.task

    @property
    def heading(self) -> str:
        """The title, and what tells it from another story of the same title."""
        return f"{self.title} · {self.apart}" if self.apart else self.title

    @property
    def summary(self) -> list[str]:
        """What the runs show, in sentences."""
        return sentences.summary(self.lines, self.group.measure, self.margin)

    @property
    def tally(self) -> dict[str, int]:
        """How many rows have earned each verdict."""
        return tally(self.lines)

    @property
    def setting(self) -> list[str]:
        """The facts that all runs share, in few words."""
        group, common = self.group, self.group.common
        words = [
            f"{group.num_samples:,} training samples" if group.num_samples else "",
            f"{common['epochs']} epochs in full",
            f"{len(group.seeds)} seed{'s' * (len(group.seeds) != 1)}",
            f"{len(group.records)} rows, {len(group.all)} runs",
            str(common.get("model", "")),
        ]
        return [word for word in words if word]

    @property
    def notes(self) -> list[str]:
        """What the runs say about themselves, each thing once; one seed speaks for its row."""
        found: dict[str, None] = dict.fromkeys(self.group.notes)
        begun = own_margin(self.group)
        if self.margin != begun:
            found[
                f"Judged with a margin of {self.margin:g} instead of {begun:g} "
                f"{self.group.measure.points}: chosen when results could be seen."
            ] = None
        num = len(self.group.seeds)
        if self.group.looks:
            at = ", ".join(map(str, self.group.looks))
            found[
                f"Looks were named beforehand, at {at} seeds; each is judged with its share of the "
                "5\xa0%, so that at all of them together no more is wrong than at one."
            ] = None
        for row, runs in self.group.records.items():
            if len(runs) < num:
                found[f"{row_name(row)}: {len(runs)} of {num} seeds are finished"] = None
            for note in next(iter(runs.values())).get("notes") or ():
                ratio = "" if row.prune_ratio is None else f" {row.prune_ratio:g}"
                found[f"{row_name(row)}{ratio}: {note}"] = None
        if len({repr(run.get("machine")) for run in self.group.all}) > 1:
            found["These runs come from different machines: their times mean little."] = None
        return list(found)

    def at_main_ratio(self) -> dict[str, tuple[str, str, float]]:
        """Return each row's difference to full and verdict, at the ratio nearest to one half.

        The difference comes as a text and as a number.
        """
        ratio = main_ratio(self.lines)
        return {
            row_name(line.row) + _length(line): (
                signed(gain(line), self.group.measure.digits),
                kind_of(line),
                gain(line),
            )
            for line in self.lines
            if line.row.prune_ratio == ratio and line.difference is not None
        }


def _length(line: Line) -> str:
    exponent = line.row.step_exponent
    return "" if exponent is None else f", γ = {exponent:g}"


def stories_of(found: Found, margin: float | None) -> list[Story]:
    """Return the story of each task.

    Args:
        found: the runs.
        margin: δ in points; None takes what was asked for, or each metric's own.

    Raises:
        SettingError: one margin is given for metrics whose points are different things.
    """
    points = dict.fromkeys(group.measure.points for group in found.groups)
    if margin is not None and len(points) > 1:
        raise SettingError(
            f"--margin {margin:g} for {' and '.join(points)}",
            "one kind of metric",
            "Leave it out, which takes each metric's own, or give one of the folders in RUNS",
        )
    told = [
        Story(group, own_margin(group) if margin is None else margin, place)
        for place, group in enumerate(found.groups, start=1)
    ]
    return [replace(story, apart=_apart(story, told)) for story in told]


def _apart(story: Story, told: list[Story]) -> str:
    """Return what tells a story from the others of its title: its folder, else its settings."""
    alike = [other for other in told if other.title == story.title]
    if len(alike) == 1:
        return ""
    folder = story.group.entry
    alike = [other for other in alike if other.group.entry == folder]
    if len(alike) == 1:
        return folder
    words = [_settings(other, alike) for other in alike]
    own = _settings(story, alike)
    settings = own if words.count(own) == 1 else f"no. {alike.index(story) + 1}"
    return f"{folder}, {settings}" if folder else settings


def _settings(story: Story, alike: list[Story]) -> str:
    """Return the short settings in which a story differs from any of the others."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in story.group.common.items()
        if any(other.group.common.get(name) != value for other in alike)
        if len(str(value)) <= _SHORT
    )


def own_margin(group: Together) -> float:
    """Return δ as it was asked for before the runs, or else the metric's own."""
    return group.measure.margin if group.margin is None else group.margin


def provenance(found: Found) -> dict[str, Any]:
    """Return what is needed to make the runs again: versions, commits and machines, each once."""
    runs = [run for group in found.groups for run in group.all]

    def each(name: str) -> list[Any]:
        return list({repr(run.get(name)): run[name] for run in runs if run.get(name)}.values())

    def texts(mappings: list[Any]) -> list[str]:
        return [
            ", ".join(f"{name} {value}" for name, value in one.items())
            for one in mappings
            if isinstance(one, Mapping)
        ]

    return {
        "versions": texts(each("versions")),
        "commits": [str(commit) for commit in each("commit")],
        "machines": texts(each("machine")),
    }
