"""Explore › Map: the features of one or several runs in the plane, and what lies inside a lasso."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analyses.feature_map import COLOURS, FAR_APART, Polygon, inside, map_figure, sampling_note
from app.connection import client
from app.explore_parts import choose_runs, finished_runs
from app.functional_checks import finished_cards
from app.map_parts import (
    Run,
    ask_for_map,
    choose_settings,
    chosen_lasso,
    clear_lasso,
    ended_map,
    find_map,
    kept,
    map_frame,
    overview,
    watch_map,
)
from app.map_table import lasso_table
from app.widgets import ACTIVE, PAGES, picture, show_refusal


@st.fragment
def explore(job: Run, runs: list[Run]) -> None:
    """The picture, and the table of what the reader draws a lasso around."""
    show_refusal()
    colour = str(
        st.segmented_control(
            "Colour", list(COLOURS), default="stability", required=True, key="colour", bind="query-params",
            format_func=COLOURS.__getitem__,
        )
    )  # fmt: skip
    cards, lists = finished_cards(), client().library()["lists"]
    frame = map_frame(job["id"], runs, cards, lists)
    note = sampling_note(len(frame), sum(run["config"]["d_sae"] * len(run["seeds"]) for run in runs))
    name = f"map-{job['id'][:6]}"
    look = f"{colour} {st.session_state.get('map_clearings', 0)}"
    lasso, outlined = chosen_lasso(job["id"], look, f"chart-{name}")
    listed = lists if colour == "list" else None
    figure = kept(
        "map_figure",
        (job["id"], look, outlined.tobytes(), cards, listed),
        lambda: draw(frame, colour, note, outlined, look),
    )
    picture(figure, frame, name, on_select="rerun", selection_mode=("lasso", "box"))
    st.caption(FAR_APART)
    if not len(lasso):
        st.markdown("Draw a lasso or a box on the map to list the features inside it.")
        overview(frame)
        return
    chosen = frame[inside(frame["x"], frame["y"], lasso)]
    names = sorted({row["name"] for row in lists})
    lasso_table(chosen, names)
    st.button("Clear the lasso", on_click=clear_lasso, icon=":material/close:", type="tertiary")


def draw(frame: pd.DataFrame, colour: str, note: str, outlined: Polygon, look: str) -> go.Figure:
    """The figure; its revision makes a chart of another look forget its zoom."""
    figure = map_figure(frame, colour, f"Map of features by {COLOURS[colour].lower()}", note, outlined)
    return figure.update_layout(uirevision=look)


st.title("Map")
st.caption(
    "Decoder directions laid out by UMAP (arXiv 1802.03426) on cosine: what lies together points the same way."
)
show_refusal()
known = finished_runs()
if not known:
    st.info("No finished run yet. Start the tour on Home, or set up a run of your own.")
    st.page_link(PAGES["home"], label="Home", icon=":material/home:")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
    st.stop()
chosen = choose_runs(known, "map_runs")
seed, settings = choose_settings()
if not chosen:
    st.info("Choose at least one run above.")
    st.stop()
job = find_map(chosen, seed, settings)
if job is None:
    ask_for_map(chosen, seed, settings)
elif job["state"] in ACTIVE:
    watch_map(job["id"])
elif job["state"] == "done":
    explore(client().run(job["id"]), chosen)
else:
    ended_map(job)
