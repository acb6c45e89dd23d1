"""What a run leaves: tables, and the weights of generators, base models and refined ones."""

from collections.abc import Mapping
from io import BytesIO
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analyses.srf import is_kept, weaknesses
from analyses.streams import stream_seed
from data.pictures import Images
from engine import schema
from engine.run import Run
from engine.studies.srf.learner import ROWS, Learner
from engine.studies.srf.noise import noise_rows
from engine.studies.srf.scoring import overlap, ranking
from engine.studies.srf.source import Material, tier_of

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
CHANCE_DRAWS = 20
NUMBERS = dict.fromkeys(("vqa", "score_auc", "score_mean", "shuffled_score"), "float64")


def write_results(
    run: Run, material: Material, learners: list[Learner], tower: Mapping[str, "Tensor"]
) -> None:
    """Write every table in the order of seeds, and the weights under tensors/; an image tower learnt here among them."""
    if tower:
        run.write_tensors("tower", tower)
    rows: dict[str, list[Row]] = {name: [] for name in ROWS}
    rows["srf_triplets"] = [row for learner in learners for row in learner.triplet_rows()]
    for learner in learners:
        for name in ROWS:
            rows[name] += [{"seed": learner.seed, **row} for row in learner.rows[name]]
        for name, tensors in learner.ends.items():
            run.write_tensors(weights_name(learner.seed, name), tensors)
    own = [row for row in rows["srf_generators"] if row["kind"] == "multi_task"]
    for sentence in weaknesses(pd.DataFrame(own).astype(NUMBERS)) if own else []:
        run.message(f"The filter may mean nothing: {sentence}")
    rows["srf_consistency"] = _consistency(learners)
    rows["srf_noise"] = []
    if run.config.noise and not run.config.is_imported:
        for seed in run.seeds:
            rows["srf_noise"] += noise_rows(seed)
            run.progress(run.seeds.index(seed) + 1, len(run.seeds), "the regression of appendix E")
    for name, part in rows.items():
        columns = schema.run_columns(name)
        filled = [{column: row.get(column) for column in columns.names} for row in part]
        run.write_table(name, pa.Table.from_pylist(filled, schema=columns))
    run.write_table(
        "srf_images", _images(run, material, sorted({row["image"] for row in rows["srf_triplets"]}))
    )


def weights_name(seed: int, what: str) -> str:
    """The file of a run's tensors that holds weights: of generator-1, base, refined-1, …"""
    return f"seed-{seed}-{what}"


def _consistency(learners: list[Learner]) -> list[Row]:
    """Overlap of what every two seeds keep of the first round's pool, and the same of kept sets drawn at random."""
    if not all(1 in learner.triplets for learner in learners):
        return []
    name = learners[0].config.own_arm
    rows = []
    for a, b in combinations(learners, 2):
        rng = np.random.default_rng(stream_seed("srf consistency", a.seed, b.seed))
        found = overlap(*(_kept_set(one, name, one.noise(1)) for one in (a, b)))
        drawn = [
            overlap(*(_kept_set(one, "random", rng.random(len(one.triplets[1]))) for one in (a, b)))
            for _ in range(CHANCE_DRAWS)
        ]
        rows.append(
            {"seed_a": a.seed, "seed_b": b.seed, "kept_overlap": found, "chance": float(np.mean(drawn))}
        )
    return rows


def _kept_set(learner: Learner, name: str, noise: Any) -> set[tuple[int, str]]:
    triplets = learner.triplets[1]
    _, share = ranking(name, triplets, learner.scores(1), noise)
    kept = np.flatnonzero(is_kept(share, learner.config.keep))
    return {(int(triplets.image[i]), triplets.type[i]) for i in kept}


def _images(run: Run, material: Material, wanted: list[int]) -> pa.Table:
    """Every image that has a triplet, in the order of the run's images; all seeds share them, so the first is named."""
    tier, origin = tier_of(material), material.origin
    columns = schema.run_columns("srf_images")
    rows = [
        {
            "image": row, "seed": run.seeds[0], "name": material.names[row], "tier": tier, "licence": origin.licence,
            "png": png_of(material.images[row]), "factors": material.factors[row],
        }
        for row in wanted
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=columns)


def png_of(image: Images) -> bytes:
    """A picture (side × side × 3) as PNG."""
    from PIL import Image

    content = BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()
