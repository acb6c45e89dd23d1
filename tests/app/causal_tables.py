"""Finished runs of multimodal_causal written by the run's own code into a state folder, before an engine opens it.

The tables hold a simulated world and what an imperfect learner would say of it, so that pages are tested on every
column without training.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa

from analyses.identifiability import correlations, mean_correlation
from data.files import write_json
from engine import client as engine_client
from engine.client import Client
from engine.run import Run
from engine.studies.multimodal_causal.config import Config

DRAWN = ("two stages", "no sparsity")
METHODS = ("two stages", "stage 1 alone", "no sparsity", "beta-VAE", "contrastive")
ROWS = 200
LAMBDAS = (0.05, 0.2)
MODALITIES = ("a", "b", "c", "d", "e", "f", "g")
REAL_MODALITIES = ("body", "blood pressure", "blood", "metals", "sleep", "depression", "diet")
VALUES = (-2.0, -1.0, 1.0, 2.0)
NOISE = {"two stages": 0.1, "stage 1 alone": 0.7, "no sparsity": 0.5, "beta-VAE": 1.0, "contrastive": 0.8}


def write_run(
    home: Path,
    run_id: str,
    config: dict[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    density: float = 0.15,
    error: str | None = None,
) -> dict[str, pd.DataFrame]:
    """A finished run in `home`/runs/`run_id`, and the tables it holds; with an `error` one that failed."""
    settings = Config(**{"n_samples": 1000, **(config or {})})
    directory = home / "runs" / run_id
    directory.mkdir(parents=True)
    record = {
        "id": run_id, "study": "multimodal_causal", "config": settings.model_dump(mode="json"), "seeds": list(seeds),
        "data_seed": 0, "fingerprint": "", "code_version": "test", "preset": "tour", "created": time.time(),
    }  # fmt: skip
    write_json(directory / "config.json", record)
    state = {
        "state": "failed" if error else "done",
        "group": None,
        "created": record["created"],
        "queued": 0.0,
        "started": 0.0,
    }
    write_json(directory / "state.json", {**state, "finished": time.time(), "error": error})
    if error:
        return {}
    tables = simulate(settings, seeds, density)
    run = Run(directory, settings)
    for seed in seeds:
        for step in (0, 50, 100):
            run.log(step, seed, contrastive_loss=6 - step / 50, negative_log_likelihood=9 - step / 40)
    for name, frame in tables.items():
        run.write_table(name, pa.Table.from_pandas(frame, preserve_index=False))
    run.finish()
    return tables


@contextmanager
def engine_on(home: Path) -> Iterator[Client]:
    """A real engine on a state folder; CONCORDANCE_HOME names it meanwhile."""
    before = os.environ.get("CONCORDANCE_HOME")
    os.environ["CONCORDANCE_HOME"] = str(home)
    process = engine_client.start_engine()
    try:
        yield engine_client.connect(start=False)
    finally:
        process.terminate()
        process.wait(120)
        if before is None:
            del os.environ["CONCORDANCE_HOME"]
        else:
            os.environ["CONCORDANCE_HOME"] = before


def simulate(config: Config, seeds: Sequence[int], density: float) -> dict[str, pd.DataFrame]:
    """Every table of the study for a world of linear links; for real data without what only a world knows."""
    rng = np.random.default_rng(7)
    known = config.source in ("world", "digits")
    names = MODALITIES if known else REAL_MODALITIES
    modalities = names[: config.n_modalities if known else len(names)]
    truth = [(f"{m}{i + 1}", m) for m in modalities for i in range(config.n_latents)]
    graph, values = _world(truth, density, rng)
    rows: dict[str, list[Any]] = {}
    for seed in seeds:
        for method in METHODS:
            _method(rows, seed, method, truth, graph, values, known, np.random.default_rng(seed + 10))
        _details(rows, seed, truth, values, known)
        for weight in LAMBDAS:
            rows.setdefault("sparsity_path", []).append(
                (seed, weight, -9 + weight, 0.9 - weight if known else None, 9, 0.8, weight == LAMBDAS[0])
            )
    if not known:
        _pc(rows, seeds[0], truth, graph)
    if known:
        rows["true_latents"] = truth
        rows["true_edges"] = list(graph.edges)
        rows["latent_values"] += [
            (None, "truth", latent, row, float(values[row, i]))
            for i, (latent, _) in enumerate(truth)
            for row in range(ROWS)
        ]
    return {name: pd.DataFrame(found, columns=COLUMNS[name]) for name, found in rows.items()}


def _world(
    truth: list[tuple[str, str]], density: float, rng: np.random.Generator
) -> tuple["nx.DiGraph[str]", np.ndarray]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(latent for latent, _ in truth)
    values = rng.standard_normal((ROWS, len(truth)))
    for j, (effect, own) in enumerate(truth):
        for i, (cause, other) in enumerate(truth[:j]):
            if own != other and rng.random() < density:
                graph.add_edge(cause, effect)
                values[:, j] += 0.8 * values[:, i]
    return graph, values / values.std(axis=0)


def _method(
    rows: dict[str, list[Any]], seed: int, method: str, truth: list[tuple[str, str]], graph: "nx.DiGraph[str]",
    values: np.ndarray, known: bool, rng: np.random.Generator,
) -> None:  # fmt: skip
    """What a method says: each latent with noise and a sign of its own, links found but for a few, one too many."""
    noise = NOISE[method] * rng.standard_normal(values.shape)
    learnt = (values + noise) * rng.choice([-1, 1], size=values.shape[1])
    table = correlations(values, learnt)
    ranked = correlations(values, learnt, "spearman")
    score = mean_correlation(values, learnt, "spearman").value
    for i, (latent, modality) in enumerate(truth):
        name, id = latent, latent_id(truth, i)
        rows.setdefault("latents", []).append(
            (
                seed,
                method,
                id,
                modality,
                name,
                latent if known else None,
                abs(ranked[i, i]) if known else None,
            )
        )
        if known:
            rows.setdefault("latent_correlations", []).extend(
                (seed, method, id, other, table[j, i], ranked[j, i]) for j, (other, _) in enumerate(truth)
            )
        rows.setdefault("latent_values", []).extend(
            (seed, method, id, row, float(learnt[row, i])) for row in range(ROWS)
        )
    scored = (score, score, 0.2, 0.83, 0.95, 0.94, 0.02) if known else (None,) * 7
    across = 0.3 if method == "two stages" else None
    for modality in [*dict.fromkeys(modality for _, modality in truth), "all"]:
        rows.setdefault("latent_scores", []).append((seed, method, modality, *scored, across))
    if method not in DRAWN:
        return
    found = [edge for edge in graph.edges if rng.random() < 0.9 - NOISE[method] / 3]
    extra = (truth[0][0], truth[-1][0])
    links = list(dict.fromkeys([*found, extra]))
    for a, b in links:
        rows.setdefault("latent_edges", []).append(
            (
                seed,
                method,
                a,
                b,
                0.4,
                True,
                0.9 if (a, b) in found else 0.3,
                (a, b) in graph.edges if known else None,
            )
        )
    hits = len(found)
    f1 = 2 * hits / (len(links) + graph.number_of_edges()) if known else None
    rows.setdefault("graph_scores", []).append((seed, method, f1, f1, f1, f1, 1, len(links), 0.2))


def latent_id(truth: list[tuple[str, str]], place: int) -> str:
    """Learnt latents are numbered within their modality, the other way round than the true ones."""
    modality = truth[place][1]
    block = [i for i, (_, other) in enumerate(truth) if other == modality]
    return f"{modality}{len(block) - block.index(place)}"


def _details(
    rows: dict[str, list[Any]], seed: int, truth: list[tuple[str, str]], values: np.ndarray, known: bool
) -> None:
    """Loadings, partial dependence and interventions of every latent of ours."""
    for i, (latent, modality) in enumerate(truth):
        for j, (target, other) in enumerate(truth):
            variable = f"{other} x{target[-1]}"
            size = float(np.corrcoef(values[:, i], values[:, j])[0, 1])
            if other == modality:
                rows.setdefault("latent_loadings", []).append((seed, latent, variable, other, size))
                rows.setdefault("partial_dependence", []).extend(
                    (seed, latent, variable, x, size * x) for x in (-2.0, 0.0, 2.0)
                )
            for kind in ("model", "world") if known else ("model",):
                rows.setdefault("latent_interventions", []).extend(
                    (seed, latent, value, variable, kind, other, size * value) for value in VALUES
                )


def _pc(
    rows: dict[str, list[Any]], seed: int, truth: list[tuple[str, str]], graph: "nx.DiGraph[str]"
) -> None:
    """The PC baseline of real data: its own components, linked where every second link of the world is."""
    names = {latent: f"{modality} PC{latent[-1]}" for latent, modality in truth}
    rows["latents"] += [(seed, "pc", names[one], modality, names[one], None, None) for one, modality in truth]
    rows["latent_edges"] += [
        (seed, "pc", names[a], names[b], None, True, 0.95, None) for a, b in list(graph.edges)[::2]
    ]


COLUMNS = {
    "latents": ["seed", "method", "latent", "modality", "name", "true_latent", "correlation"],
    "latent_correlations": ["seed", "method", "latent", "true_latent", "pearson", "spearman"],
    "latent_values": ["seed", "method", "latent", "row", "value"],
    "latent_scores": [
        "seed", "method", "modality", "mcc_pearson", "mcc_spearman", "mcc_null", "mcc_rotation_floor",
        "r2_true_from_learnt", "r2_learnt_from_true", "r2_null", "cross_modal_r2",
    ],
    "latent_edges": [
        "seed", "method", "source", "target", "strength", "present", "bootstrap_share", "in_truth",
    ],
    "true_latents": ["latent", "modality"],
    "true_edges": ["source", "target"],
    "graph_scores": [
        "seed", "method", "edge_f1", "edge_precision", "edge_recall", "skeleton_f1",
        "structural_hamming_distance", "n_edges", "edge_f1_null",
    ],
    "latent_loadings": ["seed", "latent", "variable", "modality", "correlation"],
    "partial_dependence": ["seed", "latent", "variable", "x", "y"],
    "latent_interventions": ["seed", "latent", "value", "target", "kind", "modality", "change"],
    "sparsity_path": [
        "seed", "lambda_sparsity", "held_out_log_likelihood", "mcc", "n_edges", "edge_f1", "chosen",
    ],
}  # fmt: skip
