"""The view "Sweep": consistency against sparsity and error over many runs, and the buttons that start a sweep."""

import json
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.sae_sweep import X, Y, sweep_figure, sweep_row, sweep_table
from app.connection import client, may_launch, studies, table
from app.consistency_parts import STUDY, add_runs
from app.functional_checks import column_config, figures_of, finished_cards
from app.run_set import Group, Run, own_pairs
from app.widgets import attempt, duration, gradually, picture, size
from engine.client import EngineError

SWEEPS = {
    "architectures": (
        "Run the architecture sweep",
        "Six architectures and a control with a frozen random decoder, at four sparsities each",
    ),
    "k": ("Run the k sweep", "TopK at five values of k"),
}
VALUES: dict[str, Y] = {
    "PW-MCC": "pw_mcc_abs",
    "Calibrated": "calibrated",
    "Shared features": "shared_share",
    "Codes": "code_correlation",
    "GT-MCC": "gt_mcc_abs",
}
AXES: tuple[X, ...] = ("l0", "fvu")
RECIPE = ("architecture", "control", "k", "l1_coefficient")  # fields a run's cost does not depend on


def sweep_view(groups: list[Group], subset: str) -> None:
    start_sweep()
    frame = sweep_rows(groups, subset)
    names = [name for name in VALUES if name != "GT-MCC" or any(group.is_world for group in groups)]
    chosen = st.segmented_control(
        "Consistency measured as",
        names,
        default=names[0],
        required=True,
        key="y",
        bind="query-params",
        help="PW-MCC: mean |cosine| after the best one-to-one matching. Calibrated: (PW-MCC − null) / (1 − null). Shared: "
        "partner of |cosine| 0.7 or more. Codes: correlation of what matched features compute on held-out vectors.",
    )
    for column, x in zip(st.columns(2), AXES, strict=True):
        with column:
            picture(
                sweep_figure(frame, x=x, y=VALUES[str(chosen)]),
                frame,
                f"sweep-{x}",
                on_select=partial(on_point, f"chart-sweep-{x}", groups),
                selection_mode="points",
            )
    st.caption("Every point is a run, from pairs of its own seeds only. Click one to see its pairs.")
    numbers(frame)


def numbers(frame: pd.DataFrame) -> None:
    """The points of the pictures as a table, each with a link to its run."""
    cards = finished_cards()
    checks = pd.DataFrame([{"Run": run, **figures_of(run, cards)} for run in frame["run"]])
    shown = sweep_table(frame).merge(checks, on="Run", how="left")
    shown["Run"] = "consistency?runs=" + shown["Run"]
    first = ["Architecture", "Sparsity", "Run"]
    numeric = shown.select_dtypes("float").columns
    st.dataframe(
        shown[first + [name for name in shown if name not in first]],
        hide_index=True,
        alt="Every run of the set with its sparsity, error and consistency",
        column_config={
            "Run": st.column_config.LinkColumn(display_text=r"runs=(\w{6})"),
            **{name: st.column_config.NumberColumn(format="%.3f") for name in numeric},
            "L0": st.column_config.NumberColumn(format="%.1f"),
            **column_config(shown.columns),
        },
    )


def sweep_rows(groups: list[Group], subset: str) -> pd.DataFrame:
    """One row a run of the set, from its own pairs."""
    runs = [run for group in groups for run in group.runs]
    return pd.DataFrame([_row(run["id"], subset, run) for run in gradually(runs, "Reading runs")])


@st.cache_data(max_entries=2000, show_spinner=False)
def _row(run_id: str, subset: str, _run: Run) -> dict[str, Any]:
    pairs = table(run_id, "pairs")
    return sweep_row(_run, table(run_id, "saes"), pairs[pairs["subset"] == subset], subset)


def on_point(key: str, groups: list[Group]) -> None:
    """A click on a point: its run comes into focus, in the view Pairs."""
    points = st.session_state[key]["selection"]["points"]
    if not points or not points[0].get("customdata"):
        return
    run = points[0]["customdata"][0]
    for group in groups:
        if run in {other["id"] for other in group.runs}:
            st.session_state["view"], st.session_state["focus"] = "Pairs", group.id
            names = own_pairs(group.saes, "all")["name"]
            if len(names):
                st.session_state["pair"] = names.iloc[0]


def start_sweep() -> None:
    """What each named sweep trains, what it will take, and its button."""
    known: dict[str, list[dict[str, Any]]] = studies()[STUDY]["sweeps"]
    with st.container(border=True):
        first, *rest = st.columns([1, *[2] * len(known)])
        n_seeds = int(
            first.number_input("Seeds per run", min_value=2, max_value=20, value=3, step=1, key="sweep_seeds")
        )
        for column, (name, settings) in zip(rest, known.items(), strict=True):
            title, words = SWEEPS.get(name, (f"Run the sweep {name}", f"{len(settings)} settings"))
            column.button(
                title,
                on_click=_launch,
                args=(name, n_seeds),
                icon=":material/scatter_plot:",
                key=f"sweep-{name}",
                width="stretch",
                **may_launch(),
            )
            column.caption(f"{words}: {_cost_words(name, len(settings), n_seeds)}")


def _cost_words(name: str, n_settings: int, n_seeds: int) -> str:
    count = f"{n_settings} runs of {n_seeds} seeds, {n_settings * n_seeds} SAEs trained side by side"
    try:
        cost = sweep_cost(name, n_seeds)
    except EngineError as error:
        return f"{count}. {error.message}"
    return f"{count}; about {duration(cost['seconds'])} of training and {size(cost['memory_bytes'])} of memory here."


@st.cache_data(ttl=3600, show_spinner=False)
def sweep_cost(name: str, n_seeds: int) -> dict[str, float]:
    """Seconds and memory_bytes of a sweep: settings of one size count as one run with all their seeds."""
    sizes: dict[str, int] = {}
    for settings in studies()[STUDY]["sweeps"][name]:
        rest = {field: value for field, value in settings.items() if field not in RECIPE}
        key = json.dumps(rest, sort_keys=True)
        sizes[key] = sizes.get(key, 0) + n_seeds
    total = {"seconds": 0.0, "memory_bytes": 0.0}
    for key, count in sizes.items():
        config = json.loads(key)
        preset = config.pop("preset", None)
        found = client().estimate(STUDY, config, list(range(count)), preset)
        total = {field: value + found[field] for field, value in total.items()}
    return total


def _launch(name: str, n_seeds: int) -> None:
    queued = attempt(lambda: client().launch(STUDY, [], list(range(n_seeds)), 0, sweep=name))
    add_runs([run["id"] for run in queued or []])
