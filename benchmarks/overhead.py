"""What Thresher adds to training, data loading and the model taken away, against its budgets.

    python benchmarks/overhead.py            # 10^4 to 10^7 samples
    python benchmarks/overhead.py --huge     # 10^8 samples, too

See README.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from parts import imports, loaders, reduction, scale, selection
from parts.common import METHODS, Line, environment, show, write

_RESULTS = Path(__file__).parent / "results"
_ROWS = ("1", "2", "3", "4", "6")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--sizes", nargs="+", type=float, default=[1e4, 1e5, 1e6, 1e7], help="samples, for row 1"
    )
    parser.add_argument("--huge", action="store_true", help="row 4 at 10^8 samples, too")
    parser.add_argument("--prune-ratio", type=float, default=0.3)
    parser.add_argument(
        "--repetitions", type=float, default=1.0, help="multiplies all numbers of repetitions"
    )
    parser.add_argument("--out", type=Path, default=_RESULTS / "overhead.json")
    return parser.parse_args()


def main() -> None:
    """Measure the rows that were asked for."""
    if scale.answered():
        return
    torch.set_num_threads(1)
    given = _arguments()
    before = environment()
    lines: list[Line] = []

    def times(usual: int) -> int:
        return max(1, round(usual * given.repetitions))

    def repetitions(size: int) -> int:
        return times(max(4, min(40, 4 * 10**6 // size)))

    sizes = [int(size) for size in given.sizes]
    only, ratio = given.methods, given.prune_ratio
    scales = [10**7, 10**8] if given.huge else [10**7]
    rows: dict[str, tuple[str, Callable[[], list[Line]]]] = {
        "1": (
            "1. Selection and bookkeeping of every step: CPU s per 10^6 samples, batch 128",
            lambda: selection.measure(sizes, ratio, repetitions, only),
        ),
        "2": (
            "2. Wrapped against plain loader, tensors in memory",
            lambda: loaders.measure(128 * 100, times(30)),
        ),
        "3": (
            "3. reduce on top of losses.mean()",
            lambda: reduction.measure(times(8), ratio, only),
        ),
        "4": (
            "4. Closing an epoch and planning the next",
            lambda: scale.measure(scales, ratio, only),
        ),
        "6": ("6. Import", lambda: imports.measure(times(5))),
    }
    settings = {key: str(value) for key, value in vars(given).items() if key != "out"}
    for row in given.rows:
        title, measure = rows[row]
        found = measure()
        show(title, found)
        lines += found
        if row == "3":
            settings["synchronisations"] = reduction.synchronisations()
            print(f"synchronisations with a GPU: {settings['synchronisations']}")
    write(given.out, lines, before, settings)


if __name__ == "__main__":
    main()
