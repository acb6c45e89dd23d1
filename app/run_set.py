"""The SAEs of the chosen runs, their labels and every pair's matching."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from app.connection import cross_match, table

MAX_ROWS = 1000


@dataclass(frozen=True)
class Sae:
    """One trained SAE: its run, its seed and the label it has on the page."""

    run: str
    seed: int
    label: str


def label_saes(runs: list[dict[str, Any]]) -> list[Sae]:
    """SAEs of the runs; what differs between the runs' settings stands in their labels."""
    differing = (
        [name for name in runs[0]["config"] if len({str(run["config"].get(name)) for run in runs}) > 1]
        if len(runs) > 1
        else []
    )
    saes = []
    for run in runs:
        words = [f"{name} {run['config'].get(name)}" for name in differing[:2]]
        if len({run["data_seed"] for run in runs}) > 1:
            words.append(f"data {run['data_seed']}")
        saes += [Sae(run["id"], seed, " · ".join([*words, f"seed {seed}"])) for seed in run["seeds"]]
    labels = [sae.label for sae in saes]
    return [
        sae if labels.count(sae.label) == 1 else Sae(sae.run, sae.seed, f"{sae.run[:6]} · {sae.label}")
        for sae in saes
    ]


def pair_name(a: str, b: str) -> str:
    return f"{a} × {b}"


def all_pairs(saes: list[Sae], subset: str) -> pd.DataFrame:
    """One row per pair of SAEs: label_a, label_b, name, and the columns of the table `pairs`."""
    rows = []
    for a, b in combinations(saes, 2):
        if a.run == b.run:
            found = table(a.run, "pairs", {"subset": subset, "seed_a": a.seed, "seed_b": b.seed})
            if not len(found):
                continue
            summary = found.iloc[0].to_dict()
        else:
            summary = cross_match((a.run, a.seed), (b.run, b.seed), subset)[0]
        rows.append({"label_a": a.label, "label_b": b.label, "name": pair_name(a.label, b.label), **summary})
    return pd.DataFrame(rows)


def matches(a: Sae, b: Sae, subset: str) -> pd.DataFrame:
    """Every matched feature of a pair, most similar first, with label_a and label_b."""
    if a.run == b.run:
        found = table(a.run, "matches", {"subset": subset, "seed_a": a.seed, "seed_b": b.seed}, "rank")
    else:
        found = cross_match((a.run, a.seed), (b.run, b.seed), subset)[1]
    return found.assign(label_a=a.label, label_b=b.label, subset=subset)


def contexts(sae: Sae, feature: int) -> pd.DataFrame:
    """Held-out contexts with the feature's largest activations: value, token, and the text with ⟦token⟧ in it."""
    found = table(sae.run, "contexts", {"seed": sae.seed, "feature": feature}, "rank")
    text = found["before"] + "⟦" + found["token"] + "⟧" + found["after"]
    return found[["value", "token"]].assign(context=text)
