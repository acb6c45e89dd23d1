"""A concept of the hierarchy page: members, states, example inputs, and cards where members are SAE features."""

import re

import networkx as nx
import pandas as pd
import streamlit as st

from analyses.hierarchy_frames import OURS, latents_of, natural
from analyses.hierarchy_maps import state_map
from app.hierarchy_parts import Result, choose
from app.widgets import PAGES, picture

EXAMPLES = 8


def concept_section(result: Result, method: str, graph: nx.DiGraph, names: dict[int, dict[str, str]]) -> None:
    """The concept chosen by a click or in the list, kept in the link as ?concept=."""
    concepts = sorted(latents_of(graph), key=natural)
    st.subheader("Concept")
    if not concepts:
        st.caption("This graph has no latent.")
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        concept = choose("Concept", concepts, "concept", format_func=lambda name: _words(graph, name))
    own = {seed: old for seed, mine in names.items() for old, new in mine.items() if new == concept}
    with right:
        seed = int(choose("Seed it is read in", [str(one) for one in own], "concept_seed"))
    members = sorted(graph.successors(concept), key=natural)
    _members(result, graph, concept, members)
    if method != OURS:
        st.caption(f"States are estimated for the method “{OURS}” alone.")
        return
    _states(result, seed, own[seed], concept)


def _words(graph: nx.DiGraph, concept: str) -> str:
    count, states = graph.out_degree(concept), graph.nodes[concept]["n_states"]
    known = f", {states} states" if states else ""
    return f"{concept}: {count} member{'' if count == 1 else 's'}{known}"


def _members(result: Result, graph: nx.DiGraph, concept: str, members: list[str]) -> None:
    """Children of the concept, with the share that has the edge; features have a link to their card."""
    frame = pd.DataFrame(
        {
            "member": members,
            "kind": [graph.nodes[name]["kind"] for name in members],
            "group": [graph.nodes[name]["group"] for name in members],
            "share": [graph.edges[concept, name]["share"] for name in members],
        }
    )
    columns = {
        "share": st.column_config.NumberColumn(
            format="%.2f", help="Share of seeds, or of bootstraps, whose graph has this edge"
        )
    }
    cards = [card_link(result, name) for name in members]
    if any(cards):
        frame["card"] = cards
        columns["card"] = st.column_config.LinkColumn(display_text="open card")
    if not frame["group"].any():
        frame = frame.drop(columns="group")
    st.dataframe(frame, hide_index=True, alt=f"Members of {concept}", column_config=columns)


def card_link(result: Result, member: str) -> str | None:
    """The card of a member that is an SAE feature ("feature 12"), or None."""
    number = re.search(r"(\d+)$", member)
    config = result.config
    if config["source"] != "features" or not number:
        return None
    return f"features?runs={config['of']}&seed={config['of_seed']}&feature={number[1]}"


def _states(result: Result, seed: int, own: str, concept: str) -> None:
    """How the states of a concept show in its members, and inputs of each state; `own` is its name in the seed."""
    states = result.rows("concept_states", seed=seed, concept=own)
    examples = result.rows("concept_examples", seed=seed, concept=own)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picture(state_map(states, concept), states, "concept-states")
    with right:
        if examples.empty:
            st.caption("No example inputs were stored for this concept.")
            return
        numbers = sorted(int(state) for state in examples["state"].unique())
        state = int(choose("Inputs of state", [str(n) for n in numbers], "concept_state"))
        part = examples[examples["state"] == state].sort_values("rank").head(EXAMPLES)
        st.dataframe(
            part[["row", "text"]].rename(columns={"text": "input"}),
            hide_index=True,
            alt=f"Inputs that are most surely in state {state} of {concept}",
            row_height=56,
            column_config={"row": st.column_config.NumberColumn(width=60)},
        )
    if result.config["source"] == "features":
        st.page_link(
            PAGES["features"],
            label="All features of that run",
            icon=":material/apps:",
            query_params={"runs": result.config["of"], "seed": str(result.config["of_seed"])},
        )
