"""The baseline on real tables: the PC algorithm over two principal components of every modality."""

import itertools
from dataclasses import dataclass

import numpy as np
from causallearn.search.ConstraintBased.PC import pc
from numpy.typing import NDArray

from analyses.identifiability import correlations
from analyses.streams import stream_seed
from engine.studies.multimodal_causal.source import Source

Floats = NDArray[np.float64]
ALPHA = 0.001
COMPONENTS = 2


@dataclass(frozen=True)
class PcGraph:
    """PC over principal components `names` of `modalities`; adjacencies as (a, b) places with their bootstrap shares.

    `present` are those found on all rows; `arrows` are the places (source, target) that PC orients; `values` (rows × components) belong to the held-out rows.
    """

    names: tuple[str, ...]
    modality_of: tuple[str, ...]
    adjacent: dict[tuple[int, int], float]
    present: set[tuple[int, int]]
    arrows: set[tuple[int, int]]
    values: Floats
    loadings: dict[tuple[str, str], float]


def principal_components(source: Source) -> tuple[tuple[str, ...], tuple[str, ...], Floats, Floats]:
    """Names, modality of each, and the values of the training and validation rows, and of the held-out rows."""
    names: list[str] = []
    modality_of: list[str] = []
    fitted, held = [], []
    for modality in source.modalities:
        rows = np.vstack([source.train[modality], source.validation[modality]]).astype(np.float64)
        _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        kept = axes[:COMPONENTS].T
        names += [f"{modality} PC{k + 1}" for k in range(kept.shape[1])]
        modality_of += [modality] * kept.shape[1]
        fitted.append(rows @ kept)
        held.append(source.heldout[modality].astype(np.float64) @ kept)
    return tuple(names), tuple(modality_of), np.hstack(fitted), np.hstack(held)


def _adjacencies(rows: Floats) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Adjacent pairs (a < b), and (source, target) of those that are oriented."""
    graph = pc(rows, ALPHA, "fisherz", show_progress=False).G.graph
    pairs = {(a, b) for a, b in itertools.combinations(range(len(graph)), 2) if graph[a, b] or graph[b, a]}
    arrows = {
        (a, b)
        for a, b in itertools.permutations(range(len(graph)), 2)
        if graph[b, a] == 1 and graph[a, b] == -1
    }
    return pairs, arrows


def pc_graph(source: Source, n_bootstraps: int) -> PcGraph:
    """PC with Fisher's z at α = .001 on all rows but the held-out ones, and on bootstraps of them."""
    names, modality_of, rows, held = principal_components(source)
    found, arrows = _adjacencies(rows)
    counts: dict[tuple[int, int], int] = dict.fromkeys(found, 0)
    for draw in range(n_bootstraps):
        generator = np.random.default_rng(stream_seed("PC bootstrap", draw))
        for pair in _adjacencies(rows[generator.integers(len(rows), size=len(rows))])[0]:
            counts[pair] = counts.get(pair, 0) + 1
    shares = {pair: count / max(1, n_bootstraps) for pair, count in sorted(counts.items())}
    loadings: dict[tuple[str, str], float] = {}
    for modality in source.modalities:
        places = [i for i, other in enumerate(modality_of) if other == modality]
        matrix = correlations(source.heldout[modality], held[:, places], "spearman")
        for v, variable in enumerate(source.variables[modality]):
            loadings |= {(names[i], variable): float(matrix[v, k]) for k, i in enumerate(places)}
    return PcGraph(names, modality_of, shares, found, arrows, held, loadings)
