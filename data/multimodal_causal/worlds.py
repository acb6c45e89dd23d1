"""Multimodal worlds whose latent graph is known (arXiv 2411.06518, section 2 and its simulations).

Every modality has a block of latents of its own. A latent is a nonparametric function of its parents, which lie in
earlier modalities or, where wanted, earlier in its block, plus noise. What is observed of a modality is an invertible
mixing of its block and of noise that concerns no other modality. One seed fixes graph, mechanisms and mixings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ortho_group

Floats = NDArray[np.float64]
GraphKind = Literal["sparse", "rich", "dense", "inseparable", "random"]
NoiseKind = Literal["gaussian", "laplace", "uniform", "skewed"]

GRAPH_KINDS: tuple[GraphKind, ...] = get_args(GraphKind)
NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)
MODALITIES = "abcdefgh"
NOISE_SHARE = 0.6
SLOPE = 0.2
CALIBRATION = 20_000

_NOISES: Mapping[NoiseKind, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "gaussian": lambda rng, size: rng.standard_normal(size),
    "laplace": lambda rng, size: rng.laplace(scale=np.sqrt(0.5), size=size),
    "uniform": lambda rng, size: rng.uniform(-np.sqrt(3), np.sqrt(3), size),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1.0,
}


@dataclass(frozen=True)
class Sample:
    """n rows of a world: `observations` (modality → n × its width) and the `latents` behind them (n × p)."""

    observations: dict[str, Floats]
    latents: Floats


@dataclass(frozen=True)
class Mechanism:
    """scale · Σ_j sign_j · tanh(slope_j · z_j + shift_j) + offset over the parents j, in the order of `parents`."""

    parents: tuple[int, ...]
    slope: Floats
    shift: Floats
    sign: Floats
    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, latents: Floats) -> Floats:
        """The part of the latent (n) that its parents decide, from all latents (n × p)."""
        bent = np.tanh(latents[:, self.parents] * self.slope + self.shift)
        return self.scale * (bent @ self.sign) + self.offset


@dataclass(frozen=True)
class Mixing:
    """An injective map R^k → R^m: orthonormal maps with leaky ReLUs between them, then columns standardised."""

    layers: tuple[Floats, ...]
    mean: Floats
    std: Floats

    def __call__(self, inputs: Floats) -> Floats:
        """Observations (n × m) of inputs (n × k)."""
        return (_leaky(inputs, self.layers) - self.mean) / self.std


@dataclass(frozen=True)
class World:
    """A latent causal model and what is seen of it.

    `latents`: names in causal order ("a1", "a2", "b1" …), the first letter is the modality; `graph`: true edges.
    Latents have mean 0 and variance 1 (as calibrated), observations too.
    """

    latents: tuple[str, ...]
    graph: nx.DiGraph
    noise: NoiseKind
    noise_dims: int
    mechanisms: tuple[Mechanism | None, ...]
    mixings: dict[str, Mixing]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities in causal order."""
        return tuple(self.mixings)

    def block(self, modality: str) -> list[int]:
        """Columns of `latents` that belong to a modality."""
        return [i for i, latent in enumerate(self.latents) if latent.startswith(modality)]

    def sample(self, n: int, generator: np.random.Generator) -> Sample:
        """n rows."""
        return self._draw(n, generator, None, 0.0)

    def do(self, latent: str, value: float, n: int, generator: np.random.Generator) -> Sample:
        """n rows in which `latent` is set to `value` (its standard deviations) whatever its parents say.

        A generator in the same state gives the rows of `sample` again, but for what the intervention changes.
        Raises KeyError for a latent that is not in the world.
        """
        if latent not in self.latents:
            raise KeyError(f"{latent} is not a latent of this world; it has {', '.join(self.latents)}.")
        return self._draw(n, generator, latent, value)

    def _draw(self, n: int, generator: np.random.Generator, target: str | None, value: float) -> Sample:
        noise = _NOISES[self.noise](generator, (n, len(self.latents)))
        nuisance = generator.standard_normal((len(self.mixings), n, self.noise_dims))
        fixed = {self.latents.index(target): value} if target else {}
        values = _propagate(self.mechanisms, noise, fixed)
        observations = {
            modality: mixing(np.hstack([values[:, self.block(modality)], nuisance[i]]))
            for i, (modality, mixing) in enumerate(self.mixings.items())
        }
        return Sample(observations, values)


