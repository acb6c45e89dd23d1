"""What a finished run on pictures leaves: every table, and each seed's weights."""

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from analyses.extrapolation import FEW, SOURCE
from analyses.streams import stream_seed
from data.class_pictures import NO_CLASS, ClassPictures, noisy_block
from engine import schema
from engine.run import Run, Stopped
from engine.studies.extrapolation.patches import to_images, to_patches
from engine.studies.extrapolation.pictures import PictureLearner, block_side
from engine.studies.extrapolation.results import same_answers

Row = dict[str, Any]
Learners = dict[tuple[int, str], PictureLearner]
KEPT, JUDGED, SHARED = 4, 40, 60
VISIBLE = 0.02
NULL_DRAWS = 20


def write_pictures(run: Run, pictures: ClassPictures, learners: Learners, pool: ThreadPoolExecutor) -> None:
    """Write every table. Raises Stopped when asked to stop; the measurements are kept."""
    run.progress(0, 1, "looking at single pictures")
    rows: dict[str, list[Row]] = {}

    def one(item: tuple[tuple[int, str], PictureLearner]) -> dict[str, list[Row]]:
        (seed, _), learner = item
        if run.should_stop:
            raise Stopped
        found = {
            "extra_map": _map(learner),
            "extra_choices": learner.tried,
            "extra_models": [_model(learner)],
            **_cells(learner),
        }
        return {name: [{"seed": seed, **row} for row in part] for name, part in found.items()}

    for found in pool.map(one, learners.items()):
        for name, part in found.items():
            rows.setdefault(name, []).extend(part)
    rows["extra_picture_agreement"] = _agreement(learners)
    rows["extra_data"] = _data(pictures)
    for name, part in rows.items():
        run.write_table(name, pa.Table.from_pylist(part, schema=schema.run_columns(name)))
    for (seed, _), learner in learners.items():
        state = {k: v.contiguous() for k, v in learner.net.state_dict().items() if not k.startswith("model.")}
        run.write_tensors(f"pictures-{seed}", state)


def _map(learner: PictureLearner) -> list[Row]:
    labels = torch.from_numpy(learner.pictures.labels[learner.rows])
    clean = learner.answers[0, learner.arms_offered.index(SOURCE)]
    return [
        {
            "arm": arm, "scope": scope, "severity": severity, "block": block_side(scope, learner.pictures.side) if severity else 0,
            "pictures": len(labels),
            "accuracy": float((learner.answers[cell, number] == labels).double().mean()) if learner.pictures.labelled else None,
            "moved": float((learner.answers[cell, number] != clean).double().mean()),
            "confidence": float(learner.confidence[cell, number].double().mean()),
        }
        for cell, (scope, severity) in enumerate(learner.cells)
        for number, arm in enumerate(learner.arms_offered)
    ]  # fmt: skip


def _model(learner: PictureLearner) -> Row:
    rows = learner.pictures.splits["validation"]
    images, labels = learner.images(rows), torch.from_numpy(learner.pictures.labels[rows])
    logits = learner.arms.logits(SOURCE, images, learner.settings)
    assert learner.arms.expected is not None
    return {
        "regime": "pictures",
        "parameters": sum(one.numel() for one in learner.net.parameters()),
        "steps": learner.config.steps,
        "accuracy": float((logits.argmax(dim=1) == labels).double().mean())
        if learner.pictures.labelled
        else None,
        "reconstruction": float(learner.arms.expected.mean.mean()),
    }


