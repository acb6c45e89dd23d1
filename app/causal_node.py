"""One latent of the page Causal graph: its loadings, partial dependence, and what setting it to a value changes."""

import numpy as np
import pandas as pd
import streamlit as st

from analyses.latent_details import (
    dependence_lines,
    intervention_bars,
    intervention_map,
    loadings_bar,
    values_of,
)
from analyses.multimodal_causal import OURS
from app.causal_parts import latent_rows, seed_choice
from app.connection import table
from app.study_runs import Run
from app.widgets import picture

TARGETS = {"variable": "measured variables", "latent": "latents"}


def node_section(run: Run, nodes: pd.DataFrame) -> None:
    """The chosen latent of one seed, for the study's own method."""
    st.subheader("One latent")
    own = latent_rows(table(run["id"], "latents"), run["seeds"][0], OURS)
    names = [name for name in nodes["name"] if name in set(own["name"])] or list(own["name"])
    if st.session_state.get("node") not in names:
        st.session_state["node"] = names[0]
    left, right = st.columns([3, 1])
    name = str(left.selectbox("Latent (or click one in the graph)", names, key="node", bind="query-params"))
    with right:
        seed = seed_choice(run)
    latents = latent_rows(table(run["id"], "latents"), seed, OURS)
    mine = latents[latents["name"] == name]
    if mine.empty:
        st.info(f"Seed {seed} has no latent called {name}; choose another seed.")
        return
    latent, order = str(mine.iloc[0]["latent"]), list(dict.fromkeys(nodes["modality"]))
    _profile(run, seed, latent, name, order)
    _effects(run, seed, latent, name)


def _profile(run: Run, seed: int, latent: str, name: str, order: list[str]) -> None:
    where = {"seed": seed, "latent": latent}
    loadings = table(run["id"], "latent_loadings", where)
    dependence = table(run["id"], "partial_dependence", where)
    left, right = st.columns(2)
    with left:
        picture(loadings_bar(loadings, order, name), loadings, "loadings")
    with right:
        picture(dependence_lines(dependence, loadings, name), dependence, "dependence")


@st.fragment
def _effects(run: Run, seed: int, latent: str, name: str) -> None:
    """do(latent = value): a slider, and the change that follows."""
    changes = table(run["id"], "latent_interventions", {"seed": seed, "latent": latent})
    st.subheader("Set it to a value")
    if changes.empty:
        st.caption("This run stored no interventions on this latent.")
        return
    values = values_of(changes)
    if st.session_state.get("do") not in values:
        st.session_state["do"] = values[int(np.argmax(values))]
    value = float(
        st.select_slider(
            f"do({name} = …), in standard deviations", values, key="do", bind="query-params",
            format_func=lambda one: f"{one:+.1f}",
        )
    )  # fmt: skip
    left, right = st.columns(2)
    now = changes[np.isclose(changes["value"], value)]
    with left:
        picture(intervention_bars(now, name, value, "measured variables"), now, "do-bars")
    with right:
        model = changes[changes["kind"] == "model"]
        picture(intervention_map(model, name, "measured variables", value), model, "do-map")
