"""Vision › Triplets: what a model wrote about unlabelled images, whether it comes back the same, and whether that means it is right."""

import streamlit as st

from app.connection import client
from app.study_claims import claims_section
from app.study_rerun import rerun_section
from app.study_runs import Run
from app.triplets_arms import arms_section, generators_section, rounds_section
from app.triplets_cut import counts_strip, cut_pictures
from app.triplets_map import lasso_section
from app.triplets_parts import STUDY, finished_run, first_strip, weakness_warning
from app.triplets_review import review_area
from app.triplets_select import (
    is_retrained,
    outcome,
    retrained_note,
    selection_bar,
    selections_section,
)
from app.triplets_state import View, cut_controls, filters, listing, overview, reviewer, summary_of
from app.widgets import show_refusal

KNOBS = (
    "n_labelled", "n_pool", "shift", "generator_steps", "temperature", "keep", "tie_break", "rounds", "arms", "sweep", "arm_steps",
)  # fmt: skip


@st.fragment
def review(run: Run) -> None:
    """Cut, pictures, grid and verdicts; moving the cut or judging runs only this part again."""
    show_refusal()
    known = overview(run["id"], run["finished"] or 0.0)
    if not known["n"]:
        st.info("This run wrote no triplet.")
        return
    cut = cut_controls(known)
    query = {"cut": cut, **filters(known)}
    version = client().reviews(run["id"])["version"]
    part = {name: query[name] for name in ("cut", "types", "seeds", "rounds")}
    summary = summary_of(run["id"], version, part)
    view = View(run, known, query, "", version)
    counts_strip(view, summary)
    cut_pictures(view, summary)
    st.subheader("Triplets")
    left, right = st.columns([5, 1.4], vertical_alignment="bottom")
    with left:
        query |= listing()
    with right:
        who = reviewer()
    query["only"] = lasso_section(run["id"], version, dict(query))
    queues = summary["queues"]
    st.caption(
        f"{queues['consistent_wrong']:,} consistent but wrong · {queues['inconsistent_right']:,} inconsistent but right · "
        f"{queues['reviewed']:,} reviewed · {queues['disputed']:,} disputed"
    )
    view = View(run, known, query, who, version)
    review_area(view)
    selection_bar(view, summary["total"])


st.title("Triplets")
st.caption(
    "A model writes a question and an answer about an image, then predicts each from the other; what comes back the same is kept "
    "(SRF, arXiv 2510.10487). Here is the triangle itself, what the filter keeps, whether that is right, and training on what you keep."
)
show_refusal()
run = finished_run()
if is_retrained(run):
    retrained_note(run)
    outcome(run)
else:
    first_strip(run)
    weakness_warning(run)
    review(run)
    selections_section(run)
arms_section(run)
if not is_retrained(run):
    rounds_section(run)
    generators_section(run)
rerun_section(run, KNOBS, "Learn it again")
claims_section(STUDY)
