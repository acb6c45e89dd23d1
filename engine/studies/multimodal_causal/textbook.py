"""Associations any graph over NHANES must show, and the rule that counts them; written before anything was trained."""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

LOADS, SHARE = 0.5, 0.8
GROUPS: Mapping[str, tuple[str, ...]] = {
    "adiposity": ("weight", "BMI", "waist"),
    "stature": ("height",),
    "blood pressure": ("systolic", "diastolic"),
    "pulse": ("pulse",),
    "lipids": ("HDL", "total cholesterol"),
    "HbA1c or HDL": ("HbA1c", "HDL"),
    "any of the blood": ("HbA1c", "HDL", "total cholesterol"),
    "lead or cadmium": ("lead", "cadmium"),
    "mercury or selenium": ("mercury", "selenium"),
    "protein": ("protein",),
    "depression": (
        "little interest", "feeling down", "sleep problems", "tired", "appetite", "feeling bad", "concentration",
        "slow or restless", "better off dead",
    ),
}  # fmt: skip
TEXTBOOK = (
    ("adiposity", "blood pressure"),
    ("adiposity", "HbA1c or HDL"),
    ("stature", "lipids"),
    ("blood pressure", "lipids"),
    ("pulse", "HbA1c or HDL"),
    ("adiposity", "lead or cadmium"),
    ("any of the blood", "mercury or selenium"),
    ("mercury or selenium", "protein"),
    ("adiposity", "depression"),
)
RULE = (
    f"An association counts where an edge of either direction joins a latent that correlates by {LOADS} or more with a "
    f"variable of the one group and a latent that does so with a variable of the other, in {SHARE:.0%} of the bootstraps "
    "or more."
)


def _loading(loadings: pd.DataFrame) -> dict[str, set[str]]:
    """Group → latents that load on it."""
    strong = loadings[loadings["correlation"].abs() >= LOADS]
    return {
        group: set(strong.loc[strong["variable"].isin(variables), "latent"])
        for group, variables in GROUPS.items()
    }


def associations(edges: pd.DataFrame, loadings: pd.DataFrame) -> dict[tuple[str, str], bool]:
    """Every pair of groups that share no modality → whether it counts, for the edges and loadings of one seed and method."""
    loads = _loading(loadings)
    modality = loadings.drop_duplicates("variable").set_index("variable")["modality"].to_dict()
    sure = edges[edges["bootstrap_share"] >= SHARE]
    joined = {frozenset(pair) for pair in zip(sure["source"], sure["target"], strict=True)}

    def counts(a: str, b: str) -> bool:
        return any(frozenset((x, y)) in joined for x in loads[a] for y in loads[b] if x != y)

    return {
        (a, b): counts(a, b)
        for a, b in combinations(GROUPS, 2)
        if modality[GROUPS[a][0]] != modality[GROUPS[b][0]]
    }


def textbook_share(edges: pd.DataFrame, loadings: pd.DataFrame) -> tuple[float, float]:
    """Share of the textbook associations that count, and that of all other pairs of groups (what a full graph would show)."""
    found = associations(edges, loadings)
    wanted = {frozenset(pair) for pair in TEXTBOOK}
    textbook = [counts for pair, counts in found.items() if frozenset(pair) in wanted]
    others = [counts for pair, counts in found.items() if frozenset(pair) not in wanted]
    return sum(textbook) / len(textbook), sum(others) / len(others)
