"""Tidy frames of denoising trajectories and of the arms they come from.

Input frames have the columns of the tables `sapo_…` (engine/tables/sapo.py); a live answer (`Client.denoise`) has rows like
`sapo_tokens`. A row of `sapo_tokens` at step s holds the token after step s, and what was predicted before it.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from analyses import figures
from analyses.matching import mean_interval
from analyses.sapo import wilson

Frame = Any
MASKED, NOW, OLDER, KEPT = "masked", "committed this step", "older", "kept"
ARMS = {
    "base": "base",
    "diffu_grpo": "diffu-GRPO",
    "sapo": "SAPO",
    "grpo_longer": "diffu-GRPO, longer",
    "grpo_wider": "diffu-GRPO, wider",
    "sapo_no_indicator": "SAPO, no indicator",
    "process_only": "process reward only",
    "imported": "imported",
}
CELLS = {"sudoku": "Blank cells right"}
ANSWERS = "Answers right"
FIGURES = {
    "exact": "Solved exactly",
    "cell": ANSWERS,
    "junk": "Junk traces",
    "junk_given_correct": "Junk where exact",
    "trace_valid": "Valid traces",
    "already_right": "Already right, by step",
    "informative": "Groups with an advantage",
    "answer_lead": "Answer lead",
    "last_tenth": "Gain in last tenth",
    "evenness": "Evenness of gains",
}
MEASURES = {
    "reward": "Reward",
    "exact": "Solved exactly",
    "cell": ANSWERS,
    "junk": "Junk traces",
    "trace_valid": "Valid traces",
    "informative": "Groups with an advantage",
    "process": "Process reward",
    "kl": "KL to the base",
}
SHARES = ("exact", "cell", "junk", "trace_valid", "informative")
FILTERS = ("all", "exact", "not exact", "junk", "exact but junk", "exact and no junk")
BOUNDS = {"answer_lead": (-1.0, 1.0), "last_tenth": (-inf, inf)}


def arm_name(arm: str) -> str:
    return ARMS.get(arm, arm.replace("_", " "))


def cell_words(task: str) -> str:
    """What cell accuracy counts in a task: blank cells of a Sudoku, whole answers elsewhere."""
    return CELLS.get(task, ANSWERS)


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms in the order they are trained in, others after them."""
    return figures.in_order(arms, list(ARMS))


def grid(tokens: Frame) -> pd.DataFrame:
    """Every step × position of one trajectory with its `status`, and as `shown` the confidence that colours it.

    A masked cell has the confidence of the prediction before this step, a committed one that at its commitment; a position
    that never was masked (kept, when a span is masked again) has none. `flipped` says that the argmax differs from the
    step before.
    """
    frame = tokens.sort_values(["step", "position"]).reset_index(drop=True)
    committed = frame["committed_at"].fillna(np.inf).to_numpy(dtype=float)
    step = frame["step"].to_numpy(dtype=float)
    frame["status"] = np.select(
        [committed <= 0, step < committed, step == committed], [KEPT, MASKED, NOW], default=OLDER
    )
    at = frame[frame["status"] == NOW].set_index("position")["confidence"]
    own = frame["confidence"].where(frame["status"] != KEPT)
    frame["shown"] = own.where(frame["status"] != OLDER, frame["position"].map(at)).astype(float)
    before = frame.groupby("position")["argmax"].shift()
    frame["flipped"] = before.notna() & (frame["argmax"] != before) & (frame["status"] == MASKED)
    return frame


def parts_of(text: str) -> dict[str, tuple[int, int]]:
    """First and last position of trace and answer, told apart by "|"; rows of four for a grid; else nothing."""
    words = text.split()
    if "|" in words:
        bar = words.index("|")
        return {"trace": (0, bar - 1), "answer": (bar + 1, len(words) - 1)}
    if len(words) == 16:
        return {f"row {row + 1}": (4 * row, 4 * row + 3) for row in range(4)}
    return {}


def orders(tokens: Frame, rollouts: Frame) -> pd.DataFrame:
    """Step of commitment of every position of every rollout: columns rollout, position, committed_at, token.

    `tokens` may hold any one step or all; the rows of a rollout are as in `rollouts`.
    """
    one = tokens.drop_duplicates(["rollout", "position"], keep="last")
    found = one[one["rollout"].isin(rollouts["rollout"])]
    return found[["rollout", "position", "committed_at"]].sort_values(["rollout", "position"])


