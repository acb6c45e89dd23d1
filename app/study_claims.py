"""The claims of a study's paper, as the last part of its page: what was measured here, and a button that tests them."""

import pandas as pd
import streamlit as st

from analyses.sae_frames import claims_table
from app.connection import client, may_launch, stay_connected, studies
from app.widgets import ACTIVE, attempt
from engine.client import EngineError

CLAIM_SEEDS = 5
CLAIM_COLUMNS = {
    "Claim": 245, "Verdict": 90, "Here (mean)": 90, "95 % interval": 115, "Seeds": 55, "Chance": 65,
    "Simple baseline": 115, "Paper": 160,
}  # fmt: skip


@st.cache_data(ttl=30, show_spinner=False)
def _claims(study: str) -> pd.DataFrame:
    return client().claims(study).to_pandas()


def claims_section(study: str, title: str = "The paper's claims, tested here") -> None:
    """The claims of a study with their verdicts, for any page."""
    st.subheader(title)
    _claims_under_way(study)
    try:
        found = _claims(study)
    except EngineError as error:
        st.error(error.message)
        return
    if found.empty:
        st.caption("Not tested on this machine yet.")
    else:
        st.dataframe(
            claims_table(found),
            hide_index=True,
            alt="Claims of the paper with their verdict",
            row_height=96,
            height="content",
            column_order=list(CLAIM_COLUMNS),
            column_config={
                name: st.column_config.Column(width=width) for name, width in CLAIM_COLUMNS.items()
            },
        )
    command = f"`concordance verify {study} --preset standard`"
    if not any(claim["in_tour"] for claim in studies()[study]["claims"]):
        st.caption(f"A tour trains too little to test these claims; {command} tests them.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Test the claims at tour size",
            on_click=_test_claims,
            args=(study,),
            icon=":material/science:",
            **may_launch(),
        )
        st.caption(f"Or {command}.")


def _test_claims(study: str) -> None:
    """Queue the runs that are missing; `_claims_under_way` measures when all are there."""
    wanted = attempt(lambda: client().claim_runs(study, "tour", CLAIM_SEEDS))
    st.session_state[_waiting(study)] = wanted or []


def _waiting(study: str) -> str:
    """Key of the runs that a study's claims wait for."""
    return f"claim_runs_{study}"


def _claims_under_way(study: str) -> None:
    """Progress of the runs the claims wait for; measures once when they are done."""
    runs = [client().run(run) for run in st.session_state.get(_waiting(study), [])]
    if any(run["state"] in ACTIVE for run in runs):
        _watch_claim_runs(study)
        return
    st.session_state[_waiting(study)] = []
    lost = sum(run["state"] != "done" for run in runs)
    if lost:
        st.warning(
            f"{lost} of the runs the claims need did not finish; resume them under Jobs, then test again."
        )
    elif runs:
        with st.spinner("Measuring the claims"):
            client().measure_claims(study, "tour", CLAIM_SEEDS)
        _claims.clear()


@st.fragment(run_every=2)
def _watch_claim_runs(study: str) -> None:
    stay_connected()
    runs = [client().run(run) for run in st.session_state[_waiting(study)]]
    left = sum(run["state"] in ACTIVE for run in runs)
    if not left:
        st.rerun()
    text = f"{left} of the {len(runs)} runs the claims need are under way; the figures appear here when all are done."
    st.progress(1 - left / len(runs), text=text)
