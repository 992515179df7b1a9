"""Up to 10^8 samples on this machine, in one process and in shards; and what 10^10 would take.

    python benchmarks/scale.py --sizes 1e6 1e7            # a few minutes
    python benchmarks/scale.py --sizes 1e6 1e7 1e8        # ten minutes, 6 GB

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from parts import ranks, scale
from parts.common import BATCH, FLOAT64, METHODS, Line, environment, show, write
from parts.network import Model, Network, Work, line

_RESULTS = Path(__file__).parent / "results"
_ONLY = ["RePB", "InfoBatch", "OrderDP", "Omission systematic"]
_JUDGED = 10**8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 1e7])
    parser.add_argument(
        "--largest-alone", type=float, default=math.inf, help="of the sizes, in one process"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=_ONLY)
    parser.add_argument("--world-size", type=int, default=4, help="processes that share the data")
    parser.add_argument("--prune-ratio", type=float, default=0.3)
    parser.add_argument("--largest-replicated", type=float, default=1e6)
    parser.add_argument("--target-ranks", type=int, default=1024, help="of the extrapolation")
    parser.add_argument("--target-sizes", nargs="+", type=float, default=[1e9, 1e10])
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds a message")
    parser.add_argument("--bandwidth", type=float, default=12.5e9, help="bytes/s of a rank's link")
    parser.add_argument(
        "--samples-per-second", type=float, default=1000.0, help="that one rank trains"
    )
    parser.add_argument("--other-core", default="", help="what else was running, for the record")
    parser.add_argument("--out", type=Path, default=_RESULTS / "scale-ranks.json")
    return parser.parse_args()


def _summary(size: int, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the dearest measured epoch over ranks; CPU seconds of all of them."""
    plans = [rank["plans"][1:] for rank in told]
    epochs = range(len(plans[0]))

    def most(name: str) -> float:
        return max(plan[name] for rank in plans for plan in rank)

    return {
        "num_samples": size,
        "cpu_of_all": max(sum(rank[e]["cpu"] for rank in plans) for e in epochs),
        "cpu_of_a_rank": most("cpu"),
        "wall": most("wall"),
        "bytes_a_sample": max(sum(rank[e]["peak"] for rank in plans) for e in epochs) / size,
        "steps": plans[0][-1]["steps"],
        # Of the last epoch, as its steps are: those of the first ones may be of more samples.
        "bytes_sent": max(rank[-1]["bytes_sent"] for rank in plans),
        "reductions": most("reductions"),
        "gathers": most("gathers"),
        "seconds_in_reductions": most("seconds_in_reductions"),
        "planned": plans[0][-1]["planned"],
    }


def _sharded_lines(label: str, world: int, found: list[dict[str, Any]]) -> list[Line]:
    lines: list[Line] = []
    limit = 56.0 if any(part in label for part in FLOAT64) else 40.0
    for one in found:
        is_judged = one["num_samples"] >= _JUDGED
        case = f"{one['num_samples']:.0e} {label}, {world} processes"
        more = {
            name: one[name]
            for name in ("cpu_of_a_rank", "wall", "bytes_sent", "reductions", "gathers", "steps")
        }
        peak, cpu = one["bytes_a_sample"], one["cpu_of_all"]
        lines += [
            Line("sharded", f"{case}: peak", peak, "B/sample", limit if is_judged else None),
            Line(
                "sharded",
                f"{case}: CPU seconds of all",
                cpu,
                "s",
                20.0 if is_judged else None,
                more=more,
            ),
        ]
    return lines


def _model(
    label: str, alone: list[Line], sharded: list[dict[str, Any]], sizes: list[int], world: int
) -> Model:
    """Return the model of one method, fitted to these sizes of the measurements."""
    rows, seconds, peaks = list[float](), list[float](), list[float]()
    for size in sizes:
        own = {row.case.split(": ")[1]: row.value for row in alone if f"{size:.0e} " in row.case}
        if own:
            rows.append(size)
            seconds.append(own["seconds"])
            peaks.append(own["peak"])
        found = next(one for one in sharded if one["num_samples"] == size)
        rows.append(size / world)
        seconds.append(found["cpu_of_all"] / world)
    used = [one for one in sharded if one["num_samples"] in sizes]
    base, a_step = line([one["steps"] for one in used], [one["bytes_sent"] for one in used])
    return Model(
        work=Work.fitted(rows, seconds),
        peak=peaks[-1],
        kept=used[-1]["planned"],
        base=base,
        a_step=a_step,
        reductions=max(one["reductions"] for one in used),
        gathers=max(one["gathers"] for one in used),
        scores=len(METHODS[label][0](0.3).needs),
    )


def _checked(
    label: str, alone: list[Line], sharded: list[dict[str, Any]], sizes: list[int], world: int
) -> list[Line]:
    """What the model, fitted without the largest size, says of it, over what was measured."""
    if len(sizes) < 3:
        return []
    model, last = _model(label, alone, sharded, sizes[:-1], world), sharded[-1]
    size = last["num_samples"]
    own = [row.value for row in alone if row.case == f"{size:.0e} {label}: seconds"]
    shares = {
        f"CPU, {world} processes": world * model.work.seconds(size / world) / last["cpu_of_all"],
        f"bytes, {world} processes": model.bytes_sharded(size, world) / last["bytes_sent"],
    }
    if own:
        shares["CPU, one process"] = model.work.seconds(size) / own[0]
    return [
        Line("model", f"{size:.0e} {label}: {name}, predicted / measured", share, "x")
        for name, share in shares.items()
    ]


