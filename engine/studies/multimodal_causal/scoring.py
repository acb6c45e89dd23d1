"""Learnt latents of one seed and method: their names and signs, and how they compare with the truth."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from analyses.graphs import GraphScores, edge_scores, f1_null, skeleton_scores
from analyses.identifiability import block_r2, correlations, mean_correlation, rotation_floor
from analyses.streams import stream_seed
from engine.studies.multimodal_causal.source import Source

Floats = NDArray[np.float64]
R2_ROWS, R2_SHARE = 700, 6
NULL_DRAWS = 20
FLOOR_DRAWS = 1_000
ALL = "all"


@dataclass(frozen=True)
class Latents:
    """Standardised held-out latents (rows × latents, block by block) of one seed and method.

    `ids` are "MODALITY1", … in the order they were learnt; `names` what they are called in graphs: the true latent a
    latent is matched with, or the first seed's latent it resembles, or its id. `sign` (±1) makes that correlation
    positive; `true_names` (None without truth) and `correlation` are the match.
    """

    seed: int
    method: str
    ids: tuple[str, ...]
    modality_of: tuple[str, ...]
    names: tuple[str, ...]
    sign: Floats
    values: Floats
    true_names: tuple[str | None, ...]
    correlation: Floats


def learnt_ids(source: Source, n_latents: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids and modalities of the learnt latents, block by block."""
    pairs = [(f"{m}{k + 1}", m) for m in source.modalities for k in range(n_latents)]
    return tuple(name for name, _ in pairs), tuple(m for _, m in pairs)


def identify(
    source: Source, seed: int, method: str, values: Floats, n_latents: int, reference: Latents | None
) -> Latents:
    """Name and orient the latents `values` (rows × latents, standardised) of one seed and method."""
    ids, modality_of = learnt_ids(source, n_latents)
    names: list[str] = list(ids)
    true_names: list[str | None] = [None] * len(ids)
    strength = np.zeros(len(ids))
    for place, modality in enumerate(source.modalities):
        block = range(place * n_latents, (place + 1) * n_latents)
        anchors, labels, known = _anchors(source, modality, block, reference)
        matrix = correlations(anchors, values[:, block], "spearman")
        rows, columns = linear_sum_assignment(np.abs(matrix), maximize=True)
        for row, column in zip(rows, columns, strict=True):
            place_of = block[column]
            strength[place_of] = matrix[row, column]
            names[place_of] = labels[row] if labels else ids[place_of]
            true_names[place_of] = labels[row] if known else None
    _keep_apart(names, ids)
    sign = np.where(strength < 0, -1.0, 1.0)
    return Latents(
        seed, method, ids, modality_of, tuple(names), sign, values * sign, tuple(true_names), np.abs(strength)
    )


def _anchors(
    source: Source, modality: str, block: range, reference: Latents | None
) -> tuple[Floats, list[str], bool]:
    """What a block's latents are compared with, its labels (empty: no names to take), and whether it is the truth."""
    if source.latents is not None:
        columns = source.blocks[modality]
        return source.latents[:, columns], [source.latent_names[c] for c in columns], True
    observed = source.heldout[modality].astype(np.float64)
    if source.graph is not None:
        variables = source.variables[modality]
        named = [v for v in variables if v in source.graph]
        if named:
            return observed[:, [variables.index(v) for v in named]], named, False
    if reference is not None:
        return reference.values[:, block], [reference.names[i] for i in block], False
    return observed, [], False


def _keep_apart(names: list[str], ids: tuple[str, ...]) -> None:
    """A latent that found no anchor keeps its id, or a free one of its block."""
    taken: set[str] = set()
    for place, name in enumerate(names):
        while name in taken:
            name = f"{name}′"
        names[place] = name
        taken.add(name)


def score_rows(
    source: Source, latents: Latents, n_latents: int, blocks: bool, full: bool
) -> list[dict[str, Any]]:
    """`latent_scores`: every modality, and their mean as "all".

    `blocks` measures R² of the true block from the learnt one, `full` also the way back and that between modalities.
    """
    rows = [
        _score(source, latents, place, n_latents, blocks, full) for place in range(len(source.modalities))
    ]
    overall = {"seed": latents.seed, "method": latents.method, "modality": ALL}
    for key in rows[0]:
        if key not in overall:
            values = [row[key] for row in rows]
            overall[key] = None if any(v is None for v in values) else float(np.mean(values))
    return [*rows, overall]


