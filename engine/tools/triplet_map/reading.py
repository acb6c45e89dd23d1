"""The triplets a map lays out, read from their run's tables, and what a map costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from analyses.streams import stream_seed
from data.files import read_json
from data.paths import state_dir
from engine.errors import UserError
from engine.tools.triplet_map.config import Config

STUDY = "srf"
TRIPLETS, IMAGES = "tables/srf_triplets.parquet", "tables/srf_images.parquet"
STARTING_SECONDS, PAIRS_PER_SECOND, EPOCH_POINT_SECONDS = 8.0, 2e8, 1.6e-6
BASED_ON = (
    "Scaled from rates measured on one processor core; the first map on a machine compiles for 20 s more."
)


def folder(run: str) -> Path:
    """The directory of a finished srf run. Raises UserError."""
    path = state_dir() / "runs" / run
    try:
        record, state = (read_json(path / f"{name}.json") for name in ("config", "state"))
    except OSError:
        raise UserError("of", f"{run} does not exist; `concordance runs` lists them.") from None
    if record["study"] != STUDY:
        raise UserError("of", f"{run} is a {record['study']} run; name a run of {STUDY}.")
    if state["state"] != "done":
        raise UserError("of", f"{run} is {state['state']}; wait until it is done.")
    return path


def drawn(config: Config, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Number, seed, image and text ("question answer") of the triplets of a map, at most `max_points` at random."""
    table = pq.read_table(
        folder(config.of) / TRIPLETS, columns=["triplet", "seed", "image", "question", "answer"]
    ).to_pandas()
    if len(table) > config.max_points:
        stream = np.random.default_rng(stream_seed(f"triplet map {config.of}", seed))
        table = table.iloc[np.sort(stream.choice(len(table), config.max_points, replace=False))]
    text = (table["question"] + " " + table["answer"]).to_numpy(object)
    return {**{name: table[name].to_numpy(np.int64) for name in ("triplet", "seed", "image")}, "text": text}


def identity(config: Config, seeds: Sequence[int]) -> str:
    """The hash of the triplets laid out. Raises UserError."""
    if len(seeds) != 1:
        raise UserError("seeds", "a map has one seed, that of its layout; give one.")
    manifest = read_json(folder(config.of) / "manifest.json")
    return str(manifest[TRIPLETS])[:16]


def estimate(config: Config) -> dict[str, Any]:
    """Seconds, memory and disk of a map. Raises UserError."""
    n = min(pq.read_metadata(folder(config.of) / TRIPLETS).num_rows, config.max_points)
    epochs = 500 if n <= 10_000 else 200
    return {
        "seconds": STARTING_SECONDS + n**2 / PAIRS_PER_SECOND + EPOCH_POINT_SECONDS * epochs * n,
        "memory_bytes": 0.8e9 + n * 2_000,
        "disk_bytes": n * 24,
        "based_on": BASED_ON,
    }
