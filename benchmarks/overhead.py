"""What Thresher adds to training: the budgets of docs/architecture.md, rows 1 to 4 and 6.

    python benchmarks/overhead.py                    # 10^4 to 10^7 samples; some minutes
    python benchmarks/overhead.py --huge             # 10^8 too; needs 12 GiB and some minutes more
    python benchmarks/overhead.py --rows 1 3 --methods RePB InfoBatch

Everything is compared inside one run with turns taken, on one thread, by the processor's time where
no other process works for us, so that a busy machine disturbs it less. Prints a table with bounds
and writes JSON. Row 5, the time that is really saved, is wallclock.py's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from parts import loading, reducing, scale, selection
from parts.common import METHODS, Line, environment, show, write

SIZES = [10**4, 10**5, 10**6, 10**7]
TITLES = {
    1: "1 selection once and every step's bookkeeping, per 10⁶ samples of the data set",
    2: "2 wrapped loader against the plain one",
    3: "3 one reduce on top of losses.mean()",
    4: "4 planning and closing an epoch",
    6: "6 import",
}


def measure(row: int, args: argparse.Namespace) -> list[Line]:
    """Return the lines of a row."""
    sizes = [size for size in SIZES if size <= args.largest]
    if row == 1:
        return selection.measure(
            sizes, args.prune_ratio, lambda size: 5 if size <= 10**6 else 2, args.methods
        )
    if row == 2:
        return loading.measure(200_000, 7)
    if row == 3:
        print(reducing.synchronisations())
        return reducing.measure(500_000, args.prune_ratio, 5, args.methods)
    if row == 4:
        large = [size for size in (10**7, 10**8) if args.huge or size <= args.largest]
        return scale.measure(large if args.huge else large[:1], args.prune_ratio, args.methods)
    return reducing.measure_import(5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--prune-ratio", type=float, default=0.3, help="asked of each method (0.3)")
    parser.add_argument("--largest", type=int, default=10**7, help="most samples (10000000)")
    parser.add_argument("--huge", action="store_true", help="row 4 with 10^8 samples too")
    default = Path(__file__).parent / "results" / "overhead.json"
    parser.add_argument("--out", type=Path, default=default, help="where the JSON goes")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        label, size, ratio = args.child
        print(json.dumps(scale.child(label, int(size), float(ratio))))
        return
    torch.set_num_threads(1)
    before = environment()
    lines: list[Line] = []
    for row in args.rows:
        found = measure(row, args)
        show(TITLES[row], found)
        lines += found
    settings = {"prune_ratio": args.prune_ratio, "largest": args.largest, "huge": args.huge}
    write(args.out, lines, before, settings)


if __name__ == "__main__":
    main()
