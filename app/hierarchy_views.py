"""The views "Ranks" and "Scores" of the hierarchy page."""

import pandas as pd
import streamlit as st

from analyses.concept_hierarchy import (
    METRICS,
    NO_SCORE,
    by_samples,
    largest,
    score_figure,
    score_table,
    scored,
    step_one,
    step_one_figure,
)
from analyses.hierarchy_frames import OURS, best_states, clusters
from analyses.hierarchy_maps import rank_heatmap
from app.connection import table
from app.hierarchy_parts import Result, Run, choose
from app.widgets import describe, picture

WITH_MOST = 12


@st.fragment
def ranks_view(result: Result) -> None:
    """The rank statistic of every two observed variables, framed by the clusters that a method found."""
    left, middle, _ = st.columns(3)
    with left:
        seed = int(choose("Seed", [str(one) for one in result.seeds], "rank_seed"))
    with middle:
        method = choose("Ordered by the clusters of", result.methods, "rank_method")
    rows = result.rows("rank_statistics", seed=seed)
    picture(rank_heatmap(rows, clusters(result.graph(method, seed))), rows, "rank-statistics")
    words = (
        "Every cell tests whether two variables are separated from all the others by one latent: a low statistic says that "
        f"they hang on the same concept. Frames are the clusters of the graph that {method} found."
    )
    if not result.is_world:
        words += (
            " On real data nearly every statistic lies above the critical value, since no model holds exactly; read the order "
            "of the statistics, not the verdict of the test."
        )
    st.caption(words)


def scores_view(result: Result, known: dict[str, Run]) -> None:
    """Every method beside the others, recovery against the number of samples, and step 1."""
    scores = result.scores
    metric = scored(scores)
    if metric is None:
        st.info(NO_SCORE)
    else:
        st.subheader(f"{METRICS[metric]} of every method")
        picture(score_figure(scores), largest(scores), "hierarchy-scores")
        st.caption(
            "Open circles are seeds, filled marks their mean with a 95 % interval (t over seeds); the dashed line is what the "
            "same graphs reach with the observed names shuffled."
            if metric == "skeleton_f1"
            else "Agreement of the found clusters with the groups the items were written for: a grouping by people, not a "
            "truth about causes."
        )
    method_table(scores, metric)
    if metric is not None:
        samples_section(result, known)
    if result.config.get("observed") == "continuous":
        step_one_section(result)


def method_table(scores: pd.DataFrame, metric: str | None) -> None:
    """The same in numbers, with the latents found and the tests run."""
    number = st.column_config.NumberColumn
    shown = score_table(scores).dropna(axis="columns", how="all")
    if shown["states"].nunique() < 2:
        shown = shown.drop(columns="states")
    columns = {
        "value": number(METRICS[metric] if metric else "score", format="%.3f"),
        "low": number("95 % from", format="%.3f"),
        "high": number("to", format="%.3f"),
        "chance": number(format="%.3f"),
        "exact": st.column_config.TextColumn("exact graphs"),
        "latents": number("latents found", format="%.1f", help="Mean over seeds"),
        "latents_true": number("in the truth", format="%.1f", help="After reduction"),
        "tests": number("tests run", format="%.0f", help="Rank tests of a search, mean over seeds"),
    }
    st.dataframe(
        shown,
        hide_index=True,
        alt="Scores, latents and tests of every method",
        placeholder="–",
        column_config={name: column for name, column in columns.items() if name in shown},
    )


def samples_section(result: Result, known: dict[str, Run]) -> None:
    """Recovery against N over this run and those chosen beside it, kept in the link as ?with=."""
    st.subheader("More samples")
    others = {
        id: run for id, run in known.items()
        if id != result.run["id"] and run["state"] == "done" and same_but_samples(run, result.run)
    }  # fmt: skip
    if others:
        asked = st.query_params.get("with", "").split(",")
        kept = st.session_state.get("with", [id for id in asked if id in others] or list(others)[:WITH_MOST])
        st.session_state["with"] = [id for id in kept if id in others]
        chosen = st.multiselect(
            "Runs of the same settings with other numbers of samples",
            list(others),
            key="with",
            format_func=lambda id: describe(others[id]),
            max_selections=WITH_MOST,
        )
        st.query_params["with"] = ",".join(chosen)
    else:
        chosen = []
        st.caption("Launch this search with another N below; the two then stand in one picture here.")
    rows = best_states(pd.concat([result.scores, *(table(id, "hierarchy_scores") for id in chosen)]))
    if rows["n_samples"].nunique() > 1:
        picture(by_samples(rows), rows, "recovery-by-samples")


def same_but_samples(run: Run, other: Run) -> bool:
    """Whether two runs differ in their settings at most in the number of samples."""
    mine, theirs = ({k: v for k, v in r["config"].items() if k != "n_samples"} for r in (run, other))
    return mine == theirs


def step_one_section(result: Result) -> None:
    """How well the states themselves were found, and what their errors cost."""
    rows = result.rows("discrete_states")
    st.subheader("Step 1: states from continuous observations")
    if rows.empty:
        st.caption("This run stored no figures of step 1.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picture(step_one_figure(rows), rows, "step-one")
    with right:
        frame = step_one(rows).rename(columns={"accuracy_k_means": "k-means"})
        found = zip(frame.pop("n_states"), frame.pop("n_states_true"), strict=True)
        frame["states"] = [f"{mine:g} of {true:g}" for mine, true in found]
        numbers = {
            n: st.column_config.NumberColumn(format="%.3f", width=75)
            for n in ("accuracy", "k-means", "chance")
        }
        st.dataframe(
            frame,
            hide_index=True,
            alt="Step 1 by variable, means over seeds",
            column_config={"variable": st.column_config.TextColumn(width=80), **numbers},
        )
    st.markdown(error_sentence(result.scores))


def error_sentence(scores: pd.DataFrame) -> str:
    """What the errors of step 1 cost step 2."""
    means = scores[scores["method"] == OURS].groupby("states")["skeleton_f1"].mean()
    if not {"true states", "estimated states"} <= set(means.index):
        return ""
    true, estimated = means["true states"], means["estimated states"]
    return (
        f"Step 2 on the true states reaches a skeleton F1 of {true:.3f}, on the estimated states {estimated:.3f}: the errors of "
        f"step 1 cost {true - estimated:.3f} (means over seeds, {OURS})."
    )
