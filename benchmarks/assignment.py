"""Matching two dictionaries one to one: Concordance, scipy's dense solver and dense Jonker-Volgenant on the same rows.

Every solver runs in a process of its own and maximises the total |cosine| of float32 unit rows, d 576; the product of all
pairs is part of the time. "random": independent directions. "shared": 70 % of the rows are noisy copies in another order.
The dense solvers are left out above 16,384 rows, where their matrices alone take 17 GB.

    python benchmarks/assignment.py --n 16384
    python benchmarks/assignment.py --n 65536 --kinds shared --json out.json
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

D, DENSE_UP_TO = 576, 16_384
SOLVERS = ("concordance", "scipy", "lapjvs")
KINDS = ("random", "shared")


def dictionaries(kind: str, n: int) -> tuple[Any, Any]:
    """Two arrays of unit rows (n × 576, float32)."""
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((n, D), dtype=np.float32) for _ in range(2))
    if kind == "shared":
        copies = int(0.7 * n)
        b[:copies] = a[:copies] + 0.7 * b[:copies]
        b = b[generator.permutation(n)]
    return tuple(rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))


def solve(solver: str, a: Any, b: Any) -> tuple[float, float | None]:
    """Mean |cosine| of the matching found, and its certified distance from the best."""
    if solver == "concordance":
        from analyses.assignment import assign

        found = assign(a, b)
        return float(found.similarity.mean(dtype=np.float64)), found.gap
    similarity = np.abs(a @ b.T)
    if solver == "scipy":
        from scipy.optimize import linear_sum_assignment

        pairs = linear_sum_assignment(similarity, maximize=True)
    else:
        import lap

        pairs = lap.lapjvs(-similarity, return_cost=False)
    return float(similarity[pairs].mean(dtype=np.float64)), 0.0


def measure(solver: str, kind: str, n: int) -> dict[str, Any]:
    a, b = dictionaries(kind, n)
    wall, processor = time.perf_counter(), time.process_time()
    value, gap = solve(solver, a, b)
    return {
        "solver": solver,
        "kind": kind,
        "n": n,
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mean_similarity": value,
        "gap": gap,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=16_384)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--solver", choices=SOLVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.solver:
        print(json.dumps(measure(options.solver, options.kinds[0], options.n)))
        return
    rows = []
    for kind in options.kinds:
        for solver in SOLVERS if options.n <= DENSE_UP_TO else SOLVERS[:1]:
            command = [sys.executable, __file__, "--solver", solver, "--kinds", kind, "--n", str(options.n)]
            load = os.getloadavg()[0]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode:
                sys.exit(found.stderr)
            rows.append(row := {**json.loads(found.stdout), "machine_load_before": round(load, 2)})
            print(
                f"{kind:7} {row['n']:6} {solver:12} {row['seconds']:8} s {row['processor_seconds']:8} processor s "
                f"{row['peak_rss_mb']:6} MB  mean |cosine| {row['mean_similarity']:.7f}  gap {row['gap']:.1e}  load {load:.1f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
