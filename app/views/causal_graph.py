"""Identify › Causal graph: what acts on what among the latents of several modalities."""

import streamlit as st

from app.causal_graph import choose_view, draw, own_graph
from app.causal_node import node_section
from app.causal_parts import STUDY, finished_run, first_strip, is_known
from app.connection import table
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.study_runs import Run
from app.widgets import PAGES, show_refusal

KNOBS = ("edge_threshold", "lambda_grid", "n_samples")


@st.fragment
def explore(run: Run) -> None:
    """The graph and the chosen latent; a click redraws only these."""
    above = st.container()
    with st.container(horizontal=True, vertical_alignment="center"):
        together = st.toggle(
            "Take each modality's latents together", key="together", bind="query-params",
            help="One node a modality; the strongest link between two modalities stands for all of them.",
        )  # fmt: skip
        fade = st.toggle(
            "Fade what does not touch the chosen latent", key="fade", bind="query-params", disabled=together
        )
        if not is_known(run):
            own_graph(run)
        st.page_link(
            PAGES["recovery"], label="How well the latents are recovered", icon=":material/grid_on:",
            query_params={"run": run["id"]},
        )  # fmt: skip
    with above:
        view = choose_view(run, together)
        draw(run, view, fade)
    node_section(run, view.nodes, view.together)


st.title("Causal graph")
st.caption(
    "Latents learnt from several modalities of the same subjects, and the links between them (arXiv 2411.06518): a column a "
    "modality, an arrow from cause to effect, stronger where more seeds or bootstraps found it."
)
show_refusal()
run = finished_run()
first_strip(run)
if table(run["id"], "latent_edges").empty:
    st.info("This run stored no graph; launch it again under Learn it again below.")
else:
    explore(run)
rerun_section(run, KNOBS)
claims_section(STUDY)
