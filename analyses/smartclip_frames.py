"""Tidy frames of masks of captions: arms over seeds, the sweep of sparsity, probes, sizes, dimensions in order.

Input frames have the columns of the tables `smartclip_…` (engine/tables/smartclip.py); a live answer
(`Client.caption_mask`) is brought into the same words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses.matching import mean_interval

Frame = Any
ARMS = {
    "base": "CLIP it starts from",
    "clip_short": "CLIP, single sentences",
    "clip_long": "CLIP, whole captions",
    "long_clip": "Long-CLIP-like",
    "smartclip": "SmartCLIP",
    "no_sparsity": "no sparsity",
    "naive_negatives": "naive negatives",
    "soft_mask": "soft mask",
    "random_mask": "fixed random masks",
}
SWEEP = "lambda_"
FIGURES = {
    "long_plain": "Whole captions",
    "long_masked": "Whole, masked",
    "short_1_plain": "One sentence",
    "short_1_masked": "One, masked",
    "short_2_plain": "Two sentences",
    "short_2_masked": "Two, masked",
    "probe_mean": "Attributes kept",
    "iou_gap": "Overlap gap",
    "net_gap": "Separation",
    "union": "Union",
}
EXPLAINED = {
    "long_plain": "recall at 1 of whole captions, mean of both ways, the embedding read whole",
    "long_masked": "the same, the embedding read under each caption's mask",
    "short_1_plain": "share of the five best pictures that satisfy a caption of one sentence",
    "short_1_masked": "the same under the caption's mask",
    "short_2_plain": "the same for two sentences",
    "short_2_masked": "the same under the caption's mask",
    "probe_mean": "linear probes of every attribute on the whole embedding, 0 at chance",
    "iou_gap": "intersection over union of masks of the same attribute, less that of different ones",
    "net_gap": "own less other attributes under a mask, less the same of random masks of its size",
    "union": "intersection over union of the mask of two sentences with the union of theirs",
}
MEASURES = {
    "separation": {
        "net_gap": "separation beyond random masks",
        "iou_gap": "mask overlap, same less different",
        "union": "union of two sentences",
    },
    "retrieval": {
        "long_plain": "whole captions, plain",
        "long_masked": "whole captions, masked",
        "short_1_plain": "one sentence, plain",
        "short_1_masked": "one sentence, masked",
    },
    "kept": {
        "share_single": "dimensions kept by one sentence",
        "share_whole": "dimensions kept by a whole caption",
        "probe_mean": "attributes kept in the whole embedding",
    },
}
NEITHER, FIRST, SECOND, BOTH = range(4)
ALL = "all"


def arm_name(arm: str) -> str:
    """An arm in words: "SmartCLIP", "λ 2"."""
    if arm.startswith(SWEEP):
        return f"λ {float(arm.removeprefix(SWEEP)):g}"
    return ARMS.get(arm, arm.replace("_", " "))


def shortened(caption: str, most: int = 34) -> str:
    """A caption of at most so many signs."""
    return caption if len(caption) <= most else caption[: most - 1] + "…"


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms as they are trained, those of the sweep by their weight after SmartCLIP."""
    known = list(ARMS)

    def place(arm: str) -> tuple[float, float]:
        if arm.startswith(SWEEP):
            return known.index("smartclip") + 0.5, float(arm.removeprefix(SWEEP))
        return (known.index(arm) if arm in known else len(known)), 0.0

    return sorted(dict.fromkeys(arms), key=place)


def with_gaps(arms: Frame, d: int) -> pd.DataFrame:
    """`smartclip_arms` with `iou_gap` and the mean mask size of one sentence and of whole captions as shares of d."""
    return arms.assign(
        iou_gap=arms["iou_same"] - arms["iou_different"],
        share_single=arms["size_single"] / d,
        share_whole=arms["size_whole"] / d,
    )


