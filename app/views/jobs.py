"""Run › Jobs: the queue, one job in detail, cancel, resume, clone."""

from typing import Any

import pandas as pd
import streamlit as st

from app.connection import client, stay_connected
from app.widgets import (
    ACTIVE,
    PAGES,
    ago,
    all_curves,
    attempt,
    describe,
    duration,
    live_curves,
    show_progress,
    show_refusal,
    state_badge,
    worker_output,
)
from engine.client import RESUMABLE

ADVICE = {
    "failed": "The run ended with an error. Fix the field it names in a clone, or resume if the cause is gone.",
    "interrupted": "Its process ended early. Resume goes on from the last checkpoint.",
    "cancelled": "It was cancelled. Resume goes on from its last checkpoint, or starts it if it had none.",
}


def progress_text(run: dict[str, Any]) -> str:
    progress = run["progress"]
    if run["queue_place"]:
        return f"place {run['queue_place']}"
    if not progress or not progress["total"]:
        return ""
    left = f", {duration(progress['eta_s'])} left" if progress["eta_s"] else ""
    return f"{progress['stage']} {progress['done'] / progress['total']:.0%}{left}"


def listing(runs: list[dict[str, Any]]) -> None:
    rows = [
        {
            "state": run["state"],
            "run": describe(run),
            "progress": progress_text(run),
            "age": ago(run["created"]),
            "open": f"jobs?run={run['id']}",
        }
        for run in runs
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Jobs, newest first",
        column_config={
            "run": st.column_config.TextColumn(width="large"),
            "progress": st.column_config.TextColumn(width="medium"),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )


def detail(run_id: str) -> None:
    run = client().run(run_id)
    st.subheader(describe(run))
    st.markdown(state_badge(run))
    if run["state"] in ACTIVE:
        show_progress(run)
    if run["error"]:
        st.error(run["error"])
    if run["state"] in ADVICE:
        st.caption(ADVICE[run["state"]])
    actions(run)
    live_curves(run_id, all_curves(), f"job-{run_id}", run["state"] in ACTIVE)


def actions(run: dict[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if run["state"] in ACTIVE and not run["stopping"]:
            st.button(
                "Cancel", on_click=lambda: attempt(lambda: client().cancel(run["id"])), icon=":material/stop:"
            )
        if run["state"] in RESUMABLE:
            st.button(
                "Resume",
                type="primary",
                on_click=lambda: attempt(lambda: client().resume(run["id"])),
                icon=":material/play_arrow:",
            )
        if run["state"] == "done":
            st.page_link(
                PAGES["consistency"],
                label="See the result",
                icon=":material/grid_on:",
                query_params={"runs": run["id"]},
            )
        st.page_link(
            PAGES["new"], label="Clone", icon=":material/content_copy:", query_params={"clone": run["id"]}
        )


@st.fragment(run_every=1)
def live(run_id: str) -> None:
    stay_connected()
    detail(run_id)
    if client().run(run_id)["state"] not in ACTIVE:
        st.rerun()


st.title("Jobs")
show_refusal()
runs = client().runs(limit=100)
if not runs:
    st.info("No jobs yet. Launch one under Run › New, or start the tour on Home.")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
    st.stop()

known = {run["id"]: run for run in runs}
asked = st.query_params.get("run")
if asked and asked not in known:
    st.warning(f"There is no run {asked}; choose one below.")
chosen = st.selectbox(
    "Job",
    list(known),
    index=list(known).index(asked) if asked in known else 0,
    format_func=lambda run_id: describe(known[run_id]),
)
st.query_params["run"] = chosen
if known[chosen]["state"] in ACTIVE:
    live(chosen)
else:
    detail(chosen)

worker_output(chosen, expanded=known[chosen]["state"] == "failed")
with st.expander("Settings and the command that asks for this run"):
    st.code(known[chosen]["command"], language="bash", wrap_lines=True)
    settings = pd.DataFrame(
        [(name, str(value)) for name, value in known[chosen]["config"].items()], columns=["field", "value"]
    )
    st.dataframe(settings, hide_index=True, alt="Settings of the run")
st.subheader("All jobs")
listing(runs)