def _extrapolated(label: str, model: Model, given: argparse.Namespace) -> list[dict[str, Any]]:
    network = Network(given.latency, given.bandwidth)
    found: list[dict[str, Any]] = []
    for size in given.target_sizes:
        for mode in ("replicated", "sharded"):
            one = getattr(model, mode)(size, given.target_ranks, network)
            epoch = model.kept * size / (given.target_ranks * given.samples_per_second)
            total = one["cpu_seconds"] + one["network_seconds"]
            found.append(
                {
                    "method": label,
                    "num_samples": size,
                    "mode": mode,
                    **one,
                    "seconds": total,
                    "epoch_seconds": epoch,
                    "share_of_an_epoch": total / epoch,
                }
            )
    return found


def _assumptions(given: argparse.Namespace) -> list[str]:
    return [
        f"α = {given.latency:.3g} s a message, β = {given.bandwidth:.3g} B/s of each rank's link; "
        "assumed, not measured: gloo on one machine says nothing of a network",
        "all-reduce 2⌈log2 W⌉α + 2B(W-1)/(Wβ), all-gather (W-1)(α + B/β); nobody waits for others",
        "CPU seconds f + rows·(a + b·log10(rows)), fitted to one process and to shards; one core "
        "a rank, of this machine",
        f"batches of {BATCH} samples a rank, prune ratio {given.prune_ratio}; a rank trains "
        f"{given.samples_per_second:g} samples a second",
        "replicated: one gather of float32 scores an epoch, whose merging is left out; a whole "
        "ledger on every rank, extrapolated beyond 10^8. Sharded: rows of a rank were measured",
    ]


def _show_extrapolated(found: list[dict[str, Any]], given: argparse.Namespace) -> None:
    print(f"\nOn {given.target_ranks} ranks, an epoch, by the model:")
    for text in _assumptions(given):
        print(f"  - {text}")
    print(
        f"{'samples':>8} {'method':22} {'mode':10} {'GB a rank':>10} {'CPU s':>9} {'MB sent':>9} "
        f"{'MB got':>10} {'network s':>9} {'of an epoch':>11}"
    )
    for one in found:
        print(
            f"{one['num_samples']:8.0e} {one['method']:22} {one['mode']:10} "
            f"{one['gigabytes_of_a_rank']:10.3g} {one['cpu_seconds']:9.3g} "
            f"{one['bytes_sent'] / 1e6:9.3g} {one['bytes_received'] / 1e6:10.3g} "
            f"{one['network_seconds']:9.3g} {one['share_of_an_epoch']:11.2%}"
        )


def _replicated(
    label: str, world: int, largest: float, ratio: float
) -> tuple[list[Line], list[dict[str, Any]]]:
    """Measure what whole ledgers send, against 4 bytes a score."""
    size, lines, found = int(largest), list[Line](), list[dict[str, Any]]()
    for num in (size // 10, size):
        told = ranks.on_ranks("replicated", world, label, num, ratio)[0]
        scores = len(METHODS[label][0](ratio).needs)
        part = 4 * scores * math.ceil(told["planned"] * num / world)
        case = f"{num:.0e} {label}, {world} processes: bytes of a rank an epoch"
        more = {
            "4 B a score": part,
            "gathering s": told["gathering_seconds"],
            "peak B/sample": told["peak"] / num,
        }
        lines.append(Line("replicated", case, told["bytes_sent"], "B", more=more))
        found.append({"method": label, "num_samples": num, **told})
    return lines, found


def main() -> None:
    """Measure, fit, extrapolate and print."""
    if scale.answered() or ranks.answered():
        return
    torch.set_num_threads(1)
    given = _arguments()
    before, sizes, world = environment(), [int(size) for size in given.sizes], given.world_size
    settings = {key: str(value) for key, value in vars(given).items() if key != "out"}
    lines, more = list[Line](), dict[str, list[Any]]()
    for kind in ("sharded", "replicated", "models", "extrapolated"):
        more[kind] = []
    for label in given.methods:
        small = [size for size in sizes if size <= given.largest_alone]
        alone = scale.measure(small, given.prune_ratio, [label])
        sharded = [
            _summary(size, ranks.on_ranks("sharded", world, label, size, given.prune_ratio))
            for size in sizes
        ]
        replicated, told = _replicated(label, world, given.largest_replicated, given.prune_ratio)
        model = _model(label, alone, sharded, sizes, world)
        for title, own in (
            ("one process", alone),
            (f"shards of {world} processes", _sharded_lines(label, world, sharded)),
            (f"whole ledgers on {world} ranks", replicated),
            (
                "the model, fitted without the largest",
                _checked(label, alone, sharded, sizes, world),
            ),
        ):
            if own:
                show(f"{label}: {title}", own)
            lines += own
        more["sharded"] += [{"method": label, **one} for one in sharded]
        more["replicated"] += told
        more["models"].append({"method": label, **model.__dict__, "work": model.work.__dict__})
        more["extrapolated"] += _extrapolated(label, model, given)
        write(given.out, lines, before, settings, {**more, "assumptions": _assumptions(given)})
    _show_extrapolated(more["extrapolated"], given)


if __name__ == "__main__":
    main()
