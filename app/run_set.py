"""The SAEs of the chosen runs, their labels and every pair's matching."""

import json
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from analyses.sae_sweep import recipe_name, sparsity_text
from app.connection import cross_match, table
from app.widgets import VARIES, gradually, origin

MAX_ROWS = 1000
CROSS_UP_TO = 12  # SAEs that are matched across runs without being asked
SAME_FEATURE = 0.7
RECIPE = (
    "architecture", "k", "l1_coefficient", "control", "weight_decay", "orthogonality", "align_encoder",
    "decoder_norm",
)  # fmt: skip
FIRST = (
    "model", "hook_point", "source", "world", "start_from", "seed_varies", "d_sae", "n_true_features", "n_steps",
    "n_tokens",
)  # fmt: skip
Run = dict[str, Any]


@dataclass(frozen=True)
class Sae:
    """One trained SAE: its run, its seed, the label it has on the page, and which settings it belongs to."""

    run: str
    seed: int
    label: str
    settings: int


@dataclass(frozen=True)
class Group:
    """Runs of equal settings and data order, whose SAEs differ in the seed alone.

    `words` is what sets the settings apart from the other groups of the page; empty when there are none.
    """

    words: str
    runs: tuple[Run, ...]
    saes: tuple[Sae, ...]

    @property
    def id(self) -> str:
        return str(self.runs[0]["id"])

    @property
    def config(self) -> dict[str, Any]:
        return self.runs[0]["config"]

    @property
    def is_world(self) -> bool:
        return bool(self.config["source"] == "synthetic")


