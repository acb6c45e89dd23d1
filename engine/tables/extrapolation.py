"""Columns of the tables of extrapolation. `regime` is dense or sparse; distances are beyond the rim of the source's support."""

import pyarrow as pa

from engine.tables.common import BOOL, F64, I64, STR

_TARGET = {"seed": I64, "regime": STR, "target": I64}
_CELL = {"seed": I64, "scope": F64, "severity": F64}
EXTRAPOLATION: dict[str, dict[str, pa.DataType]] = {
    "extra_accuracy": {
        "seed": I64,
        "regime": STR,
        "arm": STR,
        "distance": F64,
        "targets": I64,
        "accuracy": F64,
    },
    # Minimal change with `changed` coordinates left out.
    "extra_curve": {
        "seed": I64,
        "regime": STR,
        "distance": F64,
        "changed": I64,
        "targets": I64,
        "accuracy": F64,
    },
    # Kept targets. `margin`: score of the second best class less that of the best, or the difference of their probabilities.
    "extra_targets": {
        **_TARGET,
        "distance": F64,
        "label": I64,
        "arm": STR,
        "prediction": I64,
        "margin": F64,
        "u": F64,
        "v": F64,
    },
    # x and what an arm takes it to be; `left_out` counts for nothing in its score, `affected` truly depends on s.
    "extra_coordinates": {
        **_TARGET,
        "arm": STR,
        "coordinate": I64,
        "x": F64,
        "rebuilt": F64,
        "left_out": BOOL,
        "affected": BOOL,
    },
    # ĝ(class, ŝ) on the way to the explanation, in the plane of `extra_points`; `beyond`: distance of ŝ from the support.
    "extra_paths": {
        **_TARGET,
        "arm": STR,
        "class": I64,
        "step": I64,
        "u": F64,
        "v": F64,
        "beyond": F64,
        "score": F64,
    },
    # The plane of the two directions of largest source variance. kind: source (rows), manifold (g on circles of `radius`).
    "extra_points": {
        "seed": I64,
        "regime": STR,
        "kind": STR,
        "class": I64,
        "radius": F64,
        "place": I64,
        "u": F64,
        "v": F64,
    },
    # Held-out R² within classes: true s from ŝ, and ŝ from the true latents; `null`: rows shuffled.
    "extra_recovery": {
        "seed": I64,
        "regime": STR,
        "r2": F64,
        "null": F64,
        "r2_back": F64,
        "null_back": F64,
    },
    "extra_agreement": {
        "seed_a": I64,
        "seed_b": I64,
        "regime": STR,
        "r2": F64,
        "null": F64,
        "answers": F64,
        "answers_chance": F64,
    },
    "extra_models": {
        "seed": I64,
        "regime": STR,
        "parameters": I64,
        "steps": I64,
        "accuracy": F64,
        "reconstruction": F64,
    },
    "extra_data": {"class": I64, "name": STR, "split": STR, "rows": I64},
    # `moved`: share of pictures whose answer differs from the source-only answer for the picture as it was.
    "extra_map": {
        **_CELL,
        "arm": STR,
        "block": I64,
        "pictures": I64,
        "accuracy": F64,
        "moved": F64,
        "confidence": F64,
    },
    "extra_choices": {
        "seed": I64,
        "arm": STR,
        "setting": STR,
        "value": F64,
        "accuracy": F64,
        "chosen": BOOL,
    },
    "extra_pictures": {
        **_CELL,
        "picture": I64,
        "label": I64,
        "arm": STR,
        "prediction": I64,
        "confidence": F64,
    },
    # `error` in units of what is usual at that patch; `hidden`: judged changed; `corrupted`: truly changed.
    "extra_patches": {
        **_CELL,
        "picture": I64,
        "patch": I64,
        "error": F64,
        "hidden": BOOL,
        "corrupted": BOOL,
    },
    "extra_images": {**_CELL, "picture": I64, "kind": STR, "image": STR},
    # How well errors tell the patches that truly changed (area under the ROC; chance 0.5).
    "extra_found": {**_CELL, "auc": F64, "hidden": F64, "corrupted": F64},
    "extra_picture_agreement": {
        "seed_a": I64,
        "seed_b": I64,
        "iou": F64,
        "null": F64,
        "answers": F64,
        "answers_chance": F64,
    },
}
