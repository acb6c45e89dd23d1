"""Edit › Extrapolation: explain a single sample off the source's support by the nearest, or by the least, that changed."""

import streamlit as st

from app.extrapolation_map import choices_section, map_section, offer_pictures, sample_section
from app.extrapolation_parts import STUDY, finished_run, first_strip, on_worlds, regime_choice
from app.extrapolation_worlds import distance_section, target_section
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

WORLD_KNOBS = (
    "regime", "invariant", "n_affected", "slope", "noise", "n_classes", "changed", "pull", "n_targets", "steps", "fit_steps",
    "own_world",
)  # fmt: skip
PICTURE_KNOBS = ("source", "clip", "n_pictures", "adapt_steps", "steps", "batch_size", "learning_rate")

st.title("Extrapolation")
st.caption(
    "One sample lies where the source never was (arXiv 2501.09163). If everything about it may have moved a little, take the nearest "
    "explanation; if only a few things moved, however far, take the one that changes the fewest. Each sample is met alone."
)
show_refusal()
run = finished_run()
if on_worlds(run):
    regime = regime_choice(run)
    first_strip(run, regime)
    target_section(run, regime)
    distance_section(run, regime)
    offer_pictures()
else:
    first_strip(run, "")
    map_section(run)
    sample_section(run)
    choices_section(run)
rerun_section(run, WORLD_KNOBS if on_worlds(run) else PICTURE_KNOBS, "Extrapolate again")
claims_section(STUDY)