def groups(runs: list[Run]) -> list[Group]:
    """The runs by settings, every different SAE labelled."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(json.dumps([run["config"], run["data_seed"]], sort_keys=True), []).append(run)
    together = list(parts.values())
    words = differences([part[0] for part in together])
    saes = _labelled(together, words)
    return [
        Group(words[index], tuple(part), tuple(sae for sae in saes if sae.settings == index))
        for index, part in enumerate(together)
    ]


def differences(runs: list[Run]) -> list[str]:
    """What sets runs of different settings apart: the recipe, one or two other settings, and the data order."""
    varying = [
        name for name in runs[0]["config"] if len({json.dumps(run["config"].get(name)) for run in runs}) > 1
    ]
    recipe = [name for name in varying if name in RECIPE]
    others = [name for name in varying if name not in RECIPE]
    others = [*(n for n in FIRST if n in others), *(n for n in others if n not in FIRST)][
        : 1 if recipe else 2
    ]
    orders = len({run["data_seed"] for run in runs}) > 1
    found = []
    for run in runs:
        config = run["config"]
        words = [recipe_name(config)] if set(recipe) - {"k", "l1_coefficient"} else []
        words += [sparsity_text(config)] if recipe else []
        words += [setting(config, name) for name in others]
        found.append(" · ".join([*words, *([f"data {run['data_seed']}"] if orders else [])]))
    return found


def setting(config: dict[str, Any], name: str) -> str:
    """One setting in words."""
    if name == "start_from":
        return origin(config) or "from a random start"
    if name == "seed_varies":
        return VARIES[config.get(name, "init")]
    return f"{name} {config.get(name)}"


def _labelled(together: list[list[Run]], words: list[str]) -> list[Sae]:
    saes: list[Sae] = []
    for index, part in enumerate(together):
        run_of = {seed: run["id"] for run in reversed(part) for seed in run["seeds"]}
        for seed in sorted(run_of):
            label = f"{words[index]} · seed {seed}" if words[index] else f"seed {seed}"
            saes.append(Sae(run_of[seed], seed, label, index))
    labels = [sae.label for sae in saes]
    return [
        sae if labels.count(sae.label) == 1 else replace(sae, label=f"{sae.run[:6]} · {sae.label}")
        for sae in saes
    ]


def pair_name(a: str, b: str) -> str:
    return f"{a} × {b}"


def own_pairs(saes: tuple[Sae, ...], subset: str) -> pd.DataFrame:
    """One row per pair of SAEs of the same run: the columns of the table `pairs`, and label_a, label_b, name,
    run_a, run_b, same_settings."""
    labels = {(sae.run, sae.seed): sae.label for sae in saes}
    parts = []
    for run in dict.fromkeys(sae.run for sae in saes):
        rows = table(run, "pairs")
        keys = [[(run, seed) for seed in rows[column]] for column in ("seed_a", "seed_b")]
        rows = rows.assign(
            label_a=[labels.get(key) for key in keys[0]],
            label_b=[labels.get(key) for key in keys[1]],
            run_a=run,
            run_b=run,
            same_settings=True,
        )
        parts.append(rows[(rows["subset"] == subset) & rows["label_a"].notna() & rows["label_b"].notna()])
    found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    names = [pair_name(a, b) for a, b in zip(found["label_a"], found["label_b"], strict=True)]
    return found.assign(name=names)


def all_pairs(saes: tuple[Sae, ...], subset: str) -> pd.DataFrame:
    """`own_pairs`, and every pair of SAEs of different runs, matched now; shows how far it is when that takes long."""
    found = own_pairs(saes, subset)
    across = [(a, b) for a, b in combinations(saes, 2) if a.run != b.run]
    rows = []
    for a, b in gradually(across, "Matching features of pairs"):
        summary, matched = cross_match((a.run, a.seed), (b.run, b.seed), subset)
        rows.append(
            {
                **summary,
                "shared_share": float((matched["cosine"].abs() >= SAME_FEATURE).mean()),
                "subset": subset,
                "seed_a": a.seed,
                "seed_b": b.seed,
                "label_a": a.label,
                "label_b": b.label,
                "run_a": a.run,
                "run_b": b.run,
                "name": pair_name(a.label, b.label),
                "same_settings": a.settings == b.settings,
            }
        )
    parts = [part for part in (found, pd.DataFrame(rows)) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else found


def matches(pair: dict[str, Any], subset: str) -> pd.DataFrame:
    """Every matched feature of a row of `all_pairs`, most similar first, with label_a and label_b."""
    if pair["run_a"] == pair["run_b"]:
        rows = table(pair["run_a"], "matches", {"subset": subset})
        own = (rows["seed_a"] == pair["seed_a"]) & (rows["seed_b"] == pair["seed_b"])
        found = rows[own].sort_values("rank")
    else:
        a, b = (pair["run_a"], pair["seed_a"]), (pair["run_b"], pair["seed_b"])
        found = cross_match(a, b, subset)[1]
    ends = {name: pair[name] for name in ("seed_a", "seed_b", "label_a", "label_b")}
    return found.assign(**ends, subset=subset)


def comparable(group: Group) -> tuple[Sae, ...]:
    """The SAEs of a group that are matched with each other: all, or those of its largest run where they are many."""
    sizes = {run["id"]: len(run["seeds"]) for run in group.runs}
    if len(group.saes) <= CROSS_UP_TO or len(sizes) == 1:
        return group.saes
    largest = max(sizes, key=sizes.__getitem__)
    return tuple(sae for sae in group.saes if sae.run == largest)


def pair_matches(pairs: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Every matched feature of every row of `all_pairs`."""
    parts = [matches(pair, subset) for pair in pairs.to_dict("records")]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def rows_of(group: Group, name: str, where: dict[str, Any] | None = None) -> pd.DataFrame:
    """A table of all runs of a group; a seed that two runs hold is taken from the first."""
    parts = []
    for run in dict.fromkeys(sae.run for sae in group.saes):
        rows = table(run, name, where)
        seeds = [sae.seed for sae in group.saes if sae.run == run]
        parts.append(rows[rows["seed"].isin(seeds)] if "seed" in rows else rows)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def contexts(run: str, seed: int, feature: int) -> pd.DataFrame:
    """Held-out contexts with the feature's largest activations: value, and the text with ⟦token⟧ in it."""
    found = table(run, "contexts", {"seed": seed, "feature": feature}, "rank")
    text = found["before"] + "⟦" + found["token"] + "⟧" + found["after"]
    return found[["value"]].assign(context=text)
