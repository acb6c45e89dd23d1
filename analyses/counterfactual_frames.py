"""Tidy frames of content and style: arms over seeds, influence, latents that were moved, rewritten sentences.

Input frames have the columns of the tables `cf_…` (engine/tables/counterfactual_text.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses import figures
from analyses.counterfactual_text import COLLAPSED, Supports, supports
from analyses.matching import mean_interval

Frame = Any
ARMS = {
    "matte": "MATTE",
    "independent": "independent flow",
    "no_sparsity": "no sparsity",
    "beta_vae": "β-VAE",
    "lexicon_flip": "lexicon flip (VADER)",
    "identity_copy": "identity copy",
}
ROUTES = {
    "noise": "through s̃",
    "style": "swapping s",
    "latent": "one latent",
    "words": "words",
    "copy": "as it is",
}
RECOVERY = {
    "r2_content": "c from learnt c",
    "r2_content_back": "learnt c from c",
    "r2_noise": "s̃ from learnt s̃",
    "r2_noise_back": "learnt s̃ from s̃",
    "leak": "s̃ from learnt c (leak)",
    "leak_back": "c from learnt s̃ (leak)",
}
ERRORS = {"cf_noise": "through s̃", "cf_style": "swapping s"}
SCORES = {
    "accuracy": "Style accuracy",
    "bleu": "Self-BLEU",
    "chrf": "chrF",
    "g": "G-score",
    "g_accuracy": "G of accuracy",
    "perplexity": "Perplexity",
    "unmoved_bleu": "BLEU unmoved",
    "unchanged": "Unchanged",
    "empty": "Empty",
}
OUTCOMES = ("all", "moved", "failed", "unchanged")
ALL = "all"


def arm_name(arm: str, route: str = "") -> str:
    """An arm in words, with how it is moved where that differs."""
    name = ARMS.get(arm, arm)
    return (
        f"{name}, {ROUTES.get(route, route)}"
        if arm in ("matte", "independent", "no_sparsity") and route
        else name
    )


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms in the order of the comparison."""
    return figures.in_order(arms, list(ARMS))


def over_seeds(values: Any) -> tuple[float, float, float]:
    """Mean and 95 % t interval of values by seed; NaN for what is unknown."""
    found = pd.Series(values, dtype=float).dropna()
    if found.empty:
        return np.nan, np.nan, np.nan
    low, high = mean_interval(found) if len(found) > 1 else (np.nan, np.nan)
    return float(found.mean()), low, high


