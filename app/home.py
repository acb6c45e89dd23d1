"""Entry of the app: `streamlit run home.py` (started by `concordance up`)."""

import streamlit as st

from app.widgets import PAGES, frame

st.set_page_config(page_title="Concordance", page_icon=":material/hub:", layout="wide")

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
frame()
page.run()