def make_world(
    graph: GraphKind = "sparse",
    *,
    modalities: int = 3,
    block: int = 2,
    density: float = 0.3,
    within: float = 0.0,
    noise: NoiseKind = "gaussian",
    noise_dims: int = 1,
    width: int = 8,
    layers: int = 2,
    world_seed: int = 0,
) -> World:
    """A world of `modalities` (M) blocks of `block` (d) latents, each seen in `width` dimensions.

    Cross-modal edges run from earlier to later modalities:
    - "sparse": d chains a_k → b_k → c_k …: every component has a partner of its own in every modality;
    - "rich": those chains and random further edges (each with probability `density`) that leave every component
      separable in the sense of `separable`;
    - "dense": every latent of an earlier modality → every latent of a later one; only blocks can be identified;
    - "inseparable": the chains, but a1 and a2 both → b1 and b2, so that this pair has one cross-modal pattern;
    - "random": every such edge with probability `density`.
    Each edge from an earlier to a later latent of one block is added with probability `within`. A latent with parents
    is .8 × (its standardised function of them) + .6 × noise; modality noise (`noise_dims` dimensions) is Gaussian.
    `layers` counts the leaky ReLUs of a mixing. Raises ValueError for sizes that do not fit.
    """
    _check_sizes(graph, modalities, block, density, within, noise_dims, width)
    graph_rng, mechanism_rng, mixing_rng, calibration_rng = (
        np.random.default_rng(seed) for seed in np.random.SeedSequence(world_seed).spawn(4)
    )
    names = tuple(f"{MODALITIES[m]}{k + 1}" for m in range(modalities) for k in range(block))
    edges = _cross_edges(graph, modalities, block, density, graph_rng)
    edges += [pair for pair in _within_pairs(modalities, block) if graph_rng.random() < within]
    dag = nx.DiGraph()
    dag.add_nodes_from(names)
    dag.add_edges_from(sorted(edges))
    mechanisms, values = _calibrated(names, dag, noise, mechanism_rng, calibration_rng)
    mixings = {}
    for m in range(modalities):
        inputs = values[:, m * block : (m + 1) * block]
        nuisance = calibration_rng.standard_normal((len(values), noise_dims))
        mixings[MODALITIES[m]] = _mixing(np.hstack([inputs, nuisance]), width, layers, mixing_rng)
    return World(names, dag, noise, noise_dims, mechanisms, mixings)


def separable(graph: nx.DiGraph) -> dict[str, bool]:
    """Latent → whether cross-modal structure alone tells it from its block-mates (arXiv 2411.06518, Zheng-type).

    True where the block-mates that touch all of its cross-modal neighbours are none but itself; latents are named
    as in a World. A latent without cross-modal neighbours is separable only in a block of its own.
    """
    return {latent: _shared_pattern(graph, latent) == {latent} for latent in graph}


def _shared_pattern(graph: nx.DiGraph, latent: str) -> set[str]:
    skeleton = graph.to_undirected(as_view=True)
    mates = {other for other in graph if other[0] == latent[0]}
    for neighbour in skeleton[latent]:
        if neighbour[0] != latent[0]:
            mates &= set(skeleton[neighbour])
    return mates


def _check_sizes(
    graph: GraphKind, modalities: int, block: int, density: float, within: float, noise_dims: int, width: int
) -> None:
    if not 2 <= modalities <= len(MODALITIES):
        raise ValueError(f"A world has 2 to {len(MODALITIES)} modalities, not {modalities}.")
    if not 1 <= block <= 9:
        raise ValueError(f"A block has 1 to 9 latents, not {block}.")
    if graph == "inseparable" and block < 2:
        raise ValueError("An inseparable pair needs a block of two latents or more.")
    if not (0 <= density <= 1 and 0 <= within <= 1):
        raise ValueError("density and within are probabilities between 0 and 1.")
    if noise_dims < 0 or block + noise_dims > width:
        raise ValueError(
            f"{block} latents and {noise_dims} noise dimensions do not fit a width of {width}; make it larger."
        )


