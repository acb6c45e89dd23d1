"""Ask for a run again with other values of a few fields, from the page that shows it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.connection import client, may_launch, studies
from app.study_form import section
from app.study_runs import Run, open_run
from app.widgets import PAGES, attempt, duration, show_refusal, unused_seeds
from engine.client import EngineError

LAUNCHED = "launched_again"


@st.fragment
def rerun_section(run: Run, fields: Sequence[str], title: str = "Learn it again") -> None:
    """Inputs of `fields` at the run's values, what the new run costs, and a button that launches and shows it."""
    if st.session_state.pop(LAUNCHED, False):
        st.rerun()
    st.subheader(title)
    show_refusal()
    schema = studies()[run["study"]]["schema"]
    config = {**run["config"]}
    key = f"again-{run['id']}"
    section(schema, [name for name in fields if name in schema["properties"]], config, key)
    more = int(
        st.number_input(
            "Seeds to add",
            min_value=0,
            max_value=20,
            value=0,
            key=f"{key}-seeds",
            help="0 keeps the run's seeds; more are trained beside them in the new run.",
        )
    )
    seeds = [*run["seeds"], *unused_seeds(set(run["seeds"]), more)]
    if config == run["config"] and not more:
        st.caption("Change a value and a new run with everything else the same can be launched from here.")
        return
    try:
        cost = client().estimate(run["study"], config, seeds, run["preset"], run["data_seed"])
    except EngineError as error:
        st.error(error.message)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run with these values",
            type="primary",
            on_click=_launch,
            args=(run, config, seeds),
            icon=":material/replay:",
            key=f"{key}-go",
            **may_launch(),
        )
        st.page_link(
            PAGES["new"], label="All settings", icon=":material/tune:", query_params={"clone": run["id"]}
        )
        if "seconds" in cost:
            st.caption(f"About {duration(cost['seconds'])} on this machine, {len(seeds)} seeds.")


def _launch(run: Run, config: dict[str, Any], seeds: list[int]) -> None:
    """Queue the run with another config; the page then shows it."""
    new = attempt(lambda: client().submit(run["study"], config, seeds, run["preset"], run["data_seed"]))
    if new:
        open_run(run["study"], new["id"])
        st.session_state[LAUNCHED] = True
