"""What the parts of the page Denoising share: the run, its policies, the first strip."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analyses.matching import mean_interval
from analyses.sapo import wilson
from analyses.sapo_frames import arm_name, cell_words, in_order
from app.causal_parts import forget_unless
from app.connection import table
from app.study_runs import Run
from app.widgets import describe

STUDY = "sapo"
IMPORTED = "imported"


@dataclass(frozen=True)
class Policy:
    """Weights of one arm and seed of a run (or one imported file), and what they are called on this page."""

    run: Run
    arm: str
    seed: int
    label: str

    @property
    def where(self) -> dict[str, object]:
        return {"seed": self.seed, "arm": self.arm}

    @property
    def cells(self) -> str:
        """What cell accuracy is called for one rollout."""
        return "cells" if task_of(self.run) == "sudoku" else "answer"

    def rows(self, name: str) -> pd.DataFrame:
        """The policy's rows of a table of its run."""
        return table(self.run["id"], name, self.where)


def is_imported(run: Run) -> bool:
    return bool(run["config"]["imported"])


def why_no_policy(run: Run) -> str:
    """Why nothing can be denoised live under a run's policies; empty where it can."""
    if is_imported(run):
        return "Imported generations come without weights, so nothing of them can be denoised again here."
    if run["config"]["policy"] != "small":
        return "A large policy is not loaded beside the app; what it wrote while it was trained and evaluated is above."
    return ""


def task_of(run: Run) -> str:
    """The task as the tables name it; imported files may differ, the first one counts."""
    return str(table(run["id"], "sapo_arms")["task"].iloc[0])


def policies(run: Run) -> dict[str, Policy]:
    """Every policy of a run by its id "arm-seed"."""
    arms = table(run["id"], "sapo_arms")
    found = {}
    for arm in in_order(list(arms["arm"])):
        for row in arms[arms["arm"] == arm].sort_values("seed").itertuples():
            label = str(row.source) if arm == IMPORTED else f"{arm_name(arm)} · seed {row.seed}"
            found[f"{arm}-{row.seed}"] = Policy(run, arm, int(str(row.seed)), label)
    return found


def last_arm(run: Run) -> str:
    """The arm a run is about: SAPO where it was trained, else the last one."""
    arms = in_order(list(table(run["id"], "sapo_arms")["arm"]))
    return "sapo" if "sapo" in arms else arms[-1]


def linked_choice(label: str, options: dict[str, str], key: str, start: str) -> str:
    """One of `options` (id: words), its id kept in the URL as ?key=; a binding would keep the words."""
    widget, kept = f"{key}_choice", f"{key}_kept"
    link = st.query_params.get(key, "")
    if link in options and link != st.session_state.get(kept, ""):
        st.session_state[widget] = link
    forget_unless(widget, list(options))
    ids = list(options)
    chosen = str(
        st.selectbox(label, ids, ids.index(start), key=widget, format_func=lambda id: options.get(id, id))
    )
    st.session_state[kept] = chosen
    if st.query_params.get(key) != chosen:
        st.query_params[key] = chosen
    return chosen


def choose_pair(run: Run, known: dict[str, Run]) -> list[Policy]:
    """The policy that is looked at (?policy=), and the one beside it (?beside=, of the run ?beside_run=)."""
    mine = policies(run)
    first = next(id for id, policy in mine.items() if policy.arm == last_arm(run))
    others = {id: other for id, other in known.items() if other["state"] == "done"}
    left, middle, right = st.columns([3, 3, 4], vertical_alignment="bottom")
    with left:
        one = linked_choice("Policy", {id: policy.label for id, policy in mine.items()}, "policy", first)
    with right:
        names = {id: "this run" if id == run["id"] else describe(other) for id, other in others.items()}
        of = linked_choice("… of run", names, "beside_run", run["id"])
    theirs = policies(others[of])
    labels = {id: policy.label for id, policy in theirs.items() if (of, id) != (run["id"], one)}
    start = (
        "none"
        if is_imported(run)
        else next((id for id in labels if theirs[id].arm == "base"), next(iter(labels), "none"))
    )
    with middle:
        two = linked_choice("Beside it", {"none": "none", **labels}, "beside", start)
    chosen = [mine[one]]
    if two in theirs:
        other = theirs[two]
        label = other.label if of == run["id"] else f"{other.label} ({of[:6]})"
        chosen.append(Policy(other.run, other.arm, other.seed, label))
    return chosen


def percent(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.1%}"


def over_seeds(values: pd.Series) -> str:
    """The 95 % interval over seeds in words, cut at 0 and 1."""
    values = values.dropna()
    if len(values) < 2:
        return "one seed" if len(values) else "not in this task"
    low, high = mean_interval(values)
    return f"95 % {max(0.0, low):.1%} to {min(1.0, high):.1%}"


def first_strip(run: Run) -> None:
    """Consistency across seeds · null · solved exactly · cells right · junk, of the arm the run is about."""
    arm = last_arm(run)
    arms, alike = table(run["id"], "sapo_arms"), table(run["id"], "sapo_agreement")
    mine, alike = arms[arms["arm"] == arm], alike[alike["arm"] == arm]
    name, cells = arm_name(arm), cell_words(task_of(run))
    pairs = f"{len(alike)} pair{'s' if len(alike) > 1 else ''}"
    between = f"Spearman between seeds, greedy, {pairs}{_same_base(run)}" if len(alike) else "needs two seeds"
    shown = [
        ("Commit order", _mean(alike, "spearman"), between),
        ("Chance", _mean(alike, "null_spearman"), _chance(alike)),
        (f"Solved exactly, {name}", percent(mine["exact"].mean()), _exact_interval(mine)),
        (f"{cells}, {name}", percent(mine["cell"].mean()), over_seeds(mine["cell"])),
        ("Junk traces", percent(mine["junk"].mean()), over_seeds(mine["junk"])),
        ("Junk where exact", percent(mine["junk_given_correct"].mean()), over_seeds(mine["junk_given_correct"])),
    ]  # fmt: skip
    for column, (title, value, note) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(title, value)
        column.caption(note)


def _same_base(run: Run) -> str:
    return "; all from one base" if run["config"]["start_from"] == "bundled" else ""


def _mean(rows: pd.DataFrame, column: str) -> str:
    return f"{rows[column].mean():.3f}" if len(rows) else "–"


def _chance(rows: pd.DataFrame) -> str:
    return (
        f"positions permuted; 97.5 % below {rows['null_high'].max():.3f}" if len(rows) else "needs two seeds"
    )


def _exact_interval(rows: pd.DataFrame) -> str:
    if len(rows) > 1:
        return over_seeds(rows["exact"])
    row = rows.iloc[0]
    if pd.isna(row["exact"]):
        return "not scored"
    low, high = wilson(row["exact"] * row["n"], int(row["n"]))
    return f"95 % Wilson {low:.1%} to {high:.1%}"
