"""The SAEs of the chosen runs, their labels and every pair's matching."""

import json
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from app.connection import cross_match, table

MAX_ROWS = 1000


@dataclass(frozen=True)
class Sae:
    """One trained SAE: its run, its seed, the label it has on the page, and which settings it belongs to."""

    run: str
    seed: int
    label: str
    settings: int


def by_settings(runs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The runs in groups of equal settings and data order, whose SAEs differ in the seed alone."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run["config"], run["data_seed"]], sort_keys=True), []).append(run)
    return list(groups.values())


def differences(groups: list[list[dict[str, Any]]]) -> list[str]:
    """What sets each group of runs apart, in at most two settings and the data order; empty for one group."""
    firsts = [group[0] for group in groups]
    names = [
        name for name in firsts[0]["config"] if len({str(run["config"].get(name)) for run in firsts}) > 1
    ]
    orders = len({run["data_seed"] for run in firsts}) > 1
    return [
        " · ".join(
            [f"{name} {run['config'].get(name)}" for name in names[:2]]
            + ([f"data {run['data_seed']}"] if orders else [])
        )
        for run in firsts
    ]


def label_saes(groups: list[list[dict[str, Any]]]) -> list[Sae]:
    """Every different SAE of the runs; what sets its settings apart stands in its label."""
    saes: list[Sae] = []
    for index, (group, words) in enumerate(zip(groups, differences(groups), strict=True)):
        run_of = {seed: run["id"] for run in reversed(group) for seed in run["seeds"]}
        for seed in sorted(run_of):
            saes.append(Sae(run_of[seed], seed, f"{words} · seed {seed}" if words else f"seed {seed}", index))
    labels = [sae.label for sae in saes]
    return [
        sae if labels.count(sae.label) == 1 else replace(sae, label=f"{sae.run[:6]} · {sae.label}")
        for sae in saes
    ]


def pair_name(a: str, b: str) -> str:
    return f"{a} × {b}"


def all_pairs(saes: list[Sae], subset: str) -> pd.DataFrame:
    """One row per pair of SAEs: label_a, label_b, name, the columns of the table `pairs`, and same_settings."""
    rows = []
    for a, b in combinations(saes, 2):
        if a.run == b.run:
            found = table(a.run, "pairs", {"subset": subset, "seed_a": a.seed, "seed_b": b.seed})
            if not len(found):
                continue
            summary = found.iloc[0].to_dict()
        else:
            summary = cross_match((a.run, a.seed), (b.run, b.seed), subset)[0]
        names = {"label_a": a.label, "label_b": b.label, "name": pair_name(a.label, b.label)}
        rows.append({**names, **summary, "subset": subset, "same_settings": a.settings == b.settings})
    return pd.DataFrame(rows)


def matches(a: Sae, b: Sae, subset: str) -> pd.DataFrame:
    """Every matched feature of a pair, most similar first, with label_a and label_b."""
    if a.run == b.run:
        found = table(a.run, "matches", {"subset": subset, "seed_a": a.seed, "seed_b": b.seed}, "rank")
    else:
        found = cross_match((a.run, a.seed), (b.run, b.seed), subset)[1]
    return found.assign(label_a=a.label, label_b=b.label, subset=subset)


def contexts(sae: Sae, feature: int) -> pd.DataFrame:
    """Held-out contexts with the feature's largest activations: value, and the text with ⟦token⟧ in it."""
    found = table(sae.run, "contexts", {"seed": sae.seed, "feature": feature}, "rank")
    text = found["before"] + "⟦" + found["token"] + "⟧" + found["after"]
    return found[["value"]].assign(context=text)
