"""Finished runs of srf in a state folder, their tables drawn from a simple model of a generator, before an engine opens it.

A triplet is right with a probability of its seed; S is 1 with a high one where it is, its log-probability is higher there. A
weak generator's S knows nothing of the truth.
"""

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from analyses.srf import SHARES, is_kept, places, precision_curve
from data.files import write_json
from data.scenes import ORIGIN, Look, all_states, render
from engine.run import Run
from engine.studies.srf import Srf

TYPES = ("caption", "colour", "count", "exist", "shape", "where")
COLOURS = ("red", "orange", "green", "blue", "purple", "white")
PLACES = ("left", "right")
ANSWERS = {"colour": COLOURS, "shape": ("circle", "square", "cross"), "where": PLACES, "exist": ("yes", "no"), "count": ("one", "two")}  # fmt: skip
ARMS = {"base": 0.0, "random": 0.01, "no_filter": 0.012, "triangle": 0.02, "triangle_tied": 0.03, "confidence": 0.024,
        "oracle": 0.05, "recap": -0.01, "bottom": -0.02}  # fmt: skip
SELECTED = {"base": 0.0, "no_selection": 0.0, "random": 0.01, "selection": 0.03}
KEEP = 0.2
HOSTILE = "<script>alert(1)</script> what *colour* is $x$"


