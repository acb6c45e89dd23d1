"""Reason › Refinement: what a recurrent reasoner changes its mind about."""

import streamlit as st

from app.active_features import cell_features
from app.refinement_arms import ablations_section, accuracy_section, seeds_section
from app.refinement_boards import boards_section
from app.refinement_own import own_section
from app.refinement_parts import STUDY, choose_beside, first_strip, named
from app.refinement_state import finished_run
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

KNOBS = (
    "blocks", "recurrences", "budget", "teraflops", "n_steps", "model", "layers", "injection", "injected_blocks", "alignment",
    "weights", "positions",
)  # fmt: skip

st.title("Refinement")
st.caption(
    "A recurrent reasoner applies one block to a puzzle's state again and again and is compared with the answer now and then "
    "(SR², arXiv 2510.08222): every board it passes through, what it breaks meanwhile, and which of its parts it needs."
)
show_refusal()
run, known = finished_run()
first_strip(run)
runs = named(choose_beside(run, known))
boards_section(runs)
cell_features(run)
own_section(run)
accuracy_section(runs)
seeds_section(run)
rerun_section(run, KNOBS, "Train it again")
ablations_section(run)
claims_section(STUDY)
