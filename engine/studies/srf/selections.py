"""Pairs that a retraining adds: the choice of a filter, and a selection saved by reviewers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyses.srf import is_kept
from data.files import read_json
from data.paths import state_dir
from data.scene_questions import Pair
from engine.errors import UserError
from engine.studies.srf.config import Config
from engine.studies.srf.scoring import Scores, Triplets, ranking

Mask = NDArray[np.bool_]
FILTER_OF = {
    "random": "random",
    "triangle": "triangle",
    "triangle_tied": "triangle_tied",
    "confidence": "confidence_answer",
    "oracle": "oracle",
}
SAME = (
    "pictures",
    "emoji_pool",
    "folder",
    "n_labelled",
    "per_image",
    "n_pool",
    "shift",
    "n_test",
    "picture_seed",
    "rounds",
    "model",
    "model_id",
)


def chosen(
    arm: str, keep: float, own: str, triplets: Triplets, scores: Scores, noise: NDArray[np.float64]
) -> Mask:
    """Which triplets an arm adds: the best share `keep` of every type under its filter; equal numbers for equal shares.

    `own` is the run's own filter, whose worst share is the arm bottom; an arm such as triangle_50 has a share of its own.
    """
    if arm == "no_filter":
        return np.ones(len(triplets), bool)
    if arm == "bottom":
        rank, share = ranking(own, triplets, scores, noise)
        sizes = np.rint(rank / share)
        return is_kept((sizes - rank + 1) / sizes, keep)
    if arm not in FILTER_OF:
        arm, _, number = arm.rpartition("_")
        keep = float(number) / 100
    return is_kept(ranking(FILTER_OF[arm], triplets, scores, noise)[1], keep)


def pairs_of(triplets: Triplets, mask: Mask) -> list[Pair]:
    """The chosen triplets as labelled pairs."""
    return [
        Pair(int(triplets.image[i]), triplets.type[i], triplets.question[i], triplets.answer[i])
        for i in np.flatnonzero(mask)
    ]


def selected_pairs(config: Config) -> tuple[list[Pair], list[Pair]]:
    """Pairs of a saved selection, with the texts reviewers gave them, and all of the seeds and rounds they come from.

    Raises UserError where the file or the run cannot be read, or the run has other images.
    """
    table = _table(config)
    content = _content(config)
    numbers = [int(number) for number in content["triplets"]]
    edits: dict[str, Any] = content.get("edits") or {}
    rows = {row["triplet"]: row for row in table}
    if missing := [number for number in numbers if number not in rows]:
        raise UserError(
            "selection",
            f"triplet {missing[0]} is none of run {config.selection_run}; save the selection again.",
        )
    wanted = [Pair(rows[n]["image"], rows[n]["type"], *_texts(rows[n], edits.get(str(n)))) for n in numbers]
    origins = {(rows[n]["seed"], rows[n]["round"]) for n in numbers}
    pool = [
        Pair(row["image"], row["type"], row["question"], row["answer"])
        for row in table
        if (row["seed"], row["round"]) in origins
    ]
    return wanted, pool


def _texts(row: dict[str, Any], edit: dict[str, Any] | None) -> tuple[str, str]:
    return (edit["question"], edit["answer"]) if edit else (row["question"], row["answer"])


def _content(config: Config) -> dict[str, Any]:
    path = Path(config.selection).expanduser()
    try:
        content: dict[str, Any] = read_json(path)
        is_whole = isinstance(content["triplets"], list) and len(content["triplets"]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            "selection", f"{path} is no saved selection; save one on the page Triplets."
        ) from None
    if not is_whole or content.get("run") != config.selection_run:
        raise UserError(
            "selection", f"{path.name} is empty or of another run than {config.selection_run}; save it again."
        )
    return content


def _table(config: Config) -> list[dict[str, Any]]:
    directory = state_dir() / "runs" / config.selection_run
    path = directory / "tables" / "srf_triplets.parquet"
    if not (directory / "manifest.json").exists() or not path.exists():
        raise UserError("selection_run", f"{config.selection_run} is no finished run of srf.")
    record = read_json(directory / "config.json")["config"]
    for name in SAME:
        theirs = record.get(name, Config.model_fields[name].default)
        if theirs != getattr(config, name):
            raise UserError(name, f"run {config.selection_run} has {theirs}; set {name} to it.")
    rows: list[dict[str, Any]] = pq.read_table(
        path, columns=["seed", "round", "triplet", "image", "type", "question", "answer"]
    ).to_pylist()
    return rows


def selection_identity(config: Config) -> str:
    """Hash of a selection's triplets and edits, part of the run's identity. Raises UserError."""
    from data.files import sha256_file

    if not config.is_imported:
        return ""
    selected_pairs(config)
    return sha256_file(Path(config.selection).expanduser())[:16]
