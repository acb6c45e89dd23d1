"""What a run leaves: tables, and the weights of every arm."""

import base64
from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses.smartclip import agreement
from analyses.streams import stream_seed
from data.pictures import Pictures
from engine import schema
from engine.run import Run
from engine.studies.smartclip.evaluation import Evaluation
from engine.studies.smartclip.learner import Learner
from engine.studies.smartclip.source import weights_name

Row = dict[str, Any]
TABLES = (
    "smartclip_arms",
    "smartclip_curve",
    "smartclip_masks",
    "smartclip_dimensions",
    "smartclip_probes",
    "smartclip_sizes",
    "smartclip_agreement",
    "smartclip_pictures",
    "smartclip_data",
)
FIXED = "fixed_masks"


def write_results(run: Run, learners: list[Learner], evaluations: dict[tuple[int, str], Evaluation]) -> None:
    """Write every table in the order of seeds and arms, and the weights under tensors/."""
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    for learner in learners:
        for arm in learner.stages:
            for name, part in evaluations[learner.seed, arm].rows.items():
                rows[name] += part
            tensors = dict(learner.ends[arm])
            if arm == "random_mask" and learner.fixed is not None:
                tensors[FIXED] = learner.fixed.cpu().contiguous()
            run.write_tensors(weights_name(learner.seed, arm), tensors)
        rows["smartclip_curve"] += learner.curve
    rows["smartclip_agreement"] = _agreement(learners, evaluations)
    pictures = learners[0].pictures
    rows["smartclip_pictures"] = _pictures(pictures, run.config.kept)
    rows["smartclip_data"] = _data(pictures)
    for name, part in rows.items():
        columns = schema.run_columns(name)
        filled = [{column: row.get(column) for column in columns.names} for row in part]
        run.write_table(name, pa.Table.from_pylist(filled, schema=columns))


def _agreement(learners: list[Learner], evaluations: dict[tuple[int, str], Evaluation]) -> list[Row]:
    """Every two seeds, arm by arm; arms without masks have no figures of masks."""
    rows = []
    for a, b in combinations(learners, 2):
        for arm in a.stages:
            one, other = evaluations[a.seed, arm], evaluations[b.seed, arm]
            rng = np.random.default_rng(stream_seed("smartclip agreement", a.seed, b.seed))
            found = agreement(one.z, other.z, one.masks, other.masks, rng)
            row = {
                "arm": arm,
                "seed_a": a.seed,
                "seed_b": b.seed,
                "mcc": found.mcc,
                "mcc_null": found.mcc_null,
            }
            if one.rows["smartclip_masks"]:
                row |= {"masks": found.masks, "masks_null": found.masks_null}
                row |= {"structure": found.structure, "structure_null": found.structure_null}
            rows.append(row)
    return rows


def _pictures(pictures: Pictures, many: int) -> list[Row]:
    return [
        {"picture": int(row), "caption": pictures.caption(row), "image": data_uri(pictures.images[row])}
        for row in pictures.splits["test"][:many]
    ]


def _data(pictures: Pictures) -> list[Row]:
    origin = pictures.origin
    told = [("origin", origin.name), ("tier", origin.tier), ("licence", origin.licence)]
    told += [(split, f"{len(rows)}") for split, rows in pictures.splits.items()]
    told += [("attribute", f"{name}: {', '.join(words)}") for name, words in pictures.values.items()]
    told += [("skipped", sentence) for sentence in pictures.skipped]
    return [{"name": name, "value": value} for name, value in told]


def data_uri(image: NDArray[np.uint8]) -> str:
    """A picture (side × side × 3) as a PNG in the text of an address."""
    from PIL import Image

    content = BytesIO()
    Image.fromarray(image).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
