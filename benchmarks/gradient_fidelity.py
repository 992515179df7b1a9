"""What each method's selection does to the gradient, on real data and small networks.

    python benchmarks/gradient_fidelity.py                  # 3 minutes on one core
    python benchmarks/gradient_fidelity.py --tasks digits

Every historical method is measured, found without a list.

Gradients: a reference run trains on everything. Each method plans beside it and is shown the scores
of the samples it planned, as the reference run saw them: under one seed a plan is a part of the
full one in the same order, so RePB's windows are of single steps here as well. Early, in the middle
and late each method's ledger is drawn from again and again, and the weighted gradient of each draw
is compared with that of all samples at the same parameters, which are the same for all methods.

Overlap and visits are of runs that each method trains on its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from parts.fidelity_table import PHASES, RATIOS, markdown
from parts.small_runs import SETUPS, Data, Driven, Scores, Setup, load, losses_of, train
from torch import Tensor, nn

import thresher
from thresher.bench.provenance import commit, machine, versions
from thresher.cards import method_classes
from thresher.diagnostics import (
    Fidelity,
    compare_fidelity,
    gradient_fidelity,
    overlap,
    redraw,
    visits,
)
from thresher.methods import Method, OrderDP
from thresher.plan import Plan, Trace
from thresher.theory.surrogate import surrogate_weights

_RESULTS = Path(__file__).parents[1] / "docs" / "results" / "gradient-fidelity"
_RATIO = 0.5
# Seeds of the draws: none of them trains.
_FIRST_DRAW = 10_000


@dataclass
class Reference:
    """What a run on everything saw.

    Args:
        scores: of each epoch, by name, and by sample.
        steps: of each epoch, the optimizer step of each sample.
        models: the network before the measured epochs.
    """

    scores: list[Scores] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)
    models: dict[str, nn.Module] = field(default_factory=dict)


def phases(setup: Setup) -> dict[int, str]:
    """The epochs before which gradients are measured."""
    return dict(zip((3, setup.epochs // 2, setup.epochs - 5), PHASES, strict=True))


def reference_run(setup: Setup, data: Data, seed: int, names: set[str]) -> Reference:
    found, measured = Reference(), phases(setup)

    def before_epoch(model: nn.Module) -> None:
        phase = measured.get(len(found.steps))
        if phase is not None:
            found.models[phase] = copy.deepcopy(model)

    def after_epoch(plan: Plan, trace: Trace) -> None:
        by_sample = plan.ids.argsort()
        found.steps.append(trace.step[by_sample])
        found.scores.append({name: each[by_sample] for name, each in trace.scores.items()})

    full = thresher.Full()
    train(setup, data, full, seed, before_epoch=before_epoch, after_epoch=after_epoch, also=names)
    return found


def redrawn(
    setup: Setup, method: Method, reference: Reference, seed: int, draws: int
) -> dict[str, list[Plan]]:
    """Plans of each measured epoch, drawn from the ledger that the method has by then."""
    driven = Driven(method, len(reference.steps[0]), setup.epochs, seed)
    measured, found = phases(setup), dict[str, list[Plan]]()
    for epoch in range(max(measured) + 1):
        plan, seen = driven.plan(epoch), reference.scores[epoch]
        if epoch in measured:
            found[measured[epoch]] = redraw(
                method, driven.ledger, epoch=epoch, draws=draws, seed=_FIRST_DRAW
            )
        trace = Trace(
            scores={name: each[plan.ids] for name, each in seen.items()},
            step=reference.steps[epoch][plan.ids],
        )
        driven.close(plan, trace, lambda ids, seen=seen: {n: v[ids] for n, v in seen.items()})
    return found


def gradients(
    setup: Setup, data: Data, kinds: list[type[Method]], seed: int, draws: int
) -> list[dict[str, Any]]:
    """Compare all methods at the parameters of one reference run."""
    methods = {kind.__name__: kind(prune_ratio=_RATIO) for kind in kinds}
    names = {name for method in methods.values() for name in method.needs}
    reference = reference_run(setup, data, seed, names)
    plans = {
        name: redrawn(setup, method, reference, seed, draws) for name, method in methods.items()
    }
    rows: list[dict[str, Any]] = []
    for phase, model in reference.models.items():
        drawn = {name: of_phases[phase] for name, of_phases in plans.items()}
        found = compare_fidelity(model, losses_of, [(data.x, data.y)], drawn)
        if "OrderDP" in drawn:
            found["OrderDP, for its surrogate"] = against_surrogate(model, data, drawn["OrderDP"])
        rows += [
            {"method": name, "phase": phase, "seed": seed} | _as_dict(each)
            for name, each in found.items()
        ]
    return rows


def against_surrogate(model: nn.Module, data: Data, plans: list[Plan]) -> Fidelity:
    """OrderDP against the gradient of L_q, with the ranks of the present parameters."""
    with torch.no_grad():
        fresh = losses_of(model, (data.x, data.y))
    target = surrogate_weights(fresh, *OrderDP().sizes(len(data.y), _RATIO))
    return gradient_fidelity(model, losses_of, [(data.x, data.y)], plans, target=target)


def _as_dict(found: Fidelity) -> dict[str, Any]:
    names = ("cosine", "length", "bias_squared", "variance")
    estimates = {name: getattr(found, name) for name in names}
    return {
        "kept": found.kept,
        "draws": found.draws,
        "bias": found.bias,
        "shows_bias": found.shows_bias,
        **{name: [each.value, each.error] for name, each in estimates.items()},
    }


def selections(
    setup: Setup, data: Data, kind: type[Method], ratio: float, seed: int
) -> dict[str, Any]:
    """Train once; the overlap of its selections and the evenness of its visits."""
    plans = train(setup, data, kind(prune_ratio=ratio), seed)
    # Epochs that train on everything say nothing of the rule.
    common = overlap([plan for plan in plans if len(plan) < plan.num_samples])
    visited = visits(plans)
    return {
        "method": kind.__name__,
        "prune_ratio": ratio,
        "seed": seed,
        "saved": 1 - sum(map(len, plans)) / (len(data.y) * len(plans)),
        "jaccard": common.mean.value,
        "jaccard_by_chance": float(common.by_chance.mean()),
        "gini": visited.gini,
        "starved": visited.share_below(visited.mean / 2),
        "least": int(visited.counts.min()),
    }


def pruning_methods() -> list[type[Method]]:
    """The historical methods that prune when they are asked to."""
    historical = [kind for kind in method_classes() if kind.family == "historical"]
    return [kind for kind in historical if kind.follows_prune_ratio]


def measured_task(name: str, seeds: int, draws: int) -> dict[str, Any]:
    setup, data, started = SETUPS[name], load(name), time.process_time()
    kinds = pruning_methods()
    found = {
        "gradients": [
            row for seed in range(seeds) for row in gradients(setup, data, kinds, seed, draws)
        ],
        "selections": [
            selections(setup, data, kind, ratio, seed)
            for kind in kinds
            for ratio in RATIOS
            for seed in range(seeds)
        ],
    }
    return {
        "task": name,
        "title": setup.title,
        "epochs": setup.epochs,
        "cpu_seconds": round(time.process_time() - started, 1),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--out", type=Path, default=_RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    content = {
        "command": shlex.join(["python", "benchmarks/gradient_fidelity.py", *sys.argv[1:]]),
        "seeds": given.seeds,
        "draws": given.draws,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "tasks": [measured_task(name, given.seeds, given.draws) for name in given.tasks],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (given.out / "results.json").write_text(f"{text}\n", encoding="utf-8")
    page = markdown(content)
    (given.out / "table.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
