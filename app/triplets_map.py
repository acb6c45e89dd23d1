"""The map of triplets: laid out as a job, its lasso kept in the link and applied to the grid."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.feature_map import inside
from analyses.srf_map import COLOURS, FAR_APART, triplet_map
from app.causal_parts import choice
from app.connection import client, may_launch
from app.launches import LISTED
from app.map_parts import chosen_lasso, clear_lasso, ended_map, kept, watch_map
from app.triplets_state import Query, back_to_first_page
from app.widgets import ACTIVE, attempt, duration, literal, picture
from engine.client import EngineError

MAP = "triplet_map"
BY = {"both": "texts and image", "text": "texts", "image": "image"}


@st.cache_data(max_entries=30, show_spinner=False)
def points(run_id: str, map_id: str, version: int, query: Query) -> pd.DataFrame:
    """Triplets on a map that pass the query, with place, type, right, kept and value."""
    return client().triplet_points(run_id, map_id, **query).to_pandas()


def lasso_section(run_id: str, version: int, query: Query) -> list[int] | None:
    """The map, once it is opened; the numbers inside the lasso, None without one."""
    panel = st.expander(
        "Map of triplets", key="map", on_change="rerun", bind="query-params", icon=":material/scatter_plot:"
    )
    if not panel.open:
        return None
    with panel:
        by = choice("Laid out by", list(BY), "map_by", format_func=BY.__getitem__)
        job = _find(run_id, by)
        if job is None:
            _ask(run_id, by)
        elif job["state"] in ACTIVE:
            watch_map(job["id"])
        elif job["state"] != "done":
            ended_map(job)
        else:
            return _map(run_id, job["id"], version, query)
    return None


def _find(run_id: str, by: str) -> dict[str, Any] | None:
    jobs = [
        job
        for job in client().runs(study=MAP, limit=LISTED)
        if job["config"]["of"] == run_id and job["config"]["by"] == by
    ]
    return next((job for job in jobs if job["state"] == "done"), jobs[0] if jobs else None)


def _ask(run_id: str, by: str) -> None:
    config = {"of": run_id, "by": by}
    try:
        cost = client().estimate(MAP, config, [0])
    except EngineError as error:
        st.error(literal(error.message))
        return
    st.caption(
        f"Triplets that say and show similar things lie together. It takes about {duration(cost['seconds'])}."
    )
    st.button(
        "Lay out the map",
        icon=":material/scatter_plot:",
        key="lay-out",
        on_click=lambda: attempt(lambda: client().submit(MAP, config, [0])),
        **may_launch(help=cost["based_on"]),
    )


def _map(run_id: str, map_id: str, version: int, query: Query) -> list[int] | None:
    colour = choice("Colour", list(COLOURS), "map_colour", format_func=COLOURS.__getitem__)
    frame = points(run_id, map_id, version, query)
    look = f"{colour} {hash(str(query))} {st.session_state.get('map_clearings', 0)}"
    lasso, outlined = chosen_lasso(map_id, look, "chart-triplet-map")
    note = f"{len(frame):,} triplets pass the filters; a lasso lists those inside"
    figure = kept(
        "srf_map", (map_id, version, look, outlined.tobytes()),
        lambda: triplet_map(frame, colour, note, outlined).update_layout(uirevision=look),
    )  # fmt: skip
    picture(figure, frame, "triplet-map", on_select=back_to_first_page, selection_mode=("lasso", "box"))
    st.caption(FAR_APART)
    if not len(lasso):
        return None
    numbers = [int(number) for number in frame.loc[inside(frame["x"], frame["y"], lasso), "triplet"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(numbers):,} triplets inside the lasso; the grid below lists these alone.")
        st.button(
            "Clear the lasso",
            on_click=clear_lasso,
            icon=":material/close:",
            type="tertiary",
            key="clear-lasso",
        )
    return numbers