def kept_rollouts(rollouts: Frame, kind: str, show: str) -> pd.DataFrame:
    """Rollouts of a kind that pass one of FILTERS."""
    mine = rollouts[rollouts["kind"] == kind]
    exact, junk = mine["exact"].eq(True), mine["junk"].eq(True)
    passes = {
        "all": exact | True,
        "exact": exact,
        "not exact": mine["exact"].eq(False),
        "junk": junk,
        "exact but junk": exact & junk,
        "exact and no junk": exact & mine["junk"].eq(False),
    }
    return pd.DataFrame(mine[passes[show]])


def curve(rows: Frame, measure: str, split: str, against: str = "iteration") -> pd.DataFrame:
    """Mean and range over seeds of a measure, by arm: columns arm, name, x, mean, low, high, seeds.

    `against` is "iteration" or "passes" (forward passes of rollouts, mean over seeds); the rows are those of `sapo_curve`.
    """
    mine = rows[(rows["split"] == split)].dropna(subset=[measure])
    grouped = mine.groupby(["arm", "iteration"])
    frame = grouped.agg(
        mean=(measure, "mean"),
        low=(measure, "min"),
        high=(measure, "max"),
        seeds=("seed", "nunique"),
        passes=("passes", "mean"),
    ).reset_index()
    frame["x"] = frame["iteration"] if against == "iteration" else frame["passes"]
    frame["name"] = frame["arm"].map(arm_name)
    rank = {arm: place for place, arm in enumerate(in_order(list(frame["arm"])))}
    order = frame["arm"].map(rank).rename("rank")
    frame = frame.assign(rank=order).sort_values(["rank", "iteration"]).drop(columns="rank")
    return frame[["arm", "name", "x", "iteration", "passes", "mean", "low", "high", "seeds"]]


def curve_from_log(rows: Sequence[dict[str, Any]], measure: str) -> pd.DataFrame:
    """The same rows as `sapo_curve` for one measure, from what a run under way has logged ("arm.measure")."""
    suffix = f".{measure}"
    found = [
        (row["seed"], name.removesuffix(suffix), row["step"], value)
        for row in rows
        for name, value in row.items()
        if name.endswith(suffix) and value is not None
    ]
    frame = pd.DataFrame(found, columns=["seed", "arm", "iteration", measure])
    return frame.assign(split="training", passes=np.nan)


def smoothed(rows: Frame, measure: str, window: int) -> pd.DataFrame:
    """Rows of `sapo_curve` with a running mean over the last `window` iterations of each seed, arm and split."""
    frame = rows.sort_values("iteration").copy()
    grouped = frame.groupby(["seed", "arm", "split"])[measure]
    frame[measure] = grouped.transform(lambda values: values.rolling(window, min_periods=1).mean())
    return pd.DataFrame(frame)


def arm_figures(arms: Frame, names: Sequence[str] = tuple(FIGURES)) -> pd.DataFrame:
    """Figures of every arm with an interval: columns arm, name, figure, mean, low, high, seeds.

    Over two seeds or more a 95 % t interval of the mean over seeds, cut at what the figure can reach; for one seed a
    Wilson interval over test prompts where the figure is a share of them, else none.
    """
    rows = []
    for arm in in_order(list(arms["arm"])):
        part = arms[arms["arm"] == arm]
        for figure in names:
            values = part[figure].dropna().astype(float) if figure in part else pd.Series(dtype=float)
            if len(values):
                rows.append(
                    (arm, arm_name(arm), figure, values.mean(), *_interval(part, figure), len(values))
                )
    return pd.DataFrame(rows, columns=["arm", "name", "figure", "mean", "low", "high", "seeds"])


def _interval(part: Frame, figure: str) -> tuple[float, float]:
    values = part[figure].dropna().astype(float)
    if len(values) > 1:
        low, high = mean_interval(values)
        least, most = BOUNDS.get(figure, (0.0, 1.0))
        return max(low, least), min(high, most)
    row = part.loc[values.index[0]]
    trials = {"exact": row["n"], "junk": row["n"], "trace_valid": row["n"]}
    if pd.notna(row["exact"]):
        trials["junk_given_correct"] = row["exact"] * row["n"]
    if figure not in trials:
        return np.nan, np.nan
    n = round(float(trials[figure]))
    return wilson(float(row[figure]) * n, n)


def paired_difference(arms: Frame, figure: str, ours: str, theirs: str) -> tuple[float, float, float, int]:
    """Mean of `ours` less `theirs` over seeds that have both, its 95 % t interval (NaN below two), and their number."""
    table = arms.pivot_table(index="seed", columns="arm", values=figure)
    if ours not in table or theirs not in table:
        return np.nan, np.nan, np.nan, 0
    differences = (table[ours] - table[theirs]).dropna()
    if len(differences) < 2:
        return float(differences.mean()), np.nan, np.nan, len(differences)
    low, high = mean_interval(differences)
    return float(differences.mean()), low, high, len(differences)
