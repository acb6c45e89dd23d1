"""One latent of the page Causal graph: its loadings, partial dependence, and what setting it to a value changes."""

from typing import Any

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
from app.causal_parts import forget_unless, seed_choice
from app.connection import table
from app.study_runs import Run
from app.widgets import literal, picture

LONG_NAME = 18  # characters, beyond which two pictures need the whole width


def node_section(run: Run, nodes: pd.DataFrame, together: bool) -> None:
    """The chosen latent of one seed, as the study's own method learnt it."""
    st.subheader("One latent")
    if together:
        st.caption("Choose a latent once they are no longer taken together.")
        return
    names = list(nodes["name"])
    forget_unless("node", names)
    left, right = st.columns([3, 1])
    name = str(left.selectbox("Latent (or click one in the graph)", names, key="node", bind="query-params"))
    with right:
        seed = seed_choice(run)
    if _profile(run, seed, name, list(dict.fromkeys(nodes["modality"]))):
        _effects(run, seed, name)


def _pair(names: pd.Series) -> tuple[Any, Any]:
    """Two columns, or two rows where the names are long."""
    if len(names) and names.str.len().max() > LONG_NAME:
        return st.container(), st.container()
    return tuple(st.columns(2))  # type: ignore[return-value]


def _profile(run: Run, seed: int, name: str, order: list[str]) -> bool:
    """Loadings and partial dependence; whether there are any."""
    where = {"seed": seed, "latent": name}
    loadings = table(run["id"], "latent_loadings", where)
    dependence = table(run["id"], "partial_dependence", where)
    if loadings.empty:
        st.info(
            f"Seed {seed} has no latent called {literal(name)} by the study's own method; choose another seed or latent."
        )
        return False
    left, right = _pair(loadings["variable"])
    with left:
        picture(loadings_bar(loadings, order, name), loadings, "loadings")
    with right:
        picture(dependence_lines(dependence, loadings, name), dependence, "dependence")
    return True


@st.fragment
def _effects(run: Run, seed: int, name: str) -> None:
    """do(latent = value): a slider, and the change that follows."""
    changes = table(run["id"], "latent_interventions", {"seed": seed, "latent": name})
    st.subheader("Set it to a value")
    if changes.empty:
        st.caption("This run stored no interventions on this latent.")
        return
    values = values_of(changes)
    forget_unless("do", values)
    value = float(
        st.select_slider(
            f"do({name} = …), in standard deviations", values, max(values), key="do", bind="query-params",
            format_func=lambda one: f"{one:g}",
        )
    )  # fmt: skip
    left, right = _pair(changes["target"])
    now = changes[np.isclose(changes["value"], value)]
    with left:
        picture(intervention_bars(now, name, value, "measured variables"), now, "do-bars")
    with right:
        model = changes[changes["kind"] == "model"]
        picture(intervention_map(model, name, "measured variables", value), model, "do-map")
