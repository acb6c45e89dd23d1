"""Run › Compare: finished runs of one study side by side, with intervals over seeds, tests, settings and LaTeX."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.comparing import (
    config_differences,
    differences,
    dots,
    figures_per_seed,
    metric_table,
    star_note,
    summary,
)
from analyses.latex import latex_table
from app.connection import client, studies, table
from app.launches import LISTED
from app.widgets import PAGES, describe, literal, picture, show_refusal

MOST_RUNS, ROWS = 8, 2_000
Run = dict[str, Any]


def choose() -> list[Run]:
    """The runs compared, the reference first; study and runs are in the link."""
    found = [run for run in client().runs(state="done", limit=LISTED) if run["study"] in studies()]
    if not found:
        st.info("Nothing to compare yet: two finished runs of one study are needed.")
        st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
        st.stop()
    known = {run["id"]: run for run in found}
    present = list(dict.fromkeys(run["study"] for run in found))
    if "compare_study" not in st.session_state:
        follow_link(known)
    study = st.selectbox(
        "Study",
        present,
        key="compare_study",
        format_func=lambda name: studies()[name]["title"],
        on_change=forget,
    )
    of_study = [run for run in found if run["study"] == study]
    if "compare_runs" not in st.session_state:
        st.session_state["compare_runs"] = [run["id"] for run in of_study[:2]]
    chosen = st.multiselect(
        "Runs, the reference first",
        [run["id"] for run in of_study],
        key="compare_runs",
        max_selections=MOST_RUNS,
        format_func=lambda run: describe(known[run]),
    )
    st.query_params["runs"] = ",".join(chosen)
    return [known[run] for run in chosen]


def follow_link(known: dict[str, Run]) -> None:
    """Choose the runs the link names, at most `MOST_RUNS` of one study."""
    asked = [run for run in dict.fromkeys(st.query_params.get("runs", "").split(",")) if run in known]
    if not asked:
        return
    study = known[asked[0]]["study"]
    taken = [run for run in asked if known[run]["study"] == study][:MOST_RUNS]
    st.session_state["compare_study"], st.session_state["compare_runs"] = study, taken
    if len(taken) < len(asked):
        st.info(
            f"The link names {len(asked)} runs; shown are {len(taken)}, as at most {MOST_RUNS} of one study can be compared."
        )


def forget() -> None:
    """Another study: its own newest runs and figures."""
    for name in ("compare_runs", "compare_figures"):
        st.session_state.pop(name, None)


@st.cache_data(max_entries=64, show_spinner="Reading the runs' tables")
def figures(run_id: str, tables: tuple[str, ...]) -> pd.DataFrame:
    """Every figure of a finished run's seeds, from its small tables."""
    parts = []
    for name in tables:
        rows = table(run_id, name, limit=None if name == "metrics" else ROWS + 1)
        if name == "metrics" or len(rows) <= ROWS:
            parts.append(figures_per_seed(name, rows.drop(columns="run_id", errors="ignore")))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def label(run: Run) -> str:
    return f"{run['preset'] or 'custom'} {run['id'][:6]}"


def settings(runs: list[Run]) -> None:
    """What was set differently."""
    st.subheader("What differs in the settings")
    values = {
        label(run): {**run["config"], "data_seed": run["data_seed"], "code": run["code_version"]}
        for run in runs
    }
    found = config_differences(values)
    if found.empty:
        st.caption(
            "Nothing: these runs have the same settings, data order and code; only their seeds differ."
        )
    else:
        st.dataframe(found, hide_index=True, alt="Fields whose values differ between the runs")


def results(runs: list[Run]) -> None:
    tables = (*studies()[runs[0]["study"]]["tables"], "metrics")
    found = {label(run): figures(run["id"], tables) for run in runs}
    names = list(dict.fromkeys(name for rows in found.values() for name in rows["figure"]))
    if not names:
        st.info("These runs hold no figures per seed.")
        return
    if "compare_figures" not in st.session_state:
        st.session_state["compare_figures"] = [
            f for f in st.query_params.get_all("figure") if f in names
        ] or names[:6]
    chosen = st.multiselect("Figures", names, key="compare_figures")
    st.query_params["figure"] = chosen
    if not chosen:
        st.caption("Choose at least one figure.")
        return
    found = {run: rows[rows["figure"].isin(chosen)] for run, rows in found.items()}
    tests = differences(found, label(runs[0]))
    numbers(runs, metric_table(summary(found), tests, chosen), star_note(tests, label(runs[0])))
    drawn = st.selectbox("Picture", chosen, key="picture", bind="query-params")
    rows = pd.concat([part.assign(run=run) for run, part in found.items()], ignore_index=True)
    picture(dots(found, drawn), rows[rows["figure"] == drawn], "compare")
    if len(runs) > 1:
        st.subheader(f"Less {literal(label(runs[0]))}")
        st.dataframe(tests, hide_index=True, alt="Differences with intervals and tests")
        st.caption(
            "Seeds that both runs have are paired; runs that share none are compared by Welch's test. p_holm is corrected for "
            "the number of rows: choose the figures before you look at them."
        )


def numbers(runs: list[Run], shown: pd.DataFrame, note: str) -> None:
    """The table of means, and the same in LaTeX; `note` says what a star means."""
    st.subheader("Figures")
    st.dataframe(
        shown,
        hide_index=True,
        alt="Mean and half of the 95 % interval over seeds, a row a figure, a column a run",
    )
    seeds = ", ".join(f"{label(run)}: {len(run['seeds'])}" for run in runs)
    st.caption(literal(f"Mean ± half of the 95 % interval over seeds ({seeds}). {note}"))
    title = studies()[runs[0]["study"]]["title"]
    caption = f"{title}: mean and half of the 95 % interval over seeds. {note}".rstrip()
    st.download_button(
        "LaTeX",
        latex_table(shown, caption, align="l" + "r" * (len(shown.columns) - 1)),
        file_name="compare.tex",
        type="tertiary",
        icon=":material/download:",
        on_click="ignore",
    )


st.title("Compare")
show_refusal()
chosen_runs = choose()
if not chosen_runs:
    st.caption("Choose at least one run.")
    st.stop()
settings(chosen_runs)
results(chosen_runs)
