"""The page of `gradient_fidelity.py`: one table for each question."""

from __future__ import annotations

import statistics
from typing import Any

PHASES = ("early", "middle", "late")
RATIOS = (0.3, 0.5, 0.7)

_HEAD = """\
# What selections do to the gradient

    {command}

These are the subjects of OrderDP's Tables 8 (Jaccard similarity of selections), 9 (stability) and
11 (direction of the gradient). The page of that paper which we have names the tables and not their
numbers, so what is measured is reproduced here, not values. {seeds} seeds; ± is the standard error
of their mean.

**Gradients.** A reference run trains on everything. Each method plans beside it at ratio 0.5 and
is shown the scores of the samples it planned. Before epoch 3 (early), in the middle and 5 epochs
before the end (late) its ledger is drawn from {draws} times. The weighted gradient ĝ of a draw, a
whole epoch's, its weights scaled to mean 1, is compared with the gradient ḡ of all samples at the
same parameters, which are the reference run's for all methods.

- *cosine*: E[cos(ĝ, ḡ)]. *length*: E⟨ĝ, ḡ⟩ / ‖ḡ‖².
- *bias*: ‖E[ĝ] - ḡ‖ / ‖ḡ‖, a wrong length included and the noise of the draws not; in brackets
  if no seed shows one (its 95 % interval holds 0).
- *variance*: E‖ĝ - E[ĝ]‖² / ‖ḡ‖².
- Expectations are over the draws of one epoch from one ledger. Methods that claim to be unbiased
  for the mean gradient (`thresher methods`) should show no bias, the others may: RePB's weights
  make up for its selection over many epochs and not in one. OrderDP is meant for another loss: the
  last row compares it with the gradient of that, ∇L_q with the ranks of the present parameters.
  What is left is the staleness of its stored ranks.
- The full gradient shrinks as training goes on, so compare methods, not phases.

**Overlap and visits** are of runs that each method trains on its own at its paper's step length.

- In brackets: the index of random selections of the same sizes.
- *starved*: share of the samples with fewer than half of the mean number of visits.
- *least*: the fewest visits of any sample."""


def markdown(content: dict[str, Any]) -> str:
    """Return the page of what was measured."""
    parts = [_HEAD.format(**content)]
    for task in content["tasks"]:
        cost = f"{task['epochs']} epochs. All of it took {task['cpu_seconds']:.0f} s of one core."
        parts += [f"## {task['title']}", cost]
        parts += [_gradients(task["gradients"])]
        parts += [_overlap(task["selections"]), _visits(task["selections"])]
    return "\n\n".join(parts) + "\n"


def _gradients(rows: list[dict[str, Any]]) -> str:
    cells: dict[str, dict[str, list[str]]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        columns: dict[str, list[str]] = {"cosine": [], "length": [], "bias": [], "variance": []}
        for phase in PHASES:
            own = [row for row in rows if (row["method"], row["phase"]) == (method, phase)]
            for name in ("cosine", "length", "variance"):
                columns[name].append(_cell([row[name][0] for row in own]))
            bias = _cell([row["bias"] for row in own])
            columns["bias"].append(bias if any(row["shows_bias"] for row in own) else f"({bias})")
        cells[method] = columns

    def table(*names: str) -> str:
        header = ["method", *(f"{name}, {phase}" for name in names for phase in PHASES)]
        lines = [
            [method, *(cell for name in names for cell in columns[name])]
            for method, columns in cells.items()
        ]
        return _table(header, lines)

    return (
        f"### Direction and length of the gradient\n\n{table('cosine', 'length')}\n\n"
        f"### Bias and variance of the gradient\n\n{table('bias', 'variance')}"
    )


def _overlap(runs: list[dict[str, Any]]) -> str:
    def cell(own: list[dict[str, Any]]) -> str:
        chance = statistics.fmean(run["jaccard_by_chance"] for run in own)
        return f"{_cell([run['jaccard'] for run in own])} ({chance:.3f})"

    lines = [
        [method, *(cell(_of(runs, method, ratio)) for ratio in RATIOS)] for method in _methods(runs)
    ]
    table = _table(["method", *(f"ratio {ratio:g}" for ratio in RATIOS)], lines)
    return f"### Jaccard index of successive selections\n\n{table}"


def _visits(runs: list[dict[str, Any]]) -> str:
    lines: list[list[str]] = []
    for method in _methods(runs):
        for ratio in RATIOS:
            own = _of(runs, method, ratio)
            mean = {
                name: statistics.fmean(run[name] for run in own)
                for name in ("saved", "gini", "starved", "least")
            }
            shown = [f"{mean['saved']:.3f}", f"{mean['gini']:.3f}", f"{mean['starved']:.1%}"]
            lines.append([method, f"{ratio:g}", *shown, f"{mean['least']:.1f}"])
    header = ["method", "ratio", "saved", "Gini", "starved", "least"]
    return f"### How evenly samples are visited\n\n{_table(header, lines)}"


def _methods(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["method"] for run in runs))


def _of(runs: list[dict[str, Any]], method: str, ratio: float) -> list[dict[str, Any]]:
    return [run for run in runs if (run["method"], run["prune_ratio"]) == (method, ratio)]


def _cell(values: list[float]) -> str:
    shown = f"{statistics.fmean(values):.3f}"
    if len(values) == 1:
        return shown
    return f"{shown} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def _table(header: list[str], lines: list[list[str]]) -> str:
    every = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in every)