def by_arm(bench: Frame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Figures of known worlds in rows: arm, measure, seed, value; arms in order."""
    found = bench.melt(["seed", "arm"], list(columns), "column", "value")
    found["measure"] = found["column"].map(columns)
    rank = {arm: place for place, arm in enumerate(in_order(list(bench["arm"])))}
    place = {column: number for number, column in enumerate(columns)}
    found = found.assign(rank=found["arm"].map(rank), place=found["column"].map(place))
    return found.sort_values(["rank", "place", "seed"])[["arm", "measure", "seed", "value"]].reset_index(
        drop=True
    )


def agreement(rows: Frame, arm: str, block: str) -> tuple[float, float, float]:
    """R² of a block between two seeds: mean over pairs, its chance, number of pairs; NaN without a pair."""
    mine = rows[(rows["arm"] == arm) & (rows["block"] == block)]
    if mine.empty:
        return np.nan, np.nan, 0.0
    return float(mine["r2"].mean()), float(mine["null"].mean()), float(len(mine))


def influence_map(rows: Frame, most: int = 64) -> tuple[pd.DataFrame, Supports]:
    """Influence (outputs × latents, content first) of an arm and seed, and what its supports are.

    Outputs are in the order of style's share; of more than `most` as many are drawn evenly for the picture.
    """
    names = {"content": "c", "style": "s"}
    labelled = rows.assign(latent=rows["block"].map(names) + (rows["dim"] + 1).astype(str))
    order = list(dict.fromkeys(labelled.sort_values(["block", "dim"])["latent"]))
    table = labelled.pivot(index="output", columns="latent", values="value")[order]
    d_style = sum(name.startswith("s") for name in order)
    found = supports(table.to_numpy(), d_style)
    total = table.sum(axis=1)
    share = (table.iloc[:, -d_style:].sum(axis=1) / total.where(total > 0, 1)).sort_values(kind="stable")
    kept = share.index[np.unique(np.linspace(0, len(share) - 1, min(most, len(share))).astype(int))]
    return table.loc[kept], found


def divergences(curve: Frame, arm: str) -> pd.DataFrame:
    """KL of both blocks against steps, mean, smallest and largest seed: block, step, mean, low, high."""
    mine = curve[curve["arm"] == arm]
    parts = []
    for block, column in (("content", "kl_content"), ("style", "kl_style")):
        found = mine.groupby("step")[column].agg(mean="mean", low="min", high="max").reset_index()
        parts.append(found.assign(block=block))
    return pd.concat(parts, ignore_index=True)[["block", "step", "mean", "low", "high"]]


def collapsed(arms: Frame) -> list[str]:
    """Arm, seed and block of every divergence below half a nat at the end: the block carries next to nothing."""
    found = []
    for row in arms.itertuples():
        for block, value in (("content", row.kl_content), ("style", row.kl_style)):
            if value < COLLAPSED:
                found.append(f"{block} of {arm_name(str(row.arm))}, seed {row.seed} ({value:.2f} nats)")
    return found


def score_rows(scores: Frame, domain: str = ALL) -> pd.DataFrame:
    """An arm and route a row, means over seeds of every score, with the interval of the G-score and the seeds."""
    mine = scores[scores["domain"] == domain]
    rows = []
    for arm in in_order(list(mine["arm"])):
        for route in dict.fromkeys(mine.loc[mine["arm"] == arm, "route"]):
            part = mine[(mine["arm"] == arm) & (mine["route"] == route)]
            _, low, high = over_seeds(part["g"])
            means = {column: over_seeds(part[column])[0] for column in SCORES}
            rows.append(
                {
                    "arm": arm,
                    "route": route,
                    "name": arm_name(arm, route),
                    **means,
                    "g_low": low,
                    "g_high": high,
                    "seeds": len(part),
                }
            )
    return pd.DataFrame(rows)


def outcome(pairs: Frame) -> "pd.Series[str]":
    """What became of each pair: "unchanged", "moved" (judged to have the target style) or "failed"; "moved" where no judge is."""
    known = pairs["style_after"].notna()
    failed = known & (pairs["style_after"].astype(float) <= 0.5)
    found = pd.Series(np.where(failed, "failed", "moved"), index=pairs.index)
    return found.where(~pairs["unchanged"].astype(bool), "unchanged")


def chosen_pairs(pairs: Frame, domain: str, result: str) -> pd.DataFrame:
    """Pairs of a domain (or "all") with an outcome (or "all"), and the outcome as a column."""
    found = pairs.assign(outcome=outcome(pairs))
    if domain != ALL:
        found = found[found["domain"] == domain]
    return found[found["outcome"] == result] if result != ALL else found


def live_latents(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Latents before and after a move: latent, block, before, after."""
    short = {"content": "c", "style": "s", "style noise": "s̃"}
    rows = [
        {
            "latent": f"{short[one['block']]}{one['dim'] + 1}",
            **{k: one[k] for k in ("block", "before", "after")},
        }
        for one in answer["latents"]
    ]
    return pd.DataFrame(rows)


def live_outputs(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Outputs of a world's row before and after a move, here and in another domain: output, what, value."""
    lines = {
        "seen": answer["seen"]["values"],
        "as the model writes it": answer["unmoved"]["values"],
        f"moved in {answer['domain']}": answer["after"]["written"]["values"],
        f"moved in {answer['other']}": answer["after_other"]["written"]["values"],
    }
    return pd.DataFrame(
        [
            {"output": place + 1, "what": what, "value": value}
            for what, values in lines.items()
            for place, value in enumerate(values)
        ]
    )
