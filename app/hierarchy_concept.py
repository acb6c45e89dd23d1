"""A concept of the hierarchy page: members, states, example inputs, and cards where members are SAE features."""

import re

import networkx as nx
import pandas as pd
import streamlit as st

from analyses.hierarchy_frames import OURS, latents_of, natural
from analyses.hierarchy_maps import state_map
from app.hierarchy_parts import Result, choose, pick
from app.widgets import picture

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
        concept = choose("Concept", concepts, "concept")
    own = {seed: old for seed, mine in names.items() for old, new in mine.items() if new == concept}
    with right:
        seed = int(choose("Seed it is read in", [str(one) for one in own], "concept_seed"))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        members = sorted(graph.successors(concept), key=natural)
        _members(result, graph, concept, members)
    if method != OURS:
        right.caption(f"States are estimated for the method “{OURS}” alone.")
        return
    with right:
        states = result.rows("concept_states", seed=seed, concept=own[seed])
        states = states.assign(member=states["member"].replace(names[seed]))
        picture(state_map(states, concept), states, "concept-states")
    _examples(result.rows("concept_examples", seed=seed, concept=own[seed]), concept)


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
    count = f"{len(members)} member{'' if len(members) == 1 else 's'}"
    st.caption(
        f"{concept} has {count} in the graph above; its states are read in the observed variables below it."
    )
    if not frame["group"].any():
        frame = frame.drop(columns="group")
    st.dataframe(frame, hide_index=True, alt=f"Members of {concept}", column_config=columns)


def card_link(result: Result, member: str) -> str | None:
    """The card of a member that is an SAE feature ("f12"), or None."""
    number = re.fullmatch(r"f(\d+)", member)
    config = result.config
    if config["source"] != "features" or not number:
        return None
    return f"features?runs={config['of']}&seed={config['of_seed']}&feature={number[1]}"


def _examples(examples: pd.DataFrame, concept: str) -> None:
    """Inputs that are most surely in a state of the concept."""
    if examples.empty:
        st.caption("No example inputs were stored for this concept.")
        return
    states = sorted(int(state) for state in examples["state"].unique())
    state = int(pick("Inputs in state", [str(one) for one in states], "concept_state"))
    part = examples[examples["state"] == state].sort_values("rank").head(EXAMPLES)
    st.dataframe(
        part[["row", "text"]].rename(columns={"text": "input"}),
        hide_index=True,
        alt=f"Inputs that are most surely in state {state} of {concept}",
        row_height=56,
        column_config={
            "row": st.column_config.NumberColumn(width=80),
            "input": st.column_config.TextColumn(width=900),
        },
    )
