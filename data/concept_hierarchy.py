"""Worlds of discrete concept hierarchies: graphs of chosen shape, random tables, and what is seen of them.

The data of arXiv 2406.00519: discrete bottom concepts whose dependence a DAG over higher discrete latents explains,
read as they are or through an invertible mixing (section 7 there; Gaussian mixtures after Kivva et al. 2021). Latents
are named z1, z2 … and observed variables x1, x2 …; every variable has the same number of states.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Shape = Literal["chain", "mixed", "deep", "tree", "diamond", "skip", "random"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHAPES: tuple[Shape, ...] = get_args(Shape)
FLOOR = 0.02
CONCENTRATION = 0.5
TRIES, RESTARTS = 200, 100

_LATENT_EDGES: dict[str, tuple[tuple[int, int], ...]] = {
    "chain": ((1, 2),),
    "mixed": ((1, 2), (1, 3), (1, 4)),
    "deep": ((1, 2), (1, 3), (2, 4), (2, 5), (3, 6)),
    "tree": ((1, 2), (1, 3), (1, 4), (1, 5)),
    "diamond": ((1, 2), (1, 3), (2, 4), (3, 4)),
    "skip": ((1, 2), (2, 3), (1, 3)),
}
_LEAVES: dict[str, tuple[int, ...]] = {
    "chain": (4, 4),
    "mixed": (2, 3, 3, 3),
    "deep": (2, 1, 2, 3, 3, 3),
    "tree": (0, 3, 3, 3, 3),
    "diamond": (2, 2, 2, 3),
    "skip": (3, 3, 3),
}


def hierarchy_graph(shape: Shape, generator: np.random.Generator | None = None) -> nx.DiGraph:
    """The DAG of a shape: z1 is the root; leaves are x1 … in the order of their parents.

    chain: z1 → z2, 4 leaves each. mixed: a root with 2 leaves and 3 latents of 3. deep: 3 levels of latents, 14 leaves
    on all of them. tree: a root without leaves over 4 latents of 3. diamond: two paths from z1 to z4. skip: z1 → z2 →
    z3 and z1 → z3. random: a random tree of 3 to 6 latents with 2 to 4 leaves each, at least 3 at its ends; only this
    one needs a `generator`. Raises ValueError without one.
    """
    if shape != "random":
        edges, leaves = _LATENT_EDGES[shape], _LEAVES[shape]
    elif generator is None:
        raise ValueError("a random graph needs a generator.")
    else:
        edges, leaves = _random(generator)
    graph = nx.DiGraph()
    graph.add_nodes_from(f"z{i + 1}" for i in range(len(leaves)))
    graph.add_edges_from((f"z{a}", f"z{b}") for a, b in edges)
    parents = [f"z{i + 1}" for i, count in enumerate(leaves) for _ in range(count)]
    graph.add_edges_from((parent, f"x{j + 1}") for j, parent in enumerate(parents))
    return graph


def _random(generator: np.random.Generator) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    n = int(generator.integers(3, 7))
    edges = tuple((int(generator.integers(1, child)), child) for child in range(2, n + 1))
    inner = {parent for parent, _ in edges}
    return edges, tuple(int(generator.integers(2 if i in inner else 3, 5)) for i in range(1, n + 1))


@dataclass(frozen=True)
class Hierarchy:
    """A DAG and a conditional table for every node: `tables[node]` (S × … × S × S), parents in `parents(node)` order."""

    graph: nx.DiGraph
    n_states: int
    tables: dict[str, Floats]

    @property
    def observed(self) -> list[str]:
        """Names of the observed variables, x1 first."""
        return [node for node in self.graph if node.startswith("x")]

    def parents(self, node: str) -> list[str]:
        return sorted(self.graph.predecessors(node))

    def sample(self, n: int, generator: np.random.Generator) -> dict[str, Ints]:
        """n joint states: node → codes (n) from 0, latents included."""
        states: dict[str, Ints] = {}
        for node in nx.lexicographical_topological_sort(self.graph):
            rows = self.tables[node][tuple(states[parent] for parent in self.parents(node))]
            cumulative = np.broadcast_to(np.cumsum(rows, axis=-1), (n, self.n_states))
            draws = generator.random(n)[:, None]
            states[node] = np.minimum((draws > cumulative).sum(axis=1), self.n_states - 1)
        return states


def make_hierarchy(
    graph: nx.DiGraph, n_states: int, generator: np.random.Generator, row_distance: float = 0.4
) -> Hierarchy:
    """Random tables for a graph; each state of a parent changes the child's law by at least `row_distance`.

    The distance is that of `row_spread`: with two states the total variation between the rows. Every probability is at
    least FLOOR, so every joint state can occur (the paper's condition for step 1). Raises ValueError when no such
    tables are found.
    """
    tables = {
        node: random_table(graph.in_degree(node), n_states, row_distance, generator)
        for node in nx.lexicographical_topological_sort(graph)
    }
    return Hierarchy(graph, n_states, tables)


def random_table(
    n_parents: int, n_states: int, row_distance: float, generator: np.random.Generator
) -> Floats:
    """A conditional table (S × … × S × S) of Dirichlet rows; a root's prior holds every state with at least 1/(2S).

    For each parent and each state of the other parents, the S rows have `row_spread` ≥ `row_distance`.
    """
    if n_parents == 0:
        return 0.5 / n_states + 0.5 * generator.dirichlet(np.ones(n_states))
    for _ in range(RESTARTS):
        table = _try_table(n_parents, n_states, row_distance, generator)
        if table is not None:
            return table
    raise ValueError(f"no random table has a row distance of {row_distance}; lower row_distance or n_states.")


def _try_table(
    n_parents: int, n_states: int, row_distance: float, generator: np.random.Generator
) -> Floats | None:
    table = np.empty((n_states,) * (n_parents + 1))
    for place in product(range(n_states), repeat=n_parents):
        for row in generator.dirichlet(np.full(n_states, CONCENTRATION), size=TRIES):
            table[place] = FLOOR + (1 - n_states * FLOOR) * row
            lines = (_line(table, place, parent) for parent in range(n_parents))
            if all(row_spread(line) >= row_distance for line in lines):
                break
        else:
            return None
    return table


def _line(table: Floats, place: tuple[int, ...], parent: int) -> Floats:
    """Rows drawn so far that differ from the one at `place` in the state of one parent, itself included."""
    index: list[int | slice] = list(place)
    index[parent] = slice(place[parent] + 1)
    return table[tuple(index)]


def row_spread(rows: Floats) -> float:
    """Least distance of a row (k × S) to the affine hull of the others, Euclidean / √2; 1 for a single row.

    For two rows of two states it is their total variation. Above 0 it makes the rows linearly independent, which the
    rank criterion needs: pairwise distances alone would let three states act as two.
    """
    if len(rows) == 1:
        return 1.0
    centred = rows - rows.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)
    if len(values) < len(rows) - 1 or values[len(rows) - 2] < 1e-9:
        return 0.0
    gradients = np.linalg.pinv(centred.T, rcond=1e-9)
    return float(1 / np.linalg.norm(gradients, axis=1).max() / np.sqrt(2))


@dataclass(frozen=True)
class Mixing:
    """What is seen of discrete variables: a block of `block` coordinates each.

    `centres` (p × S × block − 1): place of each state. The last coordinate before the mixing is the nuisance c, whose
    Gaussian parts share one factor over all blocks. `first`, `second` (p × block × block): the mixing x = W₂ φ(W₁ s)
    with the leaky ReLU φ of slope `slope`, invertible.
    """

    centres: Floats
    first: Floats
    second: Floats
    slope: float = 0.5
    shared: float = 0.3

    def observe(self, states: Ints, generator: np.random.Generator) -> Floats:
        """Observations (n × p · block) of states (n × p); coordinates of block i are i · block … (i + 1) · block − 1."""
        n, p = states.shape
        chosen = self.centres[np.arange(p), states]
        noise = generator.standard_normal(chosen.shape)
        factor = generator.standard_normal((n, 1))
        own = generator.standard_normal((n, p))
        c = np.sqrt(self.shared) * factor + np.sqrt(1 - self.shared) * own
        sources = np.concatenate([chosen + noise, c[..., None]], axis=2)
        hidden = np.einsum("pij,npj->npi", self.first, sources)
        mixed = np.einsum("pij,npj->npi", self.second, np.where(hidden > 0, hidden, self.slope * hidden))
        return mixed.reshape(n, -1)


def make_mixing(
    n_variables: int, n_states: int, separation: float, generator: np.random.Generator, block: int = 3
) -> Mixing:
    """Random centres whose least distance is `separation` (in standard deviations of a state), and rotations as W."""
    centres = np.stack([_centres(n_states, block - 1, generator) for _ in range(n_variables)]) * separation
    first, second = (
        np.stack([np.linalg.qr(generator.standard_normal((block, block)))[0] for _ in range(n_variables)])
        for _ in range(2)
    )
    return Mixing(centres, first, second)


def _centres(n_states: int, dimension: int, generator: np.random.Generator) -> Floats:
    """Points (S × dimension) around 0 with least distance 1."""
    points = generator.standard_normal((n_states, dimension))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    points /= distances[np.triu_indices(n_states, 1)].min()
    return points - points.mean(axis=0)
