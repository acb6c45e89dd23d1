"""The picture of the page Causal graph: what is drawn over what, how sure it must be, and its files."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analyses.graph_files import read_graph, to_dot, to_graphml
from analyses.latent_frames import (
    BOOTSTRAPS,
    BOTH,
    FOUND,
    ONLY_FOUND,
    ONLY_REFERENCE,
    REFERENCE,
    SEEDS,
    Edge,
    alone,
    by_modality,
    edge_shares,
    graph_nodes,
    has_bootstraps,
    overlay,
    pairs_of,
    scores_text,
    to_graph,
)
from analyses.latent_graph import graph_figure
from analyses.multimodal_causal import PC
from app.causal_parts import choice, is_known, method_choice
from app.connection import table
from app.study_runs import Run
from app.widgets import picture

ESTIMATE, COMPARED, OTHER = "Estimate", "Difference", "Reference"
TRUE, BASELINE, OWN, UPLOADED = "the truth", "the PC baseline", "your graph", "your file"
GRAPH = "causal-graph"


@dataclass(frozen=True)
class View:
    """What is drawn: nodes, links with their status, and the words for it."""

    nodes: pd.DataFrame
    edges: pd.DataFrame
    title: str
    subtitle: str
    words: dict[str, str]
    of: str


def references(run: Run, edges: pd.DataFrame, names: list[str]) -> dict[str, list[Edge]]:
    """The graphs that the estimate can be laid over, by their words. Only a world has a truth."""
    found: dict[str, list[Edge]] = {}
    stored = pairs_of(table(run["id"], "true_edges"))
    if is_known(run):
        found[TRUE] = stored
    elif stored:
        found[OWN] = stored
    if uploaded := st.session_state.get(_own_key(run)):
        found[UPLOADED] = [edge for edge in uploaded if set(edge) <= set(names)]
    pc = edges[(edges["method"] == PC) & edges["present"]]
    if len(pc):
        found[BASELINE] = list(dict.fromkeys(pairs_of(pc)))
    return found


def _own_key(run: Run) -> str:
    return f"own_graph_{run['id']}"


def choose_view(run: Run) -> View:
    """The controls above the graph, and what they ask to be drawn."""
    run_id = run["id"]
    edges, latents = table(run_id, "latent_edges"), table(run_id, "latents")
    first, second, third, fourth = st.columns([5, 8, 6, 6], vertical_alignment="bottom")
    with first:
        drawable = edges[edges["method"] != PC] if len(edges) else edges
        method = method_choice(
            drawable, "Whose graph is drawn. Two stages is the study's method; the others are baselines."
        )
    nodes = graph_nodes(latents, table(run_id, "true_latents"), method)
    known = references(run, edges, list(nodes["name"]))
    with second:
        reference = _choose_reference(known)
    with third:
        sources = [SEEDS, BOOTSTRAPS] if has_bootstraps(edges, method) else [SEEDS]
        sources = sources[::-1] if not is_known(run) else sources
        of = choice("How sure: share of", sources, "sure")
    with fourth:
        least = st.slider(
            "Draw links found in at least",
            0.05,
            1.0,
            0.5,
            0.05,
            key="share",
            bind="query-params",
            format="percent",
        )
    shares = edge_shares(edges, method, of, len(run["seeds"]))
    together = st.session_state.get("together", False)
    return _view(
        nodes, shares[shares["share"] >= least - 1e-9], known, reference, method, of, float(least), together
    )


def _choose_reference(known: dict[str, list[Edge]]) -> tuple[str, str]:
    """What is drawn (Estimate, Difference or Reference) and against which reference."""
    if not known:
        st.segmented_control("Show", [ESTIMATE], default=ESTIMATE, disabled=True, key="only_estimate")
        return ESTIMATE, ""
    mode = choice("Show", [COMPARED, ESTIMATE, OTHER], "overlay", COMPARED if TRUE in known else ESTIMATE)
    if len(known) == 1:
        return mode, next(iter(known))
    if st.session_state.get("against", "") not in known:
        st.session_state.pop("against", None)
    return mode, str(st.selectbox("Compared with", list(known), key="against", bind="query-params"))


def _view(
    nodes: pd.DataFrame, found: pd.DataFrame, known: dict[str, list[Edge]], reference: tuple[str, str],
    method: str, of: str, least: float, together: bool,
) -> View:  # fmt: skip
    mode, name = reference
    sure = f"links in at least {least:.0%} of {of}"
    if mode == ESTIMATE:
        shown, title, subtitle = alone(found, FOUND), f"What {method} found", sure
        words = {FOUND: "found"}
    elif mode == OTHER:
        shown, title, subtitle = alone(known[name], REFERENCE), name.capitalize(), f"{len(known[name])} links"
        words = {REFERENCE: f"in {name}"}
    else:
        shown = overlay(found, known[name])
        title, subtitle = f"{method.capitalize()} against {name}", f"{sure}: {scores_text(shown)}"
        words = {
            BOTH: f"found, and in {name}",
            ONLY_FOUND: f"found, not in {name}",
            ONLY_REFERENCE: f"in {name}, not found",
        }
    if together:
        nodes, shown = by_modality(nodes, shown)
    return View(nodes, shown, title, subtitle, words, of)


def draw(run: Run, view: View, selected: str | None) -> None:
    """The figure, whose nodes can be clicked, with its files."""
    figure: go.Figure = graph_figure(
        view.nodes, view.edges, title=view.title, subtitle=view.subtitle, words=view.words, of=view.of,
        selected=selected,
    )  # fmt: skip
    figure.update_layout(uirevision=f"{run['id']} {len(view.nodes)}")
    graph = to_graph(view.nodes, view.edges)
    files = {"dot": lambda: to_dot(graph).encode(), "graphml": lambda: to_graphml(graph).encode()}
    picture(figure, view.edges, GRAPH, files, on_select=on_node, selection_mode="points")


def on_node() -> None:
    """A click on a node chooses it."""
    points = st.session_state[f"chart-{GRAPH}"]["selection"]["points"]
    chosen = [point["customdata"][0] for point in points if point.get("customdata")]
    if chosen and not st.session_state.get("together", False):
        st.session_state["node"] = chosen[0]


def own_graph(run: Run, names: list[str]) -> None:
    """A graph of the reader's own, from a file or a path, to lay the estimate over."""
    key = _own_key(run)
    with st.popover("Compare with a graph of your own", icon=":material/upload_file:"):
        st.caption(
            "An edge list (`source,target`) or a square adjacency table, as CSV or Parquet. Latents are called "
            f"{', '.join(names[:3])} … as in the graph."
        )
        given = st.file_uploader("File", type=["csv", "parquet"], key=f"{key}-file")
        path = st.text_input("Or a path on this machine", key=f"{key}-path").strip()
        source = (given.name, given.getvalue()) if given else ("", path) if path else None
        if source is None:
            st.session_state.pop(key, None)
            return
        try:
            edges = list(read_graph(source[1], names).edges)
        except (ValueError, OSError) as error:
            st.session_state.pop(key, None)
            st.error(str(error))
            return
        st.success(f"{len(edges)} links read.")
        if st.session_state.get(key) != edges:
            st.session_state[key] = edges
            st.rerun()
