"""What every session of the app runs first; `app/serve.py` serves it."""

from pathlib import Path

import streamlit as st

from app.connection import engine_down
from app.frame import frame
from app.sign_in import admitted, sign_in
from app.widgets import PAGES
from engine.client import EngineDown, EngineError

page = st.navigation(
    {
        "": [st.Page(PAGES["home"], title="Home", url_path="home", default=True)],
        "Explore": [
            st.Page(PAGES["features"], title="Features", url_path="features"),
            st.Page(PAGES["map"], title="Map", url_path="map"),
            st.Page(PAGES["lab"], title="Prompt lab", url_path="lab"),
        ],
        "Identify": [
            st.Page(PAGES["consistency"], title="Consistency", url_path="consistency"),
            st.Page(PAGES["causal_graph"], title="Causal graph", url_path="causal-graph"),
            st.Page(PAGES["hierarchy"], title="Hierarchy", url_path="hierarchy"),
            st.Page(PAGES["recovery"], title="Recovery", url_path="recovery"),
        ],
        "Edit": [
            st.Page(PAGES["counterfactuals"], title="Counterfactuals", url_path="counterfactuals"),
            st.Page(PAGES["extrapolation"], title="Extrapolation", url_path="extrapolation"),
        ],
        "Shift": [st.Page(PAGES["label_shift"], title="Label shift", url_path="label-shift")],
        "Reason": [
            st.Page(PAGES["denoising"], title="Denoising", url_path="denoising"),
            st.Page(PAGES["refinement"], title="Refinement", url_path="refinement"),
        ],
        "Vision": [
            st.Page(PAGES["triplets"], title="Triplets", url_path="triplets"),
            st.Page(PAGES["caption_masks"], title="Caption masks", url_path="caption-masks"),
        ],
        "Run": [
            st.Page(PAGES["new"], title="New", url_path="new"),
            st.Page(PAGES["jobs"], title="Jobs", url_path="jobs"),
            st.Page(PAGES["compare"], title="Compare", url_path="compare"),
        ],
        "Library": [
            st.Page(PAGES["figures"], title="Figures", url_path="figures"),
            st.Page(PAGES["sql"], title="SQL", url_path="sql"),
        ],
    },
    expanded=True,
    position="sidebar" if admitted() else "hidden",
)
st.set_page_config(
    page_title=f"{page.title} · Concordance",
    page_icon=str(Path(__file__).with_name("icon.png")),
    layout="wide",
)
st.logo(str(Path(__file__).with_name("logo.svg")), size="large")
sign_in()
frame()
try:
    page.run()
except EngineDown:
    engine_down()
except EngineError as error:
    st.error(error.message)
