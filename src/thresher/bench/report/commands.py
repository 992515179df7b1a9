"""The command lines that make the runs again, read off the runs themselves."""

from __future__ import annotations

from typing import Any

from thresher.bench.catalogue import BASELINES, is_control
from thresher.bench.compare import Options
from thresher.bench.report.runs import Together
from thresher.bench.report.story import Story
from thresher.bench.tasks import task as find_task
from thresher.errors import ThresherError


def command_of(story: Story) -> str:
    """Return the command that asks for the same runs; empty if it would be refused.

    A comparison adds its controls by itself, so rows that only controls have are not asked for.
    """
    group = story.group
    if group.command:
        return group.command
    rows = [row for row in group.records if not row.is_added]
    pruned = [row for row in rows if row.prune_ratio is not None]
    # Controls come along at every step length that a method is asked for.
    methods = [row for row in pruned if not is_control(row.method)] or pruned
    asked: dict[str, Any] = {
        "task": group.task.removesuffix("@paper"),
        "scale": "paper" if group.task.endswith("@paper") else "small",
        "methods": tuple(dict.fromkeys([*BASELINES, *(row.method for row in rows)])),
        "prune_ratio": tuple(dict.fromkeys(row.prune_ratio for row in pruned)) or (0.5,),
        "step_exponent": tuple(
            dict.fromkeys(row.step_exponent for row in methods if row.step_length != "–")
        )
        or (None,),
        "seeds": group.seeds,
        "margin": None if story.margin == group.measure.margin else story.margin,
        **_budget(group),
    }
    # Words like `published` have no order among numbers; it is what one asks for first.
    asked["step_exponent"] = tuple(sorted(asked["step_exponent"], key=lambda each: each or -1.0))
    try:
        return Options(**asked).command()
    except ThresherError:
        return ""


def _budget(group: Together) -> dict[str, Any]:
    """Return what differs from the task's own budget."""
    common = group.common
    try:
        budget = find_task(group.task).budget
    except ThresherError:
        return {}
    given = {
        name: common[name]
        for name in ("epochs", "batch_size")
        if name in common and common[name] != getattr(budget, name)
    }
    return given | ({"device": common["device"]} if common.get("device", "cpu") != "cpu" else {})
