"""The sidebar of every page."""

import streamlit as st

from app.connection import client, stay_connected
from app.keyboard import keyboard
from app.launches import launch_progress, members
from app.widgets import PAGES


def frame() -> None:
    """Engine lamp, the running job and the keys; the page ends here when the engine is down."""
    lamp = st.sidebar.empty()
    lamp.caption(":red[●] Engine is down")
    engine = client()
    health = engine.health()
    lamp.caption(f":green[●] Engine on {health['place']}")
    with st.sidebar:
        for run in engine.runs(state="running", limit=1):
            _running_chip(run["group"] or run["id"], run["id"])
        keyboard()


@st.fragment(run_every=2)
def _running_chip(launch_id: str, run_id: str) -> None:
    stay_connected()
    launch = members(launch_id)
    if launch is None or not launch.count("running"):
        st.rerun()
    else:
        launch_progress(launch)
        st.page_link(PAGES["jobs"], label="Open the running job", query_params={"run": run_id})