def _score(
    source: Source, latents: Latents, place: int, n_latents: int, blocks: bool, full: bool
) -> dict[str, Any]:
    modality = source.modalities[place]
    block = slice(place * n_latents, (place + 1) * n_latents)
    own = latents.values[:, block]
    rng = np.random.default_rng(stream_seed("recovery scores", latents.seed, place))
    n_rows = min(R2_ROWS, len(source.train[modality]) // R2_SHARE)
    row: dict[str, Any] = dict.fromkeys(
        ("mcc_pearson", "mcc_spearman", "mcc_null", "mcc_rotation_floor", "r2_true_from_learnt")
    )
    row |= {"r2_learnt_from_true": None, "r2_null": None, "cross_modal_r2": None}
    row |= {"seed": latents.seed, "method": latents.method, "modality": modality}
    if full:
        others = np.delete(latents.values, np.r_[block], axis=1)
        row["cross_modal_r2"] = block_r2(own, others, rng, n_rows)
    if source.latents is None:
        return row
    true = source.latents[:, source.blocks[modality]]
    shuffled = [own[rng.permutation(len(own))] for _ in range(NULL_DRAWS)]
    return row | {
        "mcc_pearson": mean_correlation(true, own, "pearson").value,
        "mcc_spearman": mean_correlation(true, own, "spearman").value,
        "mcc_null": float(np.mean([mean_correlation(true, other, "spearman").value for other in shuffled])),
        "mcc_rotation_floor": _floor(true.shape[1]),
        "r2_true_from_learnt": block_r2(true, own, rng, n_rows) if blocks else None,
        "r2_learnt_from_true": block_r2(own, true, rng, n_rows) if full else None,
        "r2_null": block_r2(true, shuffled[0], rng, n_rows // 2) if full else None,
    }


@cache
def _floor(d: int) -> float:
    return rotation_floor(d, np.random.default_rng(stream_seed("rotation floor", d)), FLOOR_DRAWS).mean


def correlation_rows(source: Source, latents: Latents) -> list[dict[str, Any]]:
    """`latent_correlations`: every learnt with every true latent, of all modalities."""
    if source.latents is None:
        return []
    found = {kind: correlations(source.latents, latents.values, kind) for kind in ("pearson", "spearman")}
    return [
        {
            "seed": latents.seed,
            "method": latents.method,
            "latent": latents.ids[k],
            "true_latent": source.latent_names[t],
            "pearson": found["pearson"][t, k],
            "spearman": found["spearman"][t, k],
        }
        for k in range(len(latents.ids))
        for t in range(len(source.latent_names))
    ]


def latent_rows(latents: Latents) -> list[dict[str, Any]]:
    """`latents`."""
    return [
        {
            "seed": latents.seed,
            "method": latents.method,
            "latent": latents.ids[k],
            "modality": latents.modality_of[k],
            "name": latents.names[k],
            "true_latent": latents.true_names[k],
            "correlation": float(latents.correlation[k]) if latents.true_names[k] else None,
        }
        for k in range(len(latents.ids))
    ]


def named_graph(latents: Latents, present: NDArray[np.bool_]) -> nx.DiGraph:
    """The graph of `present` (targets × sources) over the latents' names."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(latents.names)
    graph.add_edges_from((latents.names[s], latents.names[t]) for t, s in np.argwhere(present))
    return graph


def against_truth(source: Source, latents: Latents, present: NDArray[np.bool_]) -> GraphScores | None:
    """Directed edges of `present` (targets × sources) against the true graph; None where there is none."""
    if source.graph is None:
        return None
    return edge_scores(named_graph(latents, present), _true_graph(source, latents))


def _true_graph(source: Source, latents: Latents) -> nx.DiGraph:
    truth: nx.DiGraph = nx.DiGraph(source.graph)
    truth.add_nodes_from(latents.names)
    return truth


def graph_row(
    source: Source, latents: Latents, present: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> dict[str, Any]:
    """`graph_scores`: against the true graph where there is one; null: as many edges drawn from the allowed ones."""
    row: dict[str, Any] = dict.fromkeys(
        (
            "edge_f1",
            "edge_precision",
            "edge_recall",
            "skeleton_f1",
            "structural_hamming_distance",
            "edge_f1_null",
        )
    )
    row |= {"seed": latents.seed, "method": latents.method, "n_edges": int(present.sum())}
    scores = against_truth(source, latents, present)
    if scores is None:
        return row
    estimate, truth = named_graph(latents, present), _true_graph(source, latents)
    rng = np.random.default_rng(stream_seed("graph null", latents.seed))
    pool = [(latents.names[s], latents.names[t]) for t, s in np.argwhere(allowed)]
    return row | {
        "edge_f1": scores.f1,
        "edge_precision": scores.precision,
        "edge_recall": scores.recall,
        "skeleton_f1": skeleton_scores(estimate, truth).f1,
        "structural_hamming_distance": scores.structural_hamming_distance,
        "edge_f1_null": f1_null(estimate, truth, rng, candidates=pool, directed=True).mean,
    }
