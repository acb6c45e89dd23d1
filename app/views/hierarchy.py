"""Identify › Hierarchy: which concepts stand over which, and does the same hierarchy come back?"""

import streamlit as st

from app.hierarchy_graph import graph_view
from app.hierarchy_launch import again, open_launched
from app.hierarchy_levels import levels_view
from app.hierarchy_parts import STUDY, Result, Run, data_note, pick, strip
from app.hierarchy_views import ranks_view, scores_view
from app.study_claims import claims_section
from app.study_runs import choose_run, known_runs, nothing_yet, unfinished
from app.widgets import show_refusal

EMPTY = (
    "No hierarchy has been searched yet. The tour draws a small world of discrete concepts whose hierarchy is known, searches it "
    "from what is observed alone, and shows here how much of the truth came back."
)
WAITING = "The graph, its scores and the rank statistics appear here when the search is done."


def finished(run: Run, known: dict[str, Run]) -> None:
    """Data, strip and the chosen view of a finished run."""
    result = Result(run)
    data_note(result)
    if result.is_diffusion:
        levels_view(result)
    else:
        strip(result)
        view = pick(
            "View", ["Graph", "Ranks", "Scores"], "view", label_visibility="collapsed", width="stretch"
        )
        if view == "Graph":
            graph_view(result)
        elif view == "Ranks":
            ranks_view(result)
        else:
            scores_view(result, known)
    again(result)


st.title("Hierarchy")
st.caption(
    "Which hidden concepts explain the observed ones, and which stand above which? A search by the ranks of observed tables, after "
    "arXiv 2406.00519."
)
show_refusal()
open_launched()
known = known_runs(STUDY)
if not known:
    nothing_yet(STUDY, EMPTY, "Search a first hierarchy")
else:
    run = choose_run(STUDY, known)
    if run["state"] == "done":
        finished(run, known)
    else:
        unfinished(run, WAITING)
claims_section(STUDY)