def write_run(
    home: Path,
    run_id: str,
    config: dict[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    error: str | None = None,
    **world: Any,
) -> dict[str, pd.DataFrame]:
    """A finished run in `home`/runs/`run_id`, and its tables; with an `error` one that failed. `world` as `simulate` takes it."""
    settings = Srf.Config(**{**Srf.presets["tour"], **(config or {})})
    directory = home / "runs" / run_id
    directory.mkdir(parents=True)
    created = time.time()
    record = {
        "id": run_id, "study": "srf", "config": settings.model_dump(mode="json"), "seeds": list(seeds), "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": "tour", "created": created,
    }  # fmt: skip
    write_json(directory / "config.json", record)
    state = {"group": None, "created": created, "queued": 0.0, "started": 0.0, "finished": created}
    write_json(directory / "state.json", {**state, "state": "failed" if error else "done", "error": error})
    run = Run(directory, settings)
    if error:
        return {}
    tables = simulate(seeds, **world)
    for name, frame in tables.items():
        run.write_table(name, pa.Table.from_pandas(frame, preserve_index=False))
    run.finish()
    return tables


def simulate(
    seeds: Sequence[int],
    n: int = 120,
    rounds: Sequence[int] = (1,),
    is_weak: bool = False,
    is_known: bool = True,
    selected: bool = False,
    n_images: int = 24,
) -> dict[str, pd.DataFrame]:
    """Every table of the study for `n` triplets a seed and round about `n_images` pictures.

    `is_known` False is a user's folder: nobody knows the truth; `selected` is a run retrained on a saved selection.
    """
    rng = np.random.default_rng(11)
    triplets = pd.concat(
        [_triplets(seed, number, n, n_images, is_weak, rng) for seed in seeds for number in rounds]
    ).reset_index(drop=True)
    triplets["triplet"] = np.arange(len(triplets))
    if not is_known:
        triplets["truth"] = "unknown"
    arms = pd.DataFrame(
        [
            (seed, number, arm, 0 if arm == "base" else n // 5, 400, *(0.85 + gain + 0.004 * rng.standard_normal(2) - (0, 0.05)))
            for seed in seeds for number in rounds for arm, gain in (SELECTED if selected else ARMS).items()
        ],
        columns=["seed", "round", "arm", "added", "steps", "exact", "exact_shifted"],
    )  # fmt: skip
    by_type = arms.loc[
        arms.index.repeat(len(TYPES)), ["seed", "round", "arm", "exact", "exact_shifted"]
    ].assign(type=list(TYPES) * len(arms), n=50)
    pairs = [(a, b) for i, a in enumerate(seeds) for b in seeds[i + 1 :]]
    noise = [(seed, arm, 0.75 + 0.01 * rank + 0.002 * rng.standard_normal(), 1.2) for seed in seeds
             for rank, arm in enumerate(("baseline", "random", "confident"))]  # fmt: skip
    return {
        "srf_triplets": triplets,
        "srf_images": images(n_images, is_known, rng),
        "srf_filters": _filters(triplets) if is_known else _nothing("srf_filters"),
        "srf_arms": arms,
        "srf_arm_types": by_type,
        "srf_generators": _generators(triplets, seeds, rounds, is_weak, rng),
        "srf_noise": pd.DataFrame(noise, columns=["seed", "arm", "r2", "nll"]),
        "srf_consistency": pd.DataFrame(
            [(a, b, 0.31, 0.11) for a, b in pairs], columns=["seed_a", "seed_b", "kept_overlap", "chance"]
        ),
    }


def _nothing(name: str) -> pd.DataFrame:
    from engine.schema import run_columns

    frame: pd.DataFrame = run_columns(name).empty_table().to_pandas()
    return frame


def _triplets(
    seed: int, number: int, n: int, n_images: int, is_weak: bool, rng: np.random.Generator
) -> pd.DataFrame:
    kind = rng.integers(0, len(TYPES), n)
    types = np.array(TYPES, object)[kind]
    right = rng.random(n) < (0.3 if is_weak else 0.82)
    informed = rng.random(n) < 0.5 if is_weak else right
    colour, other = (np.array(COLOURS, object)[rng.integers(0, 6, n)] for _ in range(2))
    place = np.array(PLACES, object)[rng.integers(0, 2, n)]
    question = "what colour is the " + place + " object"
    answer = colour.copy()
    for name, values in ANSWERS.items():
        mine = types == name
        answer[mine] = np.array(values, object)[rng.integers(0, len(values), int(mine.sum()))]
        if name != "colour":
            question[mine] = f"what {name} is the " + colour[mine] + " one"
    caption = types == "caption"
    question[caption] = "describe the image"
    answer[caption] = "a large " + colour[caption] + " circle left of a small " + other[caption] + " square"
    tied = rng.random(n) < np.where(informed, 0.8, 0.35)
    same_answer = tied | (rng.random(n) < 0.5)
    again = np.where(same_answer, answer, other)
    question_again = np.where(tied | caption, question, "what is at the " + place)
    sim_question = np.where(caption, np.nan, np.where(tied, 1.0, rng.uniform(0.3, 0.97, n)))
    sim_answer = np.where(same_answer, 1.0, rng.uniform(0.2, 0.95, n))
    score = np.where(caption, sim_answer, np.sqrt(np.nan_to_num(sim_question, nan=1.0) * sim_answer))
    logp = -np.abs(rng.normal(np.where(informed, 0.15, 0.5), 0.2))
    rank, share = places(score, kind, rng.random(n))
    kept = is_kept(share, KEEP)
    frame = pd.DataFrame(
        {
            "seed": seed, "round": number, "image": rng.integers(0, n_images, n), "type": types, "question": question,
            "answer": answer, "question_again": question_again, "answer_again": again, "sim_question": sim_question,
            "sim_answer": sim_answer, "score": score, "rank": rank, "share": share, "logp_generation": logp - 0.1,
            "logp_answer": logp, "truth": np.where(right, "true", np.where(rng.random(n) < 0.05, "malformed", "false")),
            "kept": kept, "reason": "",
        }
    )  # fmt: skip
    frame["reason"] = "rank " + frame["rank"].astype(str) + " of its type"
    frame.loc[0, "question"] = HOSTILE
    return frame


def images(n: int, is_known: bool, rng: np.random.Generator) -> pd.DataFrame:
    """Rendered scenes as PNG, as the run stores them."""
    states = all_states()[rng.choice(len(all_states()), n, replace=False)]
    pictures = render(states, rng, Look())
    tier, licence = (ORIGIN.tier, ORIGIN.licence) if is_known else ("yours", "yours")
    return pd.DataFrame(
        {
            "image": np.arange(n), "seed": 0, "name": [f"scene {i}" for i in range(n)], "tier": tier, "licence": licence,
            "png": [png(picture) for picture in pictures], "factors": [json.dumps(state.tolist()) for state in states],
        }
    )  # fmt: skip


def png(picture: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "PNG")
    return sink.getvalue()


def _filters(triplets: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (seed, number), part in triplets.groupby(["seed", "round"]):
        right = (part["truth"] == "true").to_numpy(float)
        kinds = pd.factorize(part["type"])[0]
        noise = np.random.default_rng(3).random(len(part))
        scores = {
            "random": noise, "triangle": part["score"], "confidence_answer": part["logp_answer"],
            "confidence_generation": part["logp_generation"], "oracle": right,
        }  # fmt: skip
        rankings = {name: (values, noise) for name, values in scores.items()}
        rankings["triangle_tied"] = (part["score"], part["logp_answer"])
        for name, (values, ties) in rankings.items():
            curve = precision_curve(places(values, kinds, ties)[1], right, np.zeros(len(part)))
            rows += [
                (seed, number, name, x, p, int(k), 0.7)
                for x, p, k in curve[["share", "precision", "kept"]].to_numpy()
            ]
    assert len(rows) % len(SHARES) == 0
    return pd.DataFrame(rows, columns=["seed", "round", "filter", "kept_share", "precision", "kept", "auc"])


def _generators(
    triplets: pd.DataFrame,
    seeds: Sequence[int],
    rounds: Sequence[int],
    is_weak: bool,
    rng: np.random.Generator,
) -> pd.DataFrame:
    rows = []
    for seed in seeds:
        for number in rounds:
            mine = triplets[(triplets["seed"] == seed) & (triplets["round"] == number)]
            tied, mean = float((mine["score"] >= 1).mean()), float(mine["score"].mean())
            known = mine["truth"] != "unknown"
            right = float((mine["truth"] == "true").mean()) if known.any() else None
            vqa, auc, drop = (0.35, 0.5, 0.02) if is_weak else (0.93, 0.78, 0.4)
            auc += 0.01 * rng.standard_normal()
            rows.append((seed, number, "multi_task", vqa, 0.47, 0.11, right, tied, auc, mean - drop, mean))
            if number == 1:
                rows.append(
                    (
                        seed,
                        number,
                        "prompted",
                        vqa - 0.1,
                        0.3,
                        0.08,
                        right,
                        tied,
                        auc - 0.1,
                        mean - drop,
                        mean,
                    )
                )
    columns = ["seed", "round", "kind", "vqa", "distinct2", "ttr", "precision", "tied_share", "score_auc", "shuffled_score",
               "score_mean"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
