"""The guided tour on Home: a card for every study but the first, what it asks, its tour, what was measured, where to look."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.connection import client, may_launch, studies
from app.study_runs import start_tour
from app.widgets import ACTIVE, PAGES, RESULTS, ago

Run = dict[str, Any]
ABREAST = 2


@dataclass(frozen=True)
class Stop:
    """A study on the tour: what it asks, the words and sign of its button, what to look at first on its page."""

    asks: str
    button: str
    icon: str
    look: str


FIRST = "sae_consistency"
FIRST_LOOK = (
    "Look first at PW-MCC beside its null; then click a cell of the heat map to read matched features."
)
STOPS = {
    "multimodal_causal": Stop(
        "Several kinds of measurement of the same subjects: which hidden causes do they share, and what acts on what?",
        "Draw a causal graph",
        ":material/account_tree:",
        "Look first at the links that every seed found, then lay the truth over them.",
    ),
    "concept_hierarchy": Stop(
        "Many concepts that are on or off: which broader concepts stand above them, level by level?",
        "Find a concept hierarchy",
        ":material/schema:",
        "Look first at the F1 beside its chance, then open a concept to see what stands below it.",
    ),
    "sapo": Stop(
        "A diffusion language model fills in its answer step by step: does each step do work, and is its trace the reason?",
        "Reinforce a denoiser",
        ":material/blur_on:",
        "Look first at the arms with equal compute, then play a rollout step by step.",
    ),
    "sr2": Stop(
        "A recurrent reasoner goes over a puzzle again and again: what does it change its mind about, and do two seeds think alike?",
        "Train a reasoner",
        ":material/grid_on:",
        "Look first at what is solved after each block, then play a puzzle.",
    ),
    "label_shift": Stop(
        "A deployed classifier changes what it is asked next: can that be forecast, and the classifier corrected without training?",
        "Deploy and forecast",
        ":material/sync_alt:",
        "Look first at the excess loss of the adapter beside no correction and a one-parameter fit.",
    ),
    "extrapolation": Stop(
        "A single sample lies where the source never was: is it explained by the nearest source, or by the least that changed?",
        "Extrapolate a first time",
        ":material/explore:",
        "Look first at accuracy against distance, then move a single sample.",
    ),
    "counterfactual_text": Stop(
        "What would this say had only its style been another? Content and style are told apart, and style moved through its noise.",
        "Learn content and style",
        ":material/swap_horiz:",
        "Look first at the counterfactual error: 1 is leaving a row as it is.",
    ),
    "srf": Stop(
        "A vision-language model labels images by itself and keeps what it can predict back: is what is kept right, and does it help?",
        "Generate triplets",
        ":material/change_history:",
        "Look first at the precision of what is kept beside random, then review triplets with the keys K, X and U.",
    ),
    "smartclip": Stop(
        "Each caption chooses which dimensions of an image embedding it is compared with: what is in a mask, and what is not?",
        "Learn caption masks",
        ":material/filter_b_and_w:",
        "Look first at the separation: what masks tell beyond random ones of their size.",
    ),
}


def guide(runs: list[Run]) -> None:
    """The cards; `runs` are those known, newest first."""
    offered = [study for study in STOPS if study in studies()]
    for row in range(0, len(offered), ABREAST):
        for column, study in zip(st.columns(ABREAST), offered[row : row + ABREAST], strict=False):
            with column, st.container(border=True, height="stretch"):
                _card(study, STOPS[study], [run for run in runs if run["study"] == study])


def _card(study: str, stop: Stop, runs: list[Run]) -> None:
    st.markdown(f"**{studies()[study]['title']}.** {stop.asks}")
    st.button(
        stop.button, on_click=_start, args=(study,), icon=stop.icon, key=f"start-{study}", **may_launch()
    )
    st.caption(f"{_standing(runs)} {measured(study)} {stop.look}")
    page_of(study)


def page_of(study: str) -> None:
    """A link to the study's page."""
    page = RESULTS[study][0]
    st.page_link(
        PAGES[page], label=f"Open {page.replace('_', ' ').capitalize()}", icon=":material/arrow_forward:"
    )


def _start(study: str) -> None:
    st.session_state["go"] = start_tour(study)


def _standing(runs: list[Run]) -> str:
    """How the study's tour stands on this machine."""
    tours = [run for run in runs if run["preset"] == "tour"]
    done = next((run for run in tours if run["state"] == "done"), None)
    if done:
        return f"Its tour was trained here {ago(done['finished'])}."
    return (
        "Its tour is being trained."
        if any(run["state"] in ACTIVE for run in tours)
        else "Not trained here yet."
    )


@st.cache_data(ttl=30, show_spinner=False)
def measured(study: str) -> str:
    """What was measured of the study's claims on this machine, in a sentence."""
    verdicts = client().claims(study)["verdict"].to_pylist()
    shown, not_shown = verdicts.count("shown"), verdicts.count("not shown")
    if not shown + not_shown:
        return "Its claims were not tested here yet."
    total = len(studies()[study]["claims"])
    return f"Of its {total} claims {shown} are shown here, {not_shown} are not, {total - shown - not_shown} were not tested."
