"""Run › Jobs: the queue, one job in detail, cancel, resume, clone."""

from typing import Any

import pandas as pd
import streamlit as st

from app.connection import client, may_launch, stay_connected
from app.launches import (
    LISTED,
    Launch,
    describe_launch,
    launches,
    member_rows,
    show_launch,
    tally,
    watch_bar,
)
from app.widgets import (
    ACTIVE,
    PAGES,
    TOOLS,
    ago,
    attempt,
    describe,
    literal,
    live_curves,
    progress_text,
    result_link,
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


def detail(run_id: str, alone: bool) -> None:
    """One run; the bar and the buttons of a launch stand above it."""
    run = client().run(run_id)
    st.subheader(literal(describe(run)))
    st.markdown(state_badge(run["state"]))
    if alone and run["state"] in ACTIVE:
        show_progress(run)
    if alone and run["error"]:
        st.error(run["error"])
    if run["state"] in ADVICE:
        st.caption(ADVICE[run["state"]])
    actions(run, alone)
    if run["study"] not in TOOLS:
        live_curves(run_id, None, f"job-{run_id}", run["state"] in ACTIVE)


def actions(run: dict[str, Any], alone: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if alone and run["state"] in ACTIVE and not run["stopping"]:
            st.button(
                "Cancel",
                on_click=lambda: attempt(lambda: client().cancel(run["id"])),
                icon=":material/stop:",
                **may_launch(),
            )
        if alone and run["state"] in RESUMABLE:
            st.button(
                "Resume",
                type="primary",
                on_click=lambda: attempt(lambda: client().resume(run["id"])),
                icon=":material/play_arrow:",
                **may_launch(),
            )
        if run["state"] == "done":
            page, query = result_link(run)
            st.page_link(PAGES[page], label="See the result", icon=":material/grid_on:", query_params=query)
        if run["study"] not in TOOLS:
            st.page_link(
                PAGES["new"], label="Clone", icon=":material/content_copy:", query_params={"clone": run["id"]}
            )


@st.fragment(run_every=1)
def live(run_id: str, alone: bool) -> None:
    stay_connected()
    detail(run_id, alone)
    if client().run(run_id)["state"] not in ACTIVE:
        st.rerun()


def choose(found: list[Launch]) -> tuple[Launch, dict[str, Any]]:
    """The launch, and the run of it that is shown in detail, kept in the URL as ?run=id."""
    asked = st.query_params.get("run")
    of_run = {run["id"]: launch.id for launch in found for run in launch.runs}
    if asked and asked not in of_run:
        st.warning(f"There is no run {asked}; choose one below.")
    by_id = {launch.id: launch for launch in found}
    launch_id = st.selectbox(
        "Job",
        list(by_id),
        index=list(by_id).index(of_run[asked]) if asked in of_run else 0,
        format_func=lambda id: describe_launch(by_id[id]),
    )
    launch = by_id[launch_id]
    runs = {run["id"]: run for run in launch.runs}
    chosen = launch.runs[0]["id"]
    if not launch.alone:
        chosen = st.selectbox(
            "Run of this launch",
            list(runs),
            index=list(runs).index(asked) if asked in runs else 0,
            format_func=lambda run_id: describe(runs[run_id]),
        )
    st.query_params["run"] = chosen
    return launch, runs[chosen]


def listing(found: list[Launch], shown: Launch) -> None:
    """Every job: launches folded, runs by themselves in one table; the bar of the one `shown` stands above."""
    together = [launch for launch in found if not launch.alone]
    if together:
        st.subheader("Launches")
    for launch in together:
        if launch.active and launch is not shown:
            watch_bar(launch.id)
        with st.expander(f"{describe_launch(launch)} · {tally(launch)} · {ago(launch.created)}"):
            table(member_rows(launch), f"Runs of launch {launch.id}")
    alone = [launch.runs[0] for launch in found if launch.alone]
    if alone:
        st.subheader("Single runs")
        rows = [
            {
                "state": run["state"],
                "run": describe(run),
                "progress": progress_text(run),
                "age": ago(run["created"]),
                "open": f"jobs?run={run['id']}",
            }
            for run in alone
        ]
        table(rows, "Single runs, newest first")


def table(rows: list[dict[str, Any]], alt: str) -> None:
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt=alt,
        column_config={
            "run": st.column_config.TextColumn(width="large"),
            "progress": st.column_config.TextColumn(width="medium"),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )


st.title("Jobs")
show_refusal()
found = launches(client().runs(limit=LISTED))
if not found:
    st.info("No jobs yet. Launch one under Run › New, or start the tour on Home.")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
    st.stop()

launch, run = choose(found)
if not launch.alone:
    show_launch(launch, named=False)
if run["state"] in ACTIVE:
    live(run["id"], launch.alone)
else:
    detail(run["id"], launch.alone)

worker_output(run["id"], expanded=run["state"] == "failed")
with st.expander("Settings and the command that asks for this run"):
    st.code(run["command"], language="bash", wrap_lines=True)
    if run["state"] == "done":
        st.caption("Take it to another machine, or train it again and see whether the bytes agree:")
        st.code(f"concordance export {run['id']}\nconcordance reproduce {run['id']}", language="bash")
    settings = pd.DataFrame(
        [(name, str(value)) for name, value in run["config"].items()], columns=["field", "value"]
    )
    st.dataframe(settings, hide_index=True, alt="Settings of the run")
listing(found, launch)
