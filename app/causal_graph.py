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
    modality_nodes,
    overlay,
    pairs_of,
    scores_text,
    to_graph,
)
from analyses.latent_graph import graph_figure
from analyses.multimodal_causal import OURS, PC
from app.causal_parts import choice, forget_unless, is_known, method_choice
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
    together: bool = False
    directed: bool = True


@dataclass(frozen=True)
class Asked:
    """What the controls ask for: whose links, by what confidence, over which reference."""

    method: str
    of: str
    least: float
    mode: str
    reference: str
    together: bool


def references(run: Run, edges: pd.DataFrame) -> dict[str, list[Edge]]:
    """The graphs that the estimate can be laid over, by their words. Only a world has a truth."""
    found: dict[str, list[Edge]] = {}
    stored = pairs_of(table(run["id"], "true_edges"))
    if is_known(run):
        found[TRUE] = stored
    elif stored:
        found[OWN] = stored
    if uploaded := st.session_state.get(_own_key(run)):
        found[UPLOADED] = uploaded
    if (edges["method"] == PC).any():
        found[BASELINE] = []
    return found


def _own_key(run: Run) -> str:
    return f"own_graph_{run['id']}"


def choose_view(run: Run, together: bool) -> View:
    """The controls above the graph, and what they ask to be drawn."""
    edges, latents = table(run["id"], "latent_edges"), table(run["id"], "latents")
    known = references(run, edges)
    asked = _controls(run, edges, known, together)
    nodes = graph_nodes(latents, table(run["id"], "true_latents"), asked.method)
    found = _sure_links(edges, asked.method, asked)
    place = dict(zip(nodes["name"], nodes["modality"], strict=True))
    directed = asked.reference != BASELINE
    if asked.together or not directed:
        nodes, found = modality_nodes(nodes), by_modality(found, place, directed)
    wanted = _wanted(latents, edges, known, asked, place, directed)
    return View(nodes, *_overlaid(found, wanted, asked), asked.of, asked.together or not directed, directed)


def _controls(run: Run, edges: pd.DataFrame, known: dict[str, list[Edge]], together: bool) -> Asked:
    first, second, third, fourth = st.columns([5, 8, 6, 6], vertical_alignment="bottom")
    with first:
        method = method_choice(
            edges, "Whose graph is drawn. Two stages is the study's method; the others are baselines."
        )
    with second:
        mode, reference = _choose_reference(
            {name: known[name] for name in known if (name, method) != (BASELINE, PC)}
        )
    with third:
        sources = [SEEDS, BOOTSTRAPS] if has_bootstraps(edges, method) else [SEEDS]
        of = choice("How sure: share of", sources if is_known(run) else sources[::-1], "sure")
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
    return Asked(method, of, float(least), mode, reference, together)


def _choose_reference(known: dict[str, list[Edge]]) -> tuple[str, str]:
    """What is drawn (Difference, Estimate or Reference), and the graph it is laid over ("" for none)."""
    if not known:
        st.segmented_control("Show", [ESTIMATE], default=ESTIMATE, disabled=True, key="only_estimate")
        return ESTIMATE, ""
    mode = choice("Show", [COMPARED, ESTIMATE, OTHER], "overlay", COMPARED if TRUE in known else ESTIMATE)
    name = next(iter(known))
    if len(known) > 1 and mode != ESTIMATE:
        forget_unless("against", list(known))
        name = str(st.selectbox("Compared with", list(known), key="against", bind="query-params"))
    return mode, "" if mode == ESTIMATE else name


def _sure_links(edges: pd.DataFrame, method: str, asked: Asked) -> pd.DataFrame:
    shares = edge_shares(edges, method, asked.of)
    return shares[shares["share"] >= asked.least - 1e-9]


def _wanted(
    latents: pd.DataFrame, edges: pd.DataFrame, known: dict[str, list[Edge]], asked: Asked, place: dict[str, str],
    directed: bool,
) -> list[Edge]:  # fmt: skip
    """The links of the reference. PC's are between its own components, so that only modalities can be compared."""
    if asked.reference == BASELINE:
        own = latents[latents["method"] == PC]
        where = {**place, **dict(zip(own["name"], own["modality"], strict=True))}
        return pairs_of(by_modality(_sure_links(edges, PC, asked), where, directed))
    links = alone(known.get(asked.reference, []), REFERENCE)
    return pairs_of(by_modality(links, place) if asked.together else links)


def _overlaid(
    found: pd.DataFrame, wanted: list[Edge], asked: Asked
) -> tuple[pd.DataFrame, str, str, dict[str, str]]:
    """Links with their status, title, subtitle and words of the legend."""
    name, sure = asked.reference, f"links in at least {asked.least:.0%} of {asked.of}"
    if asked.mode == ESTIMATE:
        return alone(found, FOUND), f"What {asked.method} found", sure, {FOUND: "found"}
    if asked.mode == OTHER:
        words = {REFERENCE: f"in {name}"}
        return alone(wanted, REFERENCE), name[0].upper() + name[1:], f"{len(wanted)} links", words
    shown = overlay(found, wanted)
    words = {
        BOTH: f"found, and in {name}",
        ONLY_FOUND: f"found, not in {name}",
        ONLY_REFERENCE: f"in {name}, not found",
    }
    title = f"{asked.method[0].upper()}{asked.method[1:]} against {name}"
    return shown, title, f"{sure}: {scores_text(shown)}" if name == TRUE else sure, words


def draw(run: Run, view: View, fade_others: bool) -> None:
    """The figure, whose nodes can be clicked, with its files."""
    kept = st.session_state.get("node") or st.query_params.get("node")
    selected = None if view.together else kept
    figure: go.Figure = graph_figure(
        view.nodes, view.edges, title=view.title, subtitle=view.subtitle, words=view.words, of=view.of,
        selected=selected, fade_others=fade_others and selected is not None, directed=view.directed,
    )  # fmt: skip
    figure.update_layout(uirevision=f"{run['id']} {len(view.nodes)}")
    graph = to_graph(view.nodes, view.edges)
    files = {"dot": lambda: to_dot(graph).encode(), "graphml": lambda: to_graphml(graph).encode()}
    picture(figure, view.edges, GRAPH, files, on_select=on_node, selection_mode="points")
    if not view.directed:
        st.caption(
            "PC joins two principal components of each modality, not the learnt latents, so the two graphs are compared "
            "between modalities, whichever way their links run."
        )


def on_node() -> None:
    """A click on a node chooses it."""
    points = st.session_state[f"chart-{GRAPH}"]["selection"]["points"]
    chosen = [point["customdata"][0] for point in points if point.get("customdata")]
    if chosen:
        st.session_state["node"] = chosen[0]


def own_graph(run: Run) -> None:
    """A graph of the reader's own, from a file or a path, to lay the estimate over."""
    key = _own_key(run)
    names = list(graph_nodes(table(run["id"], "latents"), table(run["id"], "true_latents"), OURS)["name"])
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