def over_seeds(rows: Frame, by: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Long form: the columns `by`, measure, mean, low, high (95 % t interval; null for one seed), seeds; missing ones left out."""
    found = []
    for key, part in rows.groupby(list(by), sort=False, dropna=False):
        for measure in measures:
            values = part[measure].dropna().to_numpy(dtype=float)
            if len(values):
                low, high = mean_interval(values) if len(values) > 1 else (None, None)
                found.append((*key, measure, float(values.mean()), low, high, len(values)))
    return pd.DataFrame(found, columns=[*by, "measure", "mean", "low", "high", "seeds"])


def arm_figures(arms: Frame, d: int) -> pd.DataFrame:
    """Every figure of every arm: arm, name, measure, mean, low, high, seeds, in the order of the arms."""
    frame = over_seeds(with_gaps(arms, d), ["arm"], list(FIGURES))
    rank = {arm: place for place, arm in enumerate(in_order(list(frame["arm"])))}
    frame = frame.assign(name=frame["arm"].map(arm_name), rank=frame["arm"].map(rank))
    frame = frame.sort_values(["rank"], kind="stable").drop(columns="rank")
    return frame[["arm", "name", "measure", "mean", "low", "high", "seeds"]].reset_index(drop=True)


def sweep(arms: Frame, d: int, group: str) -> pd.DataFrame:
    """A group of MEASURES against λ: lambda, arm, measure, name, mean, low, high, seeds; SmartCLIP and its weights only."""
    known = arms["arm"].isin(["smartclip", "no_sparsity"]) | arms["arm"].str.startswith(SWEEP)
    mine = with_gaps(arms[known], d).sort_values("lambda")
    frame = over_seeds(mine, ["lambda", "arm"], list(MEASURES[group]))
    return frame.assign(name=frame["measure"].map(MEASURES[group]))


def probe_table(probes: Frame, arm: str, probe: str, seed: int | None = None) -> pd.DataFrame:
    """Accuracy (0 at chance) of every attribute under every attribute's mask: masked_by, attribute, normalised, control,
    outside, accuracy, size; the mean over seeds unless one is named. Rows masked by "all" are the whole embedding."""
    mine = probes[(probes["arm"] == arm) & (probes["probe"] == probe)]
    if seed is not None:
        mine = mine[mine["seed"] == seed]
    columns = ["accuracy", "chance", "normalised", "control", "outside", "size"]
    return mine.groupby(["masked_by", "attribute"], sort=False)[columns].mean().reset_index()


def square(table: Frame, column: str, attributes: Sequence[str]) -> np.ndarray:
    """A column of `probe_table` as masked by × attribute."""
    pivoted = table.pivot(index="masked_by", columns="attribute", values=column)
    return pivoted.reindex(index=list(attributes), columns=list(attributes)).to_numpy(dtype=float)


def told_attributes(dimensions: Frame) -> list[str]:
    """Attributes that some sentence tells, in their own order."""
    return list(dict.fromkeys(dimensions["attribute"]))


def dimension_order(dimensions: Frame) -> pd.DataFrame:
    """Every dimension of one arm and seed with the attribute it belongs to most: dimension, attribute, place.

    Where masks are learnt that is the attribute most of whose sentences keep it, ties and dimensions kept by none by the
    attribute that explains most of its variance. Dimensions of an attribute stand together, those that tell most first.
    """
    frame = dimensions.copy()
    frame["kept"] = frame["kept"].astype(float).fillna(0.0)
    frame["score"] = frame["kept"] + 0.5 * frame["variance"]
    rank = {name: place for place, name in enumerate(told_attributes(frame))}
    best = frame.sort_values(["dimension", "score"], ascending=[True, False], kind="stable").drop_duplicates(
        "dimension"
    )
    best = best.assign(
        rank=best["attribute"].map(rank),
        used=frame.groupby("dimension")["kept"].max().reindex(best["dimension"]).to_numpy() > 0,
    )
    best = best.sort_values(["rank", "used", "score"], ascending=[True, False, False], kind="stable")
    return best[["dimension", "attribute"]].assign(place=range(len(best))).reset_index(drop=True)


def mask_rows(answer: Mapping[str, Any], order: Sequence[int]) -> pd.DataFrame:
    """Every dimension of a live answer in `order`: place, dimension, caption (1 or 2), gate, on, and `part` of two masks."""
    rows = []
    masks = [np.array(one["mask"], dtype=bool) for one in answer["captions"]]
    for number, one in enumerate(answer["captions"], 1):
        for place, dimension in enumerate(order):
            on = [bool(mask[dimension]) for mask in masks]
            part = None if len(on) < 2 else on[0] * FIRST + on[1] * SECOND
            rows.append((place, dimension, number, one["gates"][dimension], on[number - 1], part))
    return pd.DataFrame(rows, columns=["place", "dimension", "caption", "gate", "on", "part"])


def nearest_rows(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Nearest pictures of a live answer, without the pictures: caption, readout, rank, picture, score, satisfies, text."""
    rows = [
        (number, readout, rank, near["picture"], near["score"], near["satisfies"], near["caption"])
        for number, one in enumerate(answer["captions"], 1)
        for readout, found in one["nearest"].items()
        for rank, near in enumerate(found, 1)
    ]
    return pd.DataFrame(rows, columns=["caption", "readout", "rank", "picture", "score", "satisfies", "text"])


def curve(rows: Frame, measure: str) -> pd.DataFrame:
    """Mean and range over seeds of a measure of training, by arm: arm, name, step, mean, low, high, seeds."""
    mine = rows.dropna(subset=[measure])
    frame = mine.groupby(["arm", "step"])[measure].agg(["mean", "min", "max", "size"]).reset_index()
    frame.columns = pd.Index(["arm", "step", "mean", "low", "high", "seeds"])
    rank = {arm: place for place, arm in enumerate(in_order(list(frame["arm"])))}
    frame = frame.assign(name=frame["arm"].map(arm_name), rank=frame["arm"].map(rank))
    return frame.sort_values(["rank", "step"]).drop(columns="rank").reset_index(drop=True)


def sizes(rows: Frame, arms: Sequence[str]) -> pd.DataFrame:
    """Mask size against the number of sentences, mean over seeds with the mean quartiles over captions, by arm."""
    mine = rows[rows["arm"].isin(list(arms))]
    frame = mine.groupby(["arm", "sentences"])[["size", "low", "high"]].mean().reset_index()
    rank = {arm: place for place, arm in enumerate(in_order(list(frame["arm"])))}
    frame = frame.assign(name=frame["arm"].map(arm_name), rank=frame["arm"].map(rank))
    return frame.sort_values(["rank", "sentences"]).drop(columns="rank").reset_index(drop=True)


def uninformative(masks: Frame) -> list[str]:
    """Attributes of one arm and seed whose sentences' masks are empty or the same as another attribute's.

    `masks` are rows of `smartclip_masks`; an attribute is named where all of its masks are so.
    """
    known = masks.dropna(subset=["attribute"])
    owners = known.groupby("mask")["attribute"].nunique()
    shared = known["mask"].map(owners).gt(1) | ~known["mask"].str.contains("1")
    poor = shared.groupby(known["attribute"], sort=False).all()
    return [str(name) for name in poor.index[poor]]
