"""Tidy frames of extrapolation: accuracy by distance and by corruption, the first strip, one sample in words.

Input frames have the columns of the tables `extra_…` (engine/tables/extrapolation.py).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses import figures
from analyses.extrapolation import FEW, MODERATE, NEAR, PICTURE_ARMS, RIGHT, SOURCE, TENT_BATCH, WORLD_ARMS
from analyses.label_shift_frames import over_seeds

Frame = Any
Figure = tuple[float, float, float]
UNKNOWN: Figure = (np.nan, np.nan, np.nan)
NEEDS = {
    SOURCE: "nothing",
    "nearest source neighbour": "source rows",
    "TENT": "the sample",
    TENT_BATCH: "all samples at once",
    NEAR: "the sample, a generative model",
    FEW: "the sample, a generative model",
    "masked reconstruction": "the sample",
    "masked reconstruction + entropy": "the sample",
}


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms in the order of the comparison."""
    return figures.in_order(arms, list(dict.fromkeys([*WORLD_ARMS, *PICTURE_ARMS])))


def by_distance(accuracy: Frame, regime: str, arms: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy of each arm at each distance with its 95 % interval over seeds: arm, distance, mean, low, high, seeds."""
    rows = []
    mine = accuracy[accuracy["regime"] == regime]
    for (arm, distance), part in mine.groupby(["arm", "distance"], sort=False):
        if arm in arms:
            mean, low, high = over_seeds(part.set_index("seed")["accuracy"])
            rows.append((arm, distance, mean, max(low, 0.0), min(high, 1.0), len(part)))
    frame = pd.DataFrame(rows, columns=["arm", "distance", "mean", "low", "high", "seeds"])
    order = {arm: place for place, arm in enumerate(in_order(list(frame["arm"])))}
    return frame.sort_values(
        ["arm", "distance"], key=lambda c: c.map(order) if c.name == "arm" else c, ignore_index=True
    )


def by_changed(curve: Frame, regime: str) -> pd.DataFrame:
    """Accuracy of minimal change against the number of coordinates left out, a row for each distance, mean over seeds."""
    mine = curve[curve["regime"] == regime]
    return mine.groupby(["distance", "changed"], as_index=False).agg(
        mean=("accuracy", "mean"), seeds=("seed", "nunique")
    )


def corruption_map(cells: Frame, arm: str, against: str | None = None) -> pd.DataFrame:
    """Accuracy (or `moved` where nothing is labelled) of an arm by scope and severity, less that of another arm if one is given.

    Columns: scope, block, severity, value, low, high, seeds.
    """
    column = "accuracy" if cells["accuracy"].notna().any() else "moved"
    kept = cells[cells["severity"] > 0].set_index(["seed", "scope", "block", "severity"])
    values = kept[kept["arm"] == arm][column]
    if against is not None:
        values = values - kept[kept["arm"] == against][column]
    rows = [
        (scope, block, severity, *over_seeds(part), len(part))
        for (scope, block, severity), part in values.groupby(["scope", "block", "severity"])
    ]
    return pd.DataFrame(rows, columns=["scope", "block", "severity", "value", "low", "high", "seeds"])


def map_table(cells: Frame) -> pd.DataFrame:
    """An arm a row: what it needs, accuracy without corruption, and mean over corruptions of the smallest and the other blocks."""
    column = "accuracy" if cells["accuracy"].notna().any() else "moved"
    rows = []
    for arm in in_order(list(cells["arm"])):
        mine = cells[cells["arm"] == arm]
        met = mine[mine["severity"] > 0]
        small = met["scope"] == met["scope"].min()
        parts = (mine[mine["severity"] == 0], met[small], met[~small], met)
        rows.append((arm, NEEDS.get(arm, ""), *(float(part[column].mean()) for part in parts)))
    return pd.DataFrame(rows, columns=["arm", "needs", "clean", "small", "large", "all"])


def world_summary(accuracy: Frame, recovery: Frame, agreement: Frame, regime: str) -> dict[str, Figure]:
    """The first strip of a run on worlds, (mean, low, high) each: seeds (range over pairs), seeds_null, truth, truth_null,
    answers and answers_chance (equal answers of two seeds), class and class_source (accuracy at a moderate distance)."""
    truth = recovery[recovery["regime"] == regime]
    pairs = agreement[agreement["regime"] == regime]
    mine = accuracy[accuracy["regime"] == regime]
    near = mine["distance"][mine["distance"] <= MODERATE]
    at = float(near.max() if len(near) else mine["distance"].min())
    there = mine[mine["distance"] == at].set_index("seed")
    return {
        **_pairs(pairs, "r2", "answers"),
        "truth": over_seeds(truth.set_index("seed")["r2"]),
        "truth_null": (float(truth["null"].mean()), np.nan, np.nan),
        "class": over_seeds(there[there["arm"] == RIGHT[regime]]["accuracy"]),
        "class_source": over_seeds(there[there["arm"] == SOURCE]["accuracy"]),
        "distance": (at, np.nan, np.nan),
    }


def picture_summary(cells: Frame, found: Frame, agreement: Frame) -> dict[str, Figure]:
    """The first strip of a run on pictures: seeds (overlap of the patches judged changed), truth (area under the ROC), class."""
    column = "accuracy" if cells["accuracy"].notna().any() else "moved"
    met = cells[(cells["severity"] > 0)]
    by_seed = met.groupby(["arm", "seed"])[column].mean()
    auc = found.dropna(subset=["auc"]).groupby("seed")["auc"].mean()
    return {
        **_pairs(agreement, "iou", "answers"),
        "truth": over_seeds(auc) if len(auc) else UNKNOWN,
        "truth_null": (0.5, np.nan, np.nan),
        "class": over_seeds(by_seed[FEW]),
        "class_source": over_seeds(by_seed[SOURCE]),
    }


def _pairs(pairs: Frame, value: str, answers: str) -> dict[str, Figure]:
    if not len(pairs):
        return dict.fromkeys(("seeds", "seeds_null", "answers", "answers_chance"), UNKNOWN)
    return {
        "seeds": (float(pairs[value].mean()), float(pairs[value].min()), float(pairs[value].max())),
        "seeds_null": (float(pairs["null"].mean()), np.nan, float(pairs["null"].max())),
        "answers": (float(pairs[answers].mean()), float(pairs[answers].min()), float(pairs[answers].max())),
        "answers_chance": (float(pairs[f"{answers}_chance"].mean()), np.nan, np.nan),
    }


def answers_table(rows: Frame, label: int, names: Sequence[str], certainty: str) -> pd.DataFrame:
    """What every arm answers for one sample: arm, answer, right (None where the class is unknown), certainty."""
    order = in_order(list(rows["arm"]))
    mine = rows.set_index("arm").loc[order].reset_index()
    return pd.DataFrame(
        {
            "arm": mine["arm"],
            "answer": [names[k] if 0 <= k < len(names) else str(k) for k in mine["prediction"]],
            "right": [None if label < 0 else bool(k == label) for k in mine["prediction"]],
            "certainty": mine[certainty],
        }
    )
