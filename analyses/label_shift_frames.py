"""Tidy frames of deployments round by round: arms, forecasts, mechanisms, choices.

Input frames have the columns of the tables `shift_…` (engine/tables/label_shift.py). "Late" rounds are the second half of
those with the first backbone. Losses are in nats.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses import figures
from analyses.label_shift import ADAPTER, ARMS, BBSE, EM, FINE_TUNE, LAST, NONE, ORACLE, TAU
from analyses.matching import mean_interval

Frame = Any
NEEDS = {
    NONE: "nothing",
    LAST: "labels of the last round",
    TAU: "labels of past rounds",
    ADAPTER: "labels of past rounds",
    EM: "this round's inputs",
    BBSE: "this round's inputs",
    ORACLE: "this round's true shares",
    FINE_TUNE: "this round's labels",
}
FORECASTS = (NONE, LAST, TAU, ADAPTER)
MEASURES = {"excess_nll": "Excess loss (nats)", "accuracy": "Accuracy", "nll": "Log loss (nats)"}
SHARES = ("accuracy",)
RULES = {
    "by_adapter": "forecast by the adapter",
    "by_fit": "forecast by the one-parameter fit",
    "present": "accuracy now",
    "random": "any candidate alike",
}
OWN, OTHER = "its own next rounds", "rounds of the oracle's world"


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms in the order of the comparison."""
    return figures.in_order(arms, ARMS)


