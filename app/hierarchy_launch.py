"""Searching again from the hierarchy page: α, number of samples, latents per cover and statistic, with the cost."""

from typing import Any

import streamlit as st

from app.connection import client, may_launch, studies
from app.hierarchy_parts import STUDY, Result, Run
from app.study_form import parse_seeds, section
from app.study_runs import open_run
from app.widgets import attempt, duration, size
from engine.client import EngineError

ALPHAS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)
SAMPLES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
FIELDS = {
    True: ["diffusion_steps", "images"],
    False: ["max_k", "statistic", "n_latent_states", "n_bootstraps"],
}


@st.fragment
def again(result: Result) -> None:
    """A form of the settings that matter most here; it launches a run and opens it on this page."""
    run = result.run
    schema = studies()[STUDY]["schema"]
    with st.expander("Search again with other settings", icon=":material/tune:", key="again"):
        current = dict(run["config"])
        if not result.is_diffusion:
            _sliders(current)
        section(
            schema,
            [name for name in FIELDS[result.is_diffusion] if name in schema["properties"]],
            current,
            f"again-{run['id']}",
        )
        given = st.text_input(
            "Seeds", value=", ".join(map(str, run["seeds"])), key=f"again-seeds-{run['id']}",
            help="Separated by commas; in a world every seed draws its own tables and sample.",
        )  # fmt: skip
        seeds = parse_seeds(given)
        try:
            cost = client().estimate(STUDY, current, seeds, run["preset"], run["data_seed"])
        except EngineError as error:
            st.error(error.message)
            return
        button, note = st.columns([1, 3], vertical_alignment="center")
        same = current == run["config"] and seeds == run["seeds"]
        if button.button(
            "Search",
            type="primary",
            icon=":material/rocket_launch:",
            key="search-again",
            width="stretch",
            **may_launch(disabled=same),
        ):
            _launch(run, current, seeds)
        note.caption(
            "These are the settings of the run shown; change one."
            if same
            else f"About {duration(cost['seconds'])} and {size(cost['memory_bytes'])} of memory on this machine. {cost['based_on']}"
        )


def _sliders(current: dict[str, Any]) -> None:
    """α and N, which are chosen by magnitude."""
    left, right = st.columns(2, gap="medium")
    for column, name, values, title in (
        (left, "alpha", ALPHAS, "Level α of the rank test"),
        (right, "n_samples", SAMPLES, "Samples N"),
    ):
        options = sorted({*values, current[name]})
        current[name] = column.select_slider(
            title, options, value=current[name], key=f"again-{name}", format_func=lambda v: f"{v:,}"
        )


def _launch(run: Run, config: dict[str, Any], seeds: list[int]) -> None:
    queued = attempt(lambda: client().submit(STUDY, config, seeds, run["preset"], run["data_seed"]))
    if queued:
        st.session_state["open_hierarchy"] = queued["id"]
    st.rerun()


def open_launched() -> None:
    """Show the run that `again` has launched; before the page's chooser of runs."""
    if run_id := st.session_state.pop("open_hierarchy", None):
        open_run(STUDY, run_id)
