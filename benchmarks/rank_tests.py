"""Calibration and power of the rank tests: every pair of leaves of known trees and diamonds against the others.

    python benchmarks/rank_tests.py [--rows 1000,5000] [--seeds 0-14]

False rejection: share of pairs with the same parent whose rank ≤ S is refused (to be ≤ .04 at 5,000 rows). Power:
share of the other pairs where it is (to be ≥ .95). Two- and three-state latents, level .01.
"""

import argparse
from itertools import combinations

from benchmarks.hierarchies import world
from engine.studies.concept_hierarchy.rank import STATISTICS, Statistic, pairwise_rank_statistics


def measure(shape: str, n_states: int, n: int, seeds: range, statistic: Statistic) -> tuple[float, float]:
    """False rejection and power over all pairs of all seeds."""
    true, false = [], []
    for seed in seeds:
        hierarchy, states = world(shape, n_states, n, seed)
        parents = [hierarchy.parents(name) for name in hierarchy.observed]
        found = pairwise_rank_statistics(states, n_states, statistic)
        for i, j in combinations(range(len(parents)), 2):
            rejected = found.statistic[i, j] > found.critical[i, j]
            (true if parents[i] == parents[j] else false).append(rejected)
    return sum(true) / len(true), sum(false) / len(false)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="5000")
    parser.add_argument("--seeds", default="0-14")
    given = parser.parse_args()
    first, last = map(int, given.seeds.split("-"))
    print("| shape | S | N | statistic | false rejection | power |\n|---|---|---|---|---|---|")
    for n in map(int, given.rows.split(",")):
        for shape in ("tree", "diamond"):
            for n_states in (2, 3):
                for statistic in STATISTICS:
                    level, power = measure(shape, n_states, n, range(first, last + 1), statistic)
                    print(
                        f"| {shape} | {n_states} | {n} | {statistic} | {level:.3f} | {power:.3f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
