"""Identify › Consistency: do the features of one seed come back in the others?"""

import streamlit as st

from app import run_set
from app.consistency_pairs import pairs_view
from app.consistency_parts import (
    STUDY,
    Run,
    choose_focus,
    choose_runs,
    data_note,
    first_strips,
    known_runs,
    next_steps,
)
from app.consistency_stability import stability_view
from app.consistency_sweep import sweep_view
from app.consistency_views import codes_view, training_view, truth_view
from app.launches import Launch, launches, show_launch
from app.run_set import Group
from app.study_claims import claims_section
from app.study_runs import ended_early, watch
from app.widgets import ACTIVE, PAGES, show_refusal


def live_note(run: Run) -> str:
    """What a reader sees being trained."""
    if len(run["seeds"]) < 2:
        return ""
    return (
        f"{len(run['seeds'])} sparse autoencoders learn side by side: same data in the same order, different random "
        "starts. How far they agree appears here when they are done."
    )


def unfinished(launch: Launch) -> None:
    """What to show of a launch that has no result, or not all of them."""
    if not launch.alone:
        show_launch(launch)
        return
    run = launch.runs[0]
    if run["state"] in ACTIVE:
        watch(run["id"], live_note(run), ("fvu", "pw_mcc_abs"))
    else:
        ended_early(run)


def result(runs: list[Run], known: list[Run]) -> None:
    """The strip, the next steps and the chosen view of the finished runs."""
    groups = run_set.groups(runs)
    left, right = st.columns([1, 3])
    with left:
        subset = st.segmented_control(
            "Latents",
            ["alive", "all"],
            default="alive",
            required=True,
            key="latents",
            bind="query-params",
            help="Alive: fires on a held-out token, or fired within the last dead_after training vectors.",
        )
    with right:
        focus = choose_focus(groups)
    first_strips(groups, focus, str(subset))
    next_steps(focus.runs[0], known)
    views = ["Pairs", "Sweep", "Stability", "Codes", "Training"]
    views += ["Truth"] if any(group.is_world for group in groups) else []
    if st.session_state.get("view", "Pairs") not in views:
        st.session_state["view"] = "Pairs"
    view = st.segmented_control(
        "View",
        views,
        default="Pairs",
        required=True,
        key="view",
        bind="query-params",
        label_visibility="collapsed",
        width="stretch",
    )
    show(str(view), groups, focus, str(subset), known)


def show(view: str, groups: list[Group], focus: Group, subset: str, known: list[Run]) -> None:
    """The chosen view; where it is about one recipe, its SAEs are called by their seeds alone."""
    alone = run_set.groups(list(focus.runs))[0]
    if view == "Sweep":
        sweep_view(groups, subset)
    elif view == "Stability":
        stability_view(alone, subset, known)
    elif view == "Codes":
        codes_view(alone, subset)
    elif view == "Training":
        training_view(groups, focus, subset)
    elif view == "Truth":
        truth_view(groups, focus, subset)
    else:
        pairs_view(groups, focus, subset)


st.title("Consistency")
st.caption(
    "Do the features learnt from one random start come back from another? PW-MCC: mean |cosine| of decoder directions after the best one-to-one matching (arXiv 2505.20254)."
)
show_refusal()
known = known_runs()
if not known:
    st.info("Nothing trained yet. Start the tour on Home, or set up a run of your own.")
    st.page_link(PAGES["home"], label="Home", icon=":material/home:")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
    st.stop()
chosen = choose_runs(known)
if not chosen:
    st.info("Choose at least one run above.")
    st.stop()
waiting = {run["group"] or run["id"] for run in chosen if run["state"] != "done"}
for launch in launches([run for run in known.values() if (run["group"] or run["id"]) in waiting]):
    unfinished(launch)
done = [run for run in chosen if run["state"] == "done"]
if done:
    data_note(done, known)
    result(done, list(known.values()))
    claims_section(STUDY, "The paper's claims and its critics', tested here")
