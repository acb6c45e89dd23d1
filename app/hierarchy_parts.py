"""The head of the hierarchy page: a finished run's tables, choices kept in the link, first strip, where the data came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import pandas as pd
import streamlit as st

from analyses.hierarchy_frames import BEFORE, OURS, TRUTH, hierarchy, summary, worlds
from app.connection import client, table
from app.widgets import literal

STUDY = "concept_hierarchy"
QUESTIONNAIRES = {
    "bfi": "25 items of a personality questionnaire",
    "burnout": "32 indicators of a questionnaire on the burnout of teachers",
}
Run = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The tables of a finished run, as the page asks for them."""

    run: Run

    def rows(self, name: str, **where: Any) -> pd.DataFrame:
        return table(self.run["id"], name, where or None)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.run["config"])

    @property
    def is_world(self) -> bool:
        return bool(self.config["source"] == "world")

    @property
    def is_diffusion(self) -> bool:
        return bool(self.config["source"] == "images")

    @cached_property
    def nodes(self) -> pd.DataFrame:
        return self.rows("hierarchy_nodes")

    @cached_property
    def edges(self) -> pd.DataFrame:
        return self.rows("hierarchy_edges")

    @cached_property
    def scores(self) -> pd.DataFrame:
        return self.rows("hierarchy_scores")

    @property
    def seeds(self) -> list[int]:
        return sorted(int(seed) for seed in self.nodes["seed"].unique())

    @property
    def methods(self) -> list[str]:
        """The methods that found a graph, ours first."""
        found = [name for name in self.nodes["method"].unique() if name not in (TRUTH, BEFORE)]
        return sorted(found, key=lambda name: name != OURS)

    @property
    def has_truth(self) -> bool:
        return TRUTH in set(self.nodes["method"])

    @property
    def one_world(self) -> bool:
        """Whether every seed has the same true graph, or none is known."""
        return len(set(worlds(self.nodes, self.edges).values())) < 2

    def graph(self, method: str, seed: int) -> nx.DiGraph:
        """A method's graph of a seed; known groups of variables are kept where they are not read off the truth."""
        nodes = self.nodes.assign(group="") if self.has_truth else self.nodes
        return hierarchy(nodes, self.edges, method, seed)


def pick(label: str, options: Sequence[Any], key: str, *, default: Any = None, **more: Any) -> Any:
    """A choice of a few, kept in the link as ?key=; what is not an option falls back to the default, or the first."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]
    first = options[0] if default is None else default
    return st.segmented_control(
        label, options, default=first, required=True, key=key, bind="query-params", **more
    )


def choose(label: str, options: Sequence[str], key: str, **more: Any) -> str:
    """A choice from a list, kept in the link as ?key=."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]
    return str(st.selectbox(label, options, key=key, bind="query-params", **more))


@st.cache_data(max_entries=200, show_spinner=False)
def _summary(run_id: str) -> dict[str, Any]:
    nodes, edges, scores = (table(run_id, f"hierarchy_{name}") for name in ("nodes", "edges", "scores"))
    return summary(nodes, edges, scores, OURS)


def strip(result: Result) -> None:
    """Consistency across seeds · recovery of the truth · chance."""
    found = _summary(result.run["id"])
    pairs = f"mean of {found['pairs']} pair{'' if found['pairs'] == 1 else 's'} of seeds"
    same = f"{pairs} with one true graph" if result.has_truth else pairs
    cells = [
        (
            "Seeds agree",
            found["skeleton_f1"],
            f"skeleton F1, {same}" if found["pairs"] else "needs two seeds",
        ),
        (
            "Clusters agree",
            found["rand"],
            f"adjusted Rand index, {pairs}" if found["pairs"] else "needs two seeds",
        ),
    ]
    if result.has_truth:
        cells.append(("Recovery", found["recovery"], f"skeleton F1 with the truth{_interval(found)}"))
        cells.append(
            ("Chance", found["chance"], "skeleton F1 of the same graphs with the observed names shuffled")
        )
    elif found["factors"] is not None:
        cells.append(
            ("Known groups", found["factors"], "adjusted Rand index of the clusters with the named groups")
        )
        cells.append(("Chance", 0.0, "the index is 0 on average for groups that know nothing"))
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, "–" if value is None else f"{value:.3f}")
        column.caption(note)
    st.markdown(verdict(found, result.has_truth))


def _interval(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return ""
    return f", 95 % interval {found['low']:.3f} to {min(found['high'], 1.0):.3f} over {found['seeds']} seeds"


def verdict(found: dict[str, Any], has_truth: bool) -> str:
    """One sentence on the strip; it looks at the interval, never at the mean alone."""
    if not has_truth:
        return "The true graph of these data is not known: nothing here says how right a graph is, only whether it comes back."
    exact = f"{found['exact']} of {found['seeds']} graphs are exactly the true one after reduction."
    if found["low"] is None or found["chance"] is None:
        return f"{exact} An interval over seeds needs two seeds or more, and a chance level."
    clear = found["low"] > found["chance"]
    words = "Above chance" if clear else "Not clearly above chance"
    return f"{words}: the interval starts at {found['low']:.3f}, chance is {found['chance']:.3f}. {exact}"


@st.cache_data(max_entries=200, show_spinner=False)
def _data_event(run_id: str) -> dict[str, Any]:
    rows = client().events(run_id)["rows"]
    return next((row for row in reversed(rows) if row["kind"] == "data"), {})


def data_note(result: Result) -> None:
    """Where the data came from, with tier and licence where the run has written them down."""
    config = result.config
    said = _data_event(result.run["id"])
    if result.is_world:
        seen = (
            "seen as they are"
            if config["observed"] == "states"
            else "seen through an invertible mixing (step 1)"
        )
        note = (
            f"Data: a {config['shape']} world of discrete concepts with {config['n_states']} states each, {seen}; every seed "
            "draws its own tables and sample (tier: synthetic)."
        )
    elif result.is_diffusion:
        note = f"Data: images with two known concepts ({config['images'].replace('_', ' and ')})."
    elif config["source"] == "features":
        note = f"Data: SAE features of run {config['of'][:6]}, active or not; every seed reads a random part of the rows."
    else:
        name = QUESTIONNAIRES.get(config["source"]) or literal(config["table"])
        note = f"Data: {name}; every seed reads a random part of the rows."
    parts = [said[name] for name in ("label", "tier", "licence") if said.get(name)]
    st.caption(note + (f" {literal(' · '.join(map(str, parts)))}." if parts else ""))
