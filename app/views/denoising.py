"""Reason › Denoising: is each denoising step of a diffusion language model doing work?"""

import streamlit as st

from app.active_features import token_features
from app.denoising_arms import arms_section, curves_section, imported_section
from app.denoising_live import own_section, remask_section
from app.denoising_parts import STUDY, choose_pair, first_strip, is_imported
from app.denoising_rollouts import rollouts_section
from app.denoising_state import finished_run
from app.denoising_words import task_words
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.widgets import show_refusal

KNOBS = (
    "arms", "iterations", "group_size", "prompts", "learning_rate", "process_rollouts", "t1", "t2", "temperature", "remasking",
    "junk_share", "eval_prompts",
)  # fmt: skip

st.title("Denoising")
st.caption(
    "A masked-diffusion language model fills in its answer step by step (SAPO, arXiv 2510.01544): what each step commits and adds, "
    "whether the trace carries the answer, and what step-aware reinforcement changes."
)
show_refusal()
run, known = finished_run()
if is_imported(run):
    imported_section(run)
else:
    first_strip(run)
    st.caption(f"Task: {task_words(run['config'])}, generated; every answer is checked by rule.")
chosen = choose_pair(run, known)
shown = rollouts_section(chosen)
if shown is not None:
    token_features(run, shown)
    remask_section(chosen[0], shown)
own_section(chosen, shown.prompt if shown is not None else "")
if not is_imported(run):
    curves_section(run)
    arms_section(run)
    rerun_section(run, KNOBS, "Train it again")
claims_section(STUDY)
