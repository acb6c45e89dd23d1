"""Vision › Caption masks: what each caption selects in an image embedding."""

import streamlit as st

from app.masks_arms import arms_section, curves_section, gallery_section, sweep_section
from app.masks_features import features_section
from app.masks_inside import dimensions_section, probes_section
from app.masks_live import captions_section
from app.masks_parts import STUDY, about_pictures, choose_arm, finished_run, first_strip
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

KNOBS = (
    "lambda_sparse", "lambda_sweep", "arms", "arm_steps", "learning_rate", "mask_learning_rate", "captions", "tied", "scale",
    "batch_size", "n_test",
)  # fmt: skip

st.title("Caption masks")
st.caption(
    "SmartCLIP (arXiv 2507.22264) lets each caption choose, by a binary mask, the dimensions of an image embedding it is compared with: "
    "what a mask holds, what it leaves out, and whether another seed chooses the same."
)
show_refusal()
run = finished_run()
first_strip(run)
about_pictures(run)
chosen = choose_arm(run)
captions_section(chosen)
dimensions_section(chosen)
probes_section(chosen)
features_section(chosen)
sweep_section(chosen)
arms_section(run, chosen.d)
curves_section(run)
gallery_section(run)
rerun_section(run, KNOBS, "Learn it again")
claims_section(STUDY)
