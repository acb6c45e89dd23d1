"""Identify › Recovery: are the learnt latents the true ones, and do they come back from another seed?"""

import streamlit as st

from app.causal_parts import STUDY, choice, finished_run, first_strip, is_known
from app.recovery_parts import path_view, real_scores, seeds_view, truth_view
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.study_runs import Run
from app.widgets import PAGES, show_refusal

AGAINST, ACROSS, PATH = "Against the truth", "Across seeds", "Sparsity path"


@st.fragment
def explore(run: Run) -> None:
    """The chosen view; a click redraws only this."""
    views = [AGAINST, ACROSS, PATH] if is_known(run) else [ACROSS, PATH]
    view = choice("View", views, "recovery", label_visibility="collapsed", width="stretch")
    if view == AGAINST:
        truth_view(run)
    elif view == ACROSS:
        seeds_view(run)
    else:
        path_view(run)
    if not is_known(run):
        real_scores(run)


st.title("Recovery")
st.caption(
    "MCC: mean |correlation| of latents after one-to-one matching. R²: how much of a true block its learnt one predicts "
    "(arXiv 2411.06518). A block that is merely turned keeps its R² and a high MCC, so read MCC against its chance."
)
show_refusal()
run = finished_run()
first_strip(run)
st.page_link(
    PAGES["causal_graph"], label="The graph between these latents", icon=":material/account_tree:",
    query_params={"run": run["id"]},
)  # fmt: skip
explore(run)
rerun_section(run, ("n_latents", "lambda_grid", "n_samples"), "Learn them again")
claims_section(STUDY)
