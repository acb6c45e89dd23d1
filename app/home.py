"""Entry of the app: `streamlit run home.py` (started by `concordance up`)."""

from pathlib import Path

import streamlit as st

from app.widgets import PAGES, frame

page = st.navigation(
    {
        "": [st.Page(PAGES["home"], title="Home", url_path="home", icon=":material/home:", default=True)],
        "Identify": [
            st.Page(
                PAGES["consistency"], title="Consistency", url_path="consistency", icon=":material/grid_on:"
            )
        ],
        "Run": [
            st.Page(PAGES["new"], title="New", url_path="new", icon=":material/add_circle:"),
            st.Page(PAGES["jobs"], title="Jobs", url_path="jobs", icon=":material/list:"),
        ],
    }
)
st.set_page_config(
    page_title=f"{page.title} · Concordance",
    page_icon=str(Path(__file__).with_name("icon.png")),
    layout="wide",
)
frame()
page.run()
