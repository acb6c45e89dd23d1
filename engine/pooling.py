"""A stable dictionary: the features several seeds of a run share, pooled into one new SAE."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.files import atomic_folder, read_json, write_json
from engine.errors import UserError

Weights = dict[str, NDArray[np.float32]]
PER_LATENT = ("W_dec", "b_enc", "b_gate", "b_mag", "r_mag", "threshold")


def shared_features(
    matches: pa.Table, seeds: list[int], min_seeds: int, threshold: float
) -> list[tuple[int, int]]:
    """(seed, feature) of one representative of every feature that at least `min_seeds` of the seeds share.

    Matched pairs of |cosine| ≥ `threshold` join features into groups; a group counts by the seeds in it, and its
    representative is the member with the largest summed |cosine| to the others. `matches` is a run's table of that name;
    its pairs of all features are used. After the pooling of cross-seed features in arXiv 2606.12138.
    """
    table = matches.to_pandas()
    table = table[(table["subset"] == "all") & (table["cosine"].abs() >= threshold)]
    if table.empty:
        return []
    a = np.stack([np.searchsorted(seeds, table["seed_a"]), table["feature_a"]], axis=1)
    b = np.stack([np.searchsorted(seeds, table["seed_b"]), table["feature_b"]], axis=1)
    nodes, place = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    first, second = place.ravel()[: len(a)], place.ravel()[len(a) :]
    n = len(nodes)
    _, group = connected_components(
        coo_array((np.ones(len(a)), (first, second)), shape=(n, n)), directed=False
    )
    weight = np.bincount(np.concatenate([first, second]), np.tile(table["cosine"].abs(), 2), n)
    members = np.unique(np.stack([group, nodes[:, 0]], axis=1), axis=0)
    n_seeds = np.bincount(members[:, 0])
    order = np.lexsort((nodes[:, 1], nodes[:, 0], -weight, group))
    _, leaders = np.unique(group[order], return_index=True)
    chosen = [nodes[order[leader]] for leader in leaders if n_seeds[group[order[leader]]] >= min_seeds]
    return [(seeds[int(seed)], int(feature)) for seed, feature in chosen]


def pool(
    home: Path, record: dict[str, Any], matches: pa.Table, min_seeds: int, threshold: float
) -> dict[str, Any]:
    """Write the pooled SAE of a finished run and return the settings of a run that evaluates it. Raises UserError."""
    seeds = sorted(record["seeds"])
    if not 2 <= min_seeds <= len(seeds):
        raise UserError(
            "min_seeds", f"{min_seeds} is not from 2 to the run's {len(seeds)} seeds; choose in between."
        )
    chosen = shared_features(matches, seeds, min_seeds, threshold)
    if not chosen:
        raise UserError("threshold", f"no feature is shared by {min_seeds} seeds at {threshold}; lower it.")
    saes = home / "runs" / record["id"] / "saes"
    weights = pooled_weights(
        {s: load_file(saes / f"seed-{s}" / "sae_weights.safetensors") for s in seeds}, chosen
    )
    config = record["config"]
    settings = read_json(saes / f"seed-{seeds[0]}" / "cfg.json")
    settings["d_sae"] = len(chosen)
    if "k" in settings:
        settings["k"] = min(settings["k"], len(chosen))
    settings["metadata"] = {"pooled_from": record["id"], "min_seeds": min_seeds, "threshold": threshold}
    name = hashlib.sha256(f"{record['id']} {min_seeds} {threshold}".encode()).hexdigest()[:12]
    folder = home / "pooled" / name
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with atomic_folder(folder) as temporary:
            save_file(weights, temporary / "sae_weights.safetensors")
            write_json(temporary / "cfg.json", settings)
    architecture = {"batch_topk": "jumprelu", "matryoshka_batch_topk": "jumprelu"}
    return {
        **config,
        "architecture": architecture.get(config["architecture"], config["architecture"]),
        "d_sae": len(chosen),
        "k": min(config["k"], len(chosen)),
        "control": "none",
        "decoder_norm": "free",
        "start_from": str(folder),
        "n_steps": 0,
        "n_match_points": 0,
        "seed_varies": "init",
    }


def pooled_weights(weights: dict[int, Weights], chosen: list[tuple[int, int]]) -> Weights:
    """sae-lens weights of the chosen (seed, feature); each keeps what it computes under the mean decoder bias."""
    names = [name for name in PER_LATENT if name in next(iter(weights.values()))]
    found = {name: np.stack([weights[s][name][f] for s, f in chosen]) for name in names}
    encoder = np.stack([weights[s]["W_enc"][:, f] for s, f in chosen])
    bias = np.mean([one["b_dec"] for one in weights.values()], axis=0)
    shift = np.array([encoder[i] @ (bias - weights[s]["b_dec"]) for i, (s, _) in enumerate(chosen)])
    for name in ("b_enc", "b_gate"):
        if name in found:
            found[name] = found[name] + shift
    if "b_mag" in found:
        found["b_mag"] = found["b_mag"] + shift * np.exp(found["r_mag"])
    found |= {"W_enc": encoder.T, "b_dec": bias}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in found.items()}
