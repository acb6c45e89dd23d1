"""The job: vectors of texts and images, neighbours, layout, `triplet_points`."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from analyses.streams import stream_seed
from engine.errors import UserError
from engine.run import Run
from engine.tools.feature_map.layout import keep_compiled_code, layout
from engine.tools.feature_map.mapping import COMPARING, LAYING_OUT, PREPARING, report
from engine.tools.feature_map.neighbours import nearest
from engine.tools.triplet_map.config import Config
from engine.tools.triplet_map.reading import IMAGES, drawn, folder

READING = "reading texts and images"
TOPICS, SIDE, SHAKE = 48, 12, 0.12
Floats = NDArray[np.float32]


def make_map(run: Run) -> None:
    """Lay out the triplets of `run.config.of`. Raises UserError, and Stopped when asked to stop.

    Triplets with the same vector are laid out once and then spread a little, so that none covers another.
    """
    config: Config = run.config
    seed = run.seeds[0]
    report(run, 0, 1, READING)
    found = drawn(config, seed)
    rows = vectors(config, found)
    distinct, of = np.unique(np.round(rows, 4), axis=0, return_inverse=True)
    if len(distinct) <= config.n_neighbors:
        raise UserError(
            "n_neighbors",
            f"{config.n_neighbors} is too many for {len(distinct)} different triplets; choose fewer.",
        )
    distinct = unit(distinct)
    neighbours = nearest(
        distinct, config.n_neighbors, run.device, lambda done, n: report(run, done, n, COMPARING)
    )
    report(run, 0, 1, PREPARING)
    keep_compiled_code()
    places = layout(
        distinct, neighbours, seed, config.min_dist, lambda done, n: report(run, done, n, LAYING_OUT)
    )
    stream = np.random.default_rng(stream_seed(f"triplet map spread {config.of}", seed))
    same = np.bincount(of.ravel())[of.ravel()] > 1
    spread = stream.standard_normal((len(rows), 2)) * SHAKE * same[:, None]
    positions = places[of.ravel()].astype(np.float64) + spread
    run.write_table(
        "triplet_points",
        pa.table(
            {
                "of_run": np.repeat(config.of, len(rows)),
                "triplet": found["triplet"],
                "x": positions[:, 0],
                "y": positions[:, 1],
            }
        ),
    )
    run.message(f"{len(rows):,} triplets are laid out, {len(distinct):,} different.")


def vectors(config: Config, found: dict[str, Any]) -> Floats:
    """A vector a triplet: 48 topics of its words (latent semantic analysis), its image at 12 × 12, or both beside each other."""
    parts = []
    if config.by in ("both", "text"):
        parts.append(text_vectors(found["text"].tolist()))
    if config.by in ("both", "image"):
        parts.append(image_vectors(config.of, found["image"], found["seed"]))
    return np.concatenate(parts, axis=1)


def text_vectors(texts: list[str]) -> Floats:
    """Unit vectors of texts: TF-IDF of words and pairs of words, reduced by a truncated SVD."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    kinds, of = np.unique(np.array(texts, object).astype(str), return_inverse=True)
    try:
        counts = TfidfVectorizer(ngram_range=(1, 2), max_features=20_000, token_pattern=r"\S+").fit_transform(
            kinds
        )
    except ValueError:
        raise UserError("by", "the texts hold no words; lay the triplets out by image.") from None
    topics = min(TOPICS, min(counts.shape) - 1)
    rows = TruncatedSVD(topics, random_state=0).fit_transform(counts) if topics > 1 else counts.toarray()
    return unit(rows.astype(np.float32))[of]


def image_vectors(run_id: str, images: NDArray[np.int64], seeds: NDArray[np.int64]) -> Floats:
    """Unit vectors of images shrunk to 12 × 12 colours, less their mean; zeros where an image is missing."""
    table = pq.read_table(folder(run_id) / IMAGES, columns=["image", "seed", "png"])
    small: dict[tuple[int, int | None], Floats] = {}
    for image, seed, content in zip(
        *(table[name].to_pylist() for name in ("image", "seed", "png")), strict=True
    ):
        small[image, seed] = small[image, None] = _shrunk(content)
    rows = np.stack(
        [
            small.get((int(i), int(s)), small.get((int(i), None), np.zeros(SIDE * SIDE * 3, np.float32)))
            for i, s in zip(images, seeds, strict=True)
        ]
    )
    return unit(rows - rows.mean(axis=0))


def _shrunk(content: bytes | None) -> Floats:
    if not content:
        return np.zeros(SIDE * SIDE * 3, np.float32)
    picture = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE))
    return np.asarray(picture, np.float32).ravel() / np.float32(255)


def unit(rows: NDArray[Any]) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    rows = rows.astype(np.float32)
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9).astype(np.float32)
    return np.divide(rows, norms, dtype=np.float32)
