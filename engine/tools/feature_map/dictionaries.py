"""The decoder rows a map lays out: which runs may share one, how many rows, and which are drawn."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from analyses.streams import stream_seed
from data.files import read_json
from data.paths import state_dir
from engine.errors import UserError
from engine.tools.feature_map.config import Config

STUDY = "sae_consistency"
WEIGHTS = "saes/seed-{}/sae_weights.safetensors"
CORES, STARTING_SECONDS, MULTIPLICATIONS_PER_SECOND, EPOCH_POINT_SECONDS = 2, 10.0, 4e10, 1.6e-6
BASED_ON = (
    "Scaled from rates measured on one processor core; the first map on a machine compiles for 20 s more."
)


class Sae(NamedTuple):
    """One trained SAE of a finished run; d_sae rows of width d_in."""

    run: str
    seed: int
    path: Path
    d_sae: int
    d_in: int


def saes(run_ids: Sequence[str]) -> list[Sae]:
    """Every SAE of the runs, in the order of the ids and of the seeds.

    Raises UserError for an unknown or unfinished run, one of another study, and unequal d_in.
    """
    found = [_sae(run, seed) for run in run_ids for seed in sorted(_record(run)["seeds"])]
    if other := [sae for sae in found if sae.d_in != found[0].d_in]:
        raise UserError(
            "runs",
            f"{found[0].run} has d_in {found[0].d_in} and {other[0].run} has {other[0].d_in}; "
            "a map needs SAEs that read vectors of one width.",
        )
    return found


def _directory(run: str) -> Path:
    return state_dir() / "runs" / run


def _record(run: str) -> dict[str, Any]:
    try:
        record, state = (read_json(_directory(run) / f"{name}.json") for name in ("config", "state"))
    except OSError:
        raise UserError("runs", f"{run} does not exist; `concordance runs` lists them.") from None
    if record["study"] != STUDY:
        raise UserError("runs", f"{run} is a {record['study']} run; name runs of {STUDY}.")
    if state["state"] != "done":
        raise UserError("runs", f"{run} is {state['state']}; wait until it is done.")
    return dict(record)


def _sae(run: str, seed: int) -> Sae:
    path = _directory(run) / WEIGHTS.format(seed)
    try:
        with safe_open(path, "np") as file:
            d_sae, d_in = file.get_slice("W_dec").get_shape()
    except (OSError, SafetensorError, ValueError):
        raise UserError("runs", f"{run} has no readable SAE of seed {seed}; choose another run.") from None
    return Sae(run, seed, path, d_sae, d_in)


def chosen_saes(config: Config) -> list[Sae]:
    """The SAEs a map lays out. Raises UserError as `saes` does, and for fewer features than UMAP needs."""
    found = saes(config.run_ids)
    n = min(sum(sae.d_sae for sae in found), config.max_points)
    if n <= config.n_neighbors:
        raise UserError("n_neighbors", f"{config.n_neighbors} is too many for {n} features; choose fewer.")
    return found


def identity(config: Config, seeds: Sequence[int]) -> str:
    """A fingerprint of the weights laid out, from the runs' manifests. Raises UserError."""
    if len(seeds) != 1:
        raise UserError("seeds", "a map has one seed, that of its layout; give one.")
    digest = hashlib.sha256()
    found = chosen_saes(config)
    manifests = {run: read_json(_directory(run) / "manifest.json") for run in config.run_ids}
    for sae in found:
        digest.update(f"{sae.run} {sae.seed} {manifests[sae.run][WEIGHTS.format(sae.seed)]}\n".encode())
    return digest.hexdigest()[:16]


def shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many rows of each dictionary are drawn: all when they fit, else the same share of every one."""
    total = sum(sizes)
    if total <= most:
        return list(sizes)
    exact = [size * most / total for size in sizes]
    kept = [int(value) for value in exact]
    largest_rest = sorted(range(len(sizes)), key=lambda i: kept[i] - exact[i])
    for i in largest_rest[: most - sum(kept)]:
        kept[i] += 1
    return kept


def draw(sae: Sae, count: int, seed: int) -> NDArray[np.int32]:
    """`count` different feature indices of an SAE in rising order, from a stream of its own."""
    if count == sae.d_sae:
        return np.arange(count, dtype=np.int32)
    stream = np.random.default_rng(stream_seed(f"feature map {sae.run}", seed, sae.seed))
    return np.sort(stream.choice(sae.d_sae, count, replace=False)).astype(np.int32)


def unit_rows(sae: Sae, features: NDArray[np.int32]) -> NDArray[np.float32]:
    """Decoder rows (features × d_in) of length 1; a row of zeros stays. Raises UserError when not finite."""
    with safe_open(sae.path, "np") as file:
        rows = file.get_tensor("W_dec")[features].astype(np.float32)
    if not np.isfinite(rows).all():
        raise UserError(
            "runs", f"the SAE of {sae.run}, seed {sae.seed}, has decoder rows that are not finite."
        )
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def estimate(config: Config) -> dict[str, Any]:
    """Seconds, memory and disk of a map without a GPU. Raises UserError."""
    found = chosen_saes(config)
    points = min(sum(sae.d_sae for sae in found), config.max_points)
    cores = min(CORES, len(os.sched_getaffinity(0)))
    comparing = points**2 * found[0].d_in / MULTIPLICATIONS_PER_SECOND / cores
    epochs = 500 if points <= 10_000 else 200
    optimising = EPOCH_POINT_SECONDS * epochs * points * (config.n_neighbors / 15) ** 0.5
    rows = points * found[0].d_in * 4
    return {
        "seconds": STARTING_SECONDS + comparing + optimising,
        "memory_bytes": 0.7e9 + 3 * rows + points * config.n_neighbors * 60,
        "disk_bytes": points * 24,
        "based_on": BASED_ON,
    }