def _cells(learner: PictureLearner) -> dict[str, list[Row]]:
    """Of every corruption: the first pictures in full, and how well errors tell what changed."""
    tables: dict[str, list[Row]] = {
        name: [] for name in ("extra_pictures", "extra_patches", "extra_images", "extra_found")
    }
    for cell, (scope, severity) in enumerate(learner.cells):
        rows = learner.rows
        images, _ = learner.corrupted(rows, cell)
        clean = learner.images(rows)
        place = {"scope": scope, "severity": severity}
        judged = learner.arms.judge(images[:JUDGED], learner.settings.quantile)
        changed = changed_patches(clean[:JUDGED], images[:JUDGED], learner.arms.size)
        tables["extra_found"].append({**place, **_found(judged.error, judged.hidden, changed)})
        for i, row in enumerate(rows[:KEPT].tolist()):
            mine = {**place, "picture": row}
            tables["extra_pictures"] += [
                {
                    **mine, "label": int(learner.pictures.labels[row]), "arm": arm,
                    "prediction": int(learner.answers[cell, number, i]), "confidence": float(learner.confidence[cell, number, i]),
                }
                for number, arm in enumerate(learner.arms_offered)
            ]  # fmt: skip
            tables["extra_patches"] += patch_rows(mine, judged.error[i], judged.hidden[i], changed[i])
            repaired = repair(
                images[i : i + 1], judged.rebuilt[i : i + 1], judged.hidden[i : i + 1], learner.arms.size
            )
            kinds = {
                "as it was": clean[i],
                "as it is met": images[i],
                "changed patches filled in": repaired[0],
            }
            tables["extra_images"] += [
                {**mine, "kind": kind, "image": data_uri(one)} for kind, one in kinds.items()
            ]
    return tables


def patch_rows(mine: Row, error: Tensor, hidden: Tensor, changed: Tensor) -> list[Row]:
    """Rows of `extra_patches` of one picture."""
    return [
        {**mine, "patch": p, "error": float(e), "hidden": bool(h), "corrupted": bool(c)}
        for p, (e, h, c) in enumerate(zip(error, hidden, changed, strict=True))
    ]


def changed_patches(clean: Tensor, met: Tensor, size: int) -> Tensor:
    """Which patches (n × P) differ visibly from the picture as it was."""
    return (to_patches(met, size) - to_patches(clean, size)).abs().mean(dim=-1) > VISIBLE


def repair(images: Tensor, rebuilt: Tensor, hidden: Tensor, size: int) -> Tensor:
    """The pictures with hidden patches as they were rebuilt."""
    patches = torch.where(hidden[..., None], rebuilt, to_patches(images, size))
    return to_images(patches, images.shape[1], size)


def _found(error: Tensor, hidden: Tensor, changed: Tensor) -> Row:
    truth = changed.flatten().numpy()
    known = 0 < truth.sum() < len(truth)
    return {
        "auc": float(roc_auc_score(truth, error.flatten().numpy())) if known else None,
        "hidden": float(hidden.double().mean()),
        "corrupted": float(truth.mean()),
    }


def data_uri(image: Tensor) -> str:
    """A picture (C × S × S, from 0 to 1) as a PNG in the text of an address."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
    content = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _agreement(learners: Learners) -> list[Row]:
    """Every pair of seeds on the same corrupted pictures: overlap of the patches judged changed, and equal answers."""
    some = next(iter(learners.values()))
    config, pictures = some.config, some.pictures
    rng = np.random.default_rng(stream_seed("extrapolation shared pictures", config.world_seed))
    rows = pictures.splits["test"][:SHARED]
    scope, severity = (
        values[len(values) // 2] for values in (config.scopes[:-1] or config.scopes, config.severities)
    )
    images, _ = noisy_block(
        pictures.images[rows], block_side(scope, pictures.side), severity, config.clip, rng
    )
    met = torch.from_numpy(images)
    hidden, answers = {}, {}
    for (seed, _), learner in learners.items():
        hidden[seed] = learner.arms.judge(met, learner.settings.quantile).hidden.numpy()
        answers[seed] = learner.arms.logits(FEW, met, learner.settings).argmax(dim=1).numpy()
    found = []
    for a, b in combinations(hidden, 2):
        shuffle = np.random.default_rng(stream_seed("extrapolation shared null", a, b))
        null = [_iou(hidden[a], shuffle.permuted(hidden[b], axis=1)) for _ in range(NULL_DRAWS)]
        row = {"seed_a": a, "seed_b": b, "iou": _iou(hidden[a], hidden[b]), "null": float(np.mean(null))}
        found.append({**row, **same_answers(answers[a], answers[b])})
    return found


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Patches in both over patches in either, all pictures together; 1 where neither has any."""
    either = (a | b).sum()
    return float((a & b).sum() / either) if either else 1.0


def _data(pictures: ClassPictures) -> list[Row]:
    labelled = pictures.labels != NO_CLASS
    return [
        {
            "class": k,
            "name": name,
            "split": split,
            "rows": int(((pictures.labels[rows] == k) & labelled[rows]).sum()),
        }
        for split, rows in pictures.splits.items()
        for k, name in enumerate(pictures.names)
    ]
