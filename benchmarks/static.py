"""What a selection by each static method costs, in time and memory.

    python benchmarks/static.py                       # 50,000 samples of 512 features, 10 classes
    python benchmarks/static.py --methods DP InfoMax  # some of them

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from parts import static
from parts.common import environment, show, write

_RESULTS = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    names = [*static.found(), *static.COLLECTIONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    parser.add_argument("--samples", type=float, default=50_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--prune-ratio", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=_RESULTS / "static.json")
    return parser.parse_args()


def main() -> None:
    """Measure the methods that were asked for."""
    if sys.argv[1:2] == ["--child"]:
        name, samples, features, ratio = sys.argv[2:]
        print(json.dumps(static.child(name, int(samples), int(features), float(ratio))))
        return
    torch.set_num_threads(1)
    given = _arguments()
    before = environment()
    samples, ratio = int(given.samples), given.prune_ratio
    lines = static.measure(samples, given.features, ratio, given.methods)
    title = (
        f"7. Static methods: {samples} samples of {given.features} features, {ratio:.0%} left out"
    )
    show(title, lines)
    settings = {key: str(value) for key, value in vars(given).items() if key != "out"}
    write(given.out, lines, before, settings)


if __name__ == "__main__":
    main()
