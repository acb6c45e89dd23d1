"""Edit › Counterfactuals: content and style told apart, and what would be had only the style noise been another."""

import streamlit as st

from app.counterfactual_inside import (
    data_section,
    divergence_section,
    example_section,
    influence_section,
    recovery_section,
)
from app.counterfactual_live import live_section
from app.counterfactual_pairs import about_failures, pairs_section, scores_section
from app.counterfactual_parts import STUDY, choose_arm, finished_run, first_strip, reads_text
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

KNOBS = (
    "lambda_sparse", "lambda_partial", "lambda_mask", "arms", "flow", "d_content", "d_style", "own_outputs", "worlds", "n_steps",
    "learning_rate", "word_dropout", "free_bits", "push", "labelled", "words",
)  # fmt: skip

st.title("Counterfactuals")
st.caption(
    "MATTE (arXiv 2402.15309) learns content and style from several domains without labels. Style depends on content and domain and on "
    "a noise of its own; a counterfactual changes that noise alone and keeps content and domain."
)
show_refusal()
run = finished_run()
first_strip(run)
chosen = choose_arm(run)
live_section(chosen)
if reads_text(run):
    pairs_section(chosen)
    about_failures(run)
    scores_section(run)
else:
    recovery_section(run)
    example_section(chosen)
influence_section(chosen)
divergence_section(chosen)
data_section(run)
rerun_section(run, KNOBS)
claims_section(STUDY)
