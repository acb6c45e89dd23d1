"""What a found concept is made of: its members, the states a latent-class model gives it, and rows that show them."""

from collections.abc import Collection
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RESTARTS, ITERATIONS, TOLERANCE = 8, 300, 1e-7
SMOOTHING = 0.5


@dataclass(frozen=True)
class LatentClasses:
    """A latent-class model: `shares` (k), `tables` of P(member state | state) (k × S_j each), `posterior` (n × k)."""

    shares: Floats
    tables: list[Floats]
    posterior: Floats


def members_of(graph: nx.DiGraph, concept: str, observed: Collection[str]) -> list[str]:
    """The observed variables a latent has an edge with; where there are none, its measured descendants."""
    direct = [node for node in observed if graph.has_edge(concept, node) or graph.has_edge(node, concept)]
    return direct or [node for node in observed if node in nx.descendants(graph, concept)]


def latent_classes(states: Ints, k: int, generator: np.random.Generator) -> LatentClasses:
    """Fit a latent-class model with k states to members (n × m codes from 0) by EM, the best of 8 random starts.

    Rows with the same codes are counted once. States are ordered by the mean code of their members, the lowest first.
    """
    patterns, inverse, counts = np.unique(states, axis=0, return_inverse=True, return_counts=True)
    runs = [_em(patterns, counts, k, generator) for _ in range(RESTARTS)]
    _, shares, tables = max(runs, key=lambda run: run[0])
    mean = sum(table @ np.linspace(0, 1, table.shape[1]) for table in tables)
    order = np.argsort(mean, kind="stable")
    shares, tables = shares[order], [table[order] for table in tables]
    return LatentClasses(shares, tables, _posterior(patterns, shares, tables)[1][inverse.ravel()])


def _em(
    patterns: Ints, counts: Ints, k: int, generator: np.random.Generator
) -> tuple[float, Floats, list[Floats]]:
    responsibility = generator.dirichlet(np.ones(k), size=len(patterns))
    before = -np.inf
    for _ in range(ITERATIONS):
        weighted = responsibility * counts[:, None]
        shares = (weighted.sum(axis=0) + SMOOTHING) / (counts.sum() + k * SMOOTHING)
        tables = [_table(patterns[:, j], weighted) for j in range(patterns.shape[1])]
        likelihood, responsibility = _posterior(patterns, shares, tables)
        now = float(counts @ likelihood)
        if now - before < TOLERANCE * abs(now):
            break
        before = now
    return now, shares, tables


def _table(codes: Ints, weighted: Floats) -> Floats:
    """P(member state | state) (k × S), with half a row added to each cell."""
    table = np.full((weighted.shape[1], int(codes.max()) + 1), SMOOTHING)
    np.add.at(table.T, codes, weighted)
    return table / table.sum(axis=1, keepdims=True)


def _posterior(patterns: Ints, shares: Floats, tables: list[Floats]) -> tuple[Floats, Floats]:
    """Log-likelihood of each pattern, and P(state | pattern) (patterns × k)."""
    joint = np.log(shares) + sum(np.log(table[:, patterns[:, j]]).T for j, table in enumerate(tables))
    total = logsumexp(joint, axis=1)
    return total, np.exp(joint - total[:, None])