def late(rounds: Frame) -> pd.DataFrame:
    """The rows of the second half of the rounds with the first backbone."""
    first = rounds[~rounds["swapped"].astype(bool)]
    return pd.DataFrame(first[first["round"] >= (first["round"].max() + 1) // 2])


def over_seeds(values: "pd.Series[float]") -> tuple[float, float, float]:
    """Mean and 95 % t interval of values by seed; the interval is NaN for one seed."""
    low, high = mean_interval(values) if len(values) > 1 else (np.nan, np.nan)
    return float(values.mean()), low, high


def arm_scores(rounds: Frame) -> pd.DataFrame:
    """An arm a row: needs, and means over seeds of accuracy, excess (with low, high), nll, kl in the given rounds."""
    rows = []
    for arm in in_order(list(rounds["arm"])):
        by_seed = (
            rounds[rounds["arm"] == arm]
            .groupby("seed")[["accuracy", "nll", "excess_nll", "kl", "shift"]]
            .mean()
        )
        excess, low, high = over_seeds(by_seed["excess_nll"])
        means = by_seed.mean()
        rows.append(
            {
                "arm": arm, "needs": NEEDS.get(arm, ""), "excess_nll": excess, "low": low, "high": high,
                "accuracy": means["accuracy"], "nll": means["nll"], "kl": means["kl"], "shift": means["shift"],
                "seeds": len(by_seed),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def running(rounds: Frame, measure: str, arms: Sequence[str], window: int) -> pd.DataFrame:
    """A running mean over the last `window` rounds of each seed: arm, round, mean, low, high (smallest and
    largest seed), seeds."""
    mine = rounds[rounds["arm"].isin(arms)].sort_values("round")
    smooth = mine.assign(
        value=mine.groupby(["arm", "seed"])[measure].transform(
            lambda one: one.rolling(window, min_periods=1).mean()
        )
    )
    grouped = smooth.groupby(["arm", "round"])["value"]
    frame = grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()
    rank = frame["arm"].map({arm: place for place, arm in enumerate(in_order(list(arms)))})
    frame = frame.assign(rank=rank).sort_values(["rank", "round"])
    return frame[["arm", "round", "mean", "low", "high", "seeds"]].reset_index(drop=True)


def steps(rounds: Frame, measure: str, arms: Sequence[str], first: int, last: int) -> pd.DataFrame:
    """Each round's measure before and after the arm adapts, mean over seeds: arm, round, before, after."""
    mine = rounds[rounds["arm"].isin(arms) & rounds["round"].between(first, last)]
    found = mine.groupby(["arm", "round"])[[f"{measure}_before", measure]].mean().reset_index()
    found.columns = pd.Index(["arm", "round", "before", "after"])
    rank = found["arm"].map({arm: place for place, arm in enumerate(in_order(list(arms)))})
    return found.assign(rank=rank).sort_values(["rank", "round"]).drop(columns="rank").reset_index(drop=True)


def class_names(data: Frame) -> list[str]:
    """Names of the classes in order, from `shift_data`."""
    return [str(name) for name in data.drop_duplicates("class").sort_values("class")["name"]]


def share_map(classes: Frame, what: str) -> pd.DataFrame:
    """Classes × rounds of one arm and seed: what is "true", "forecast" or their "difference" (forecast less true)."""
    values = {
        "true": classes["p_true"],
        "forecast": classes["p_forecast"],
        "difference": classes["p_forecast"] - classes["p_true"],
    }[what]
    return classes.assign(value=values).pivot(index="class", columns="round", values="value")


def round_of(classes: Frame, number: int) -> pd.DataFrame:
    """A round of one arm and seed by class, with the class accuracies of the round before (`answered`), NaN in round 0."""
    now = classes[classes["round"] == number].set_index("class")
    before = classes[classes["round"] == number - 1].set_index("class")["class_accuracy"]
    return now.assign(answered=before.reindex(now.index)).reset_index()


def mechanism(rows: Frame, usual: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Learnt and true d log p / dS (targets × sources), mean over seeds; `usual`: for one standard deviation of each S."""
    factor = rows["spread"] if usual else 1.0
    scaled = rows.assign(learnt=rows["learnt"] * factor, truth=rows["truth"] * factor)
    means = scaled.groupby(["target", "source"])[["learnt", "truth"]].mean().reset_index()
    learnt, truth = (
        means.pivot(index="target", columns="source", values=name) for name in ("learnt", "truth")
    )
    return learnt, truth


def regrets(choices: Frame) -> pd.DataFrame:
    """Accuracy lost, against the best candidate after deployment, under each rule: rule, seed, regret (mean over decisions)."""
    if not len(choices):
        return pd.DataFrame({"rule": [], "seed": [], "regret": []})
    rounds = choices.groupby(["seed", "round"])
    best, parts = rounds["revealed"].max(), []
    for rule, words in RULES.items():
        if rule == "random":
            reached = rounds["revealed"].mean()
        else:
            reached = choices.loc[rounds[rule].idxmax()].set_index(["seed", "round"])["revealed"]
        lost = (best - reached).groupby("seed").mean()
        parts.append(pd.DataFrame({"rule": words, "seed": lost.index, "regret": lost.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def error_by_shift(rounds: Frame, arms: Sequence[str], bins: int = 8) -> pd.DataFrame:
    """Forecast error against how far the shares are from uniform: arm, shift, kl (bin means), rounds. Bins are quantiles."""
    mine = rounds[rounds["arm"].isin(arms) & (rounds["round"] > 0)]
    if not len(mine):
        return pd.DataFrame({"arm": [], "shift": [], "kl": [], "rounds": []})
    edges = np.unique(np.quantile(mine["shift"], np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, mine["shift"], side="right") - 1, 0, max(0, len(edges) - 2))
    found = (
        mine.assign(bin=place)
        .groupby(["arm", "bin"])
        .agg(shift=("shift", "mean"), kl=("kl", "mean"), rounds=("kl", "size"))
        .reset_index()
    )
    rank = found["arm"].map({arm: number for number, arm in enumerate(in_order(list(arms)))})
    return (
        found.assign(rank=rank)
        .sort_values(["rank", "bin"])[["arm", "shift", "kl", "rounds"]]
        .reset_index(drop=True)
    )


def few_shot(rounds: Frame, few: Frame) -> pd.DataFrame:
    """Forecast error against pairs seen: of, method, pairs, mean, low, high (smallest and largest seed), seeds.

    On `OWN` rounds: those between one number of pairs and the next, of an arm's own trajectory; on `OTHER` rounds: the
    second half of the oracle arm's, which no forecaster learnt from.
    """
    grid = sorted(set(few["pairs"]))
    parts = [few.assign(of=OTHER)]
    first = rounds[~rounds["swapped"].astype(bool) & (rounds["round"] > 1)]
    for arm in (ADAPTER, TAU, NONE):
        mine = first[first["arm"] == arm]
        place = np.searchsorted(grid, mine["round"] - 1, side="right") - 1
        known = mine.assign(pairs=np.array(grid)[np.maximum(place, 0)]) if grid else mine.assign(pairs=0)
        own = known.groupby(["seed", "pairs"])["kl"].mean().reset_index()
        parts.append(own.assign(of=OWN, method=arm))
    frame = pd.concat(parts, ignore_index=True)
    rows = [
        (of, method, pairs, part["kl"].mean(), part["kl"].min(), part["kl"].max(), len(part))
        for (of, method, pairs), part in frame.groupby(["of", "method", "pairs"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["of", "method", "pairs", "mean", "low", "high", "seeds"])


def summary(rounds: Frame, recovery: Frame, agreement: Frame) -> dict[str, tuple[float, float, float]]:
    """The first strip: (mean, low, high) of each figure over seeds, NaN for what is unknown.

    Keys: seeds (correlation of the mechanisms of two seeds; range over pairs), seeds_null (its chance; 97.5 % quantile as
    high), truth, truth_null, kl and excess (of the adapter), kl_none and excess_none.
    """
    now = late(rounds)
    unknown = (np.nan, np.nan, np.nan)
    pairs = agreement["correlation"]
    found = {
        "seeds": (float(pairs.mean()), float(pairs.min()), float(pairs.max())) if len(pairs) else unknown,
        "seeds_null": _chance(agreement),
        "truth": over_seeds(recovery["correlation"].dropna())
        if recovery["correlation"].notna().any()
        else unknown,
        "truth_null": _chance(recovery.dropna(subset=["correlation"])),
    }
    for name, arm in (("", ADAPTER), ("_none", NONE)):
        by_seed = now[now["arm"] == arm].groupby("seed")[["kl", "excess_nll"]].mean()
        found[f"kl{name}"], found[f"excess{name}"] = (
            over_seeds(by_seed["kl"]),
            over_seeds(by_seed["excess_nll"]),
        )
    return found


def _chance(rows: Frame) -> tuple[float, float, float]:
    return (
        (float(rows["null"].mean()), np.nan, float(rows["null_high"].max()))
        if len(rows)
        else (np.nan, np.nan, np.nan)
    )