def _cross_edges(
    kind: GraphKind, modalities: int, block: int, density: float, rng: np.random.Generator
) -> list[tuple[str, str]]:
    def name(m: int, k: int) -> str:
        return f"{MODALITIES[m]}{k + 1}"

    chains = [(name(m, k), name(m + 1, k)) for m in range(modalities - 1) for k in range(block)]
    every = [
        (name(m, i), name(n, j))
        for m, n in combinations(range(modalities), 2)
        for i in range(block)
        for j in range(block)
    ]
    if kind == "sparse":
        return chains
    if kind == "dense":
        return every
    if kind == "inseparable":
        return [*chains, ("a1", "b2"), ("a2", "b1")]
    if kind == "random":
        return [edge for edge in every if rng.random() < density]
    return _rich(chains, every, density, rng)


def _rich(
    chains: list[tuple[str, str]], every: list[tuple[str, str]], density: float, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """The chains and each further edge with probability `density`, in random order, if all stays separable."""
    found = nx.DiGraph(chains)
    for i in rng.permutation(len(every)):
        if every[i] in found.edges or rng.random() >= density:
            continue
        found.add_edge(*every[i])
        if not all(separable(found).values()):
            found.remove_edge(*every[i])
    return list(found.edges)


def _within_pairs(modalities: int, block: int) -> list[tuple[str, str]]:
    return [
        (f"{MODALITIES[m]}{i + 1}", f"{MODALITIES[m]}{j + 1}")
        for m in range(modalities)
        for i, j in combinations(range(block), 2)
    ]


def _calibrated(
    names: tuple[str, ...],
    graph: nx.DiGraph,
    noise: NoiseKind,
    mechanism_rng: np.random.Generator,
    calibration_rng: np.random.Generator,
) -> tuple[tuple[Mechanism | None, ...], Floats]:
    """Mechanisms whose signal has mean 0 and variance 1 − noise² over a calibration sample, and that sample."""
    drawn = _NOISES[noise](calibration_rng, (CALIBRATION, len(names)))
    values = np.empty_like(drawn)
    mechanisms: list[Mechanism | None] = []
    for i, name in enumerate(names):
        parents = tuple(sorted(names.index(parent) for parent in graph.predecessors(name)))
        if not parents:
            mechanisms.append(None)
            values[:, i] = drawn[:, i]
            continue
        size = len(parents)
        slope, shift = mechanism_rng.uniform(1.0, 2.0, size), mechanism_rng.uniform(-0.5, 0.5, size)
        raw = Mechanism(parents, slope, shift, mechanism_rng.choice([-1.0, 1.0], size))
        signal = raw(values)
        scale = np.sqrt(1 - NOISE_SHARE**2) / signal.std()
        mechanism = Mechanism(parents, slope, shift, raw.sign, float(scale), float(-scale * signal.mean()))
        mechanisms.append(mechanism)
        values[:, i] = mechanism(values) + NOISE_SHARE * drawn[:, i]
    return tuple(mechanisms), values


def _propagate(mechanisms: tuple[Mechanism | None, ...], noise: Floats, fixed: dict[int, float]) -> Floats:
    values = np.empty_like(noise)
    for i, mechanism in enumerate(mechanisms):
        if i in fixed:
            values[:, i] = fixed[i]
        elif mechanism is None:
            values[:, i] = noise[:, i]
        else:
            values[:, i] = mechanism(values) + NOISE_SHARE * noise[:, i]
    return values


def _mixing(inputs: Floats, width: int, layers: int, rng: np.random.Generator) -> Mixing:
    first = ortho_group.rvs(width, random_state=rng)[: inputs.shape[1]]
    further = [ortho_group.rvs(width, random_state=rng) for _ in range(layers)]
    maps = (first, *further)
    seen = _leaky(inputs, maps)
    return Mixing(maps, seen.mean(axis=0), seen.std(axis=0))


def _leaky(inputs: Floats, maps: tuple[Floats, ...]) -> Floats:
    hidden = inputs @ maps[0]
    for matrix in maps[1:]:
        hidden = np.where(hidden > 0, hidden, SLOPE * hidden) @ matrix
    return hidden
