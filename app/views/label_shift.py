"""Shift › Label shift: a deployed classifier moves the classes it meets; forecast that and correct it."""

import streamlit as st

from app.label_shift_choice import choice_section
from app.label_shift_curves import backbones_section, few_section
from app.label_shift_forecast import forecast_section, mechanism_section
from app.label_shift_parts import STUDY, finished_run, first_strip
from app.label_shift_rounds import rounds_section
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

KNOBS = (
    "source", "mechanism", "tau", "own_share", "feature_step", "noise", "n_classes", "words", "rounds", "swap_rounds", "labels",
    "steps_per_round", "hidden", "schedule", "decisions", "fine_tune",
)  # fmt: skip

st.title("Label shift")
st.caption(
    "A deployed classifier changes which classes it meets next (performative label shift, arXiv 2410.04499). The backbone stays frozen; "
    "a small network forecasts the next class shares from today's class accuracies, and Bayes' rule corrects the answers."
)
show_refusal()
run = finished_run()
first_strip(run)
rounds_section(run)
forecast_section(run)
mechanism_section(run)
choice_section(run)
few_section(run)
backbones_section(run)
rerun_section(run, KNOBS, "Play it again")
claims_section(STUDY)
