"""The view "Graph" of the hierarchy page: layers or rings, the truth over the estimate, and the chosen concept."""

from dataclasses import dataclass
from functools import partial

import networkx as nx
import streamlit as st

from analyses import hierarchy_frames as frames
from analyses.graph_files import to_csv, to_dot, to_graphml
from analyses.hierarchy_figures import SHOW, hierarchy_figure, sunburst
from analyses.hierarchy_frames import BEFORE, OURS, TRUTH
from app.hierarchy_concept import concept_section
from app.hierarchy_parts import Result, choose, pick
from app.widgets import picture

ALL = "all seeds"
CHART = "hierarchy-graph"
REDUCED = (
    "The truth stands as any method can know it (O_min): a latent that leaves no trace in the ranks of observed tables is "
    "left out. A root whose only children are two latents vanishes and the two become adjacent, because without it every "
    "rank is the same."
)
UNREDUCED = (
    "The truth stands as the world was drawn, before reduction: some of its edges leave no trace in any rank, so that no "
    "method can find them. The scores use the truth after reduction."
)


@dataclass(frozen=True)
class Drawn:
    """What the picture shows: the estimate (latents named as the truth's), the overlay, and names of latents by seed."""

    method: str
    seed: str
    estimate: nx.DiGraph
    both: nx.DiGraph
    names: dict[int, dict[str, str]]
    of: str


@st.fragment
def graph_view(result: Result) -> None:
    """Choices, graph, files and concept; a choice or a click runs only this part again."""
    first, second, third = st.columns([2, 2, 3], vertical_alignment="bottom")
    with first:
        method = choose("Method", result.methods, "method")
    with second:
        whole = result.one_world and len(result.seeds) > 1
        seed = choose("Seed", [*([ALL] if whole else []), *map(str, result.seeds)], "seed")
    with third:
        show = pick("Show", SHOW, "show", default="difference") if result.has_truth else "estimate"
    left, middle, right = st.columns([2, 3, 2], vertical_alignment="bottom")
    with left:
        shape = pick("Drawn as", ["layers", "rings"], "drawn")
    with middle:
        least = _least(result, seed, method)
    with right:
        unreduced = result.has_truth and st.toggle(
            "Truth before reduction", key="unreduced", bind="query-params"
        )
    drawn = _drawn(result, method, seed, BEFORE if unreduced else TRUTH, least)
    shown = frames.visible(drawn.both, show)
    if shape == "rings":
        picture(sunburst(shown), frames.edge_frame(shown), f"{CHART}-rings")
        if any(degree > 1 for _, degree in shown.in_degree()):
            st.caption("A node with several parents stands under the one of the strongest share.")
    else:
        _layers(drawn, show)
    _files(shown)
    _notes(result, drawn, show, bool(unreduced))
    concept_section(result, drawn.method, frames.visible(drawn.both, "estimate"), drawn.names)


def _least(result: Result, seed: str, method: str) -> float:
    """The share an edge needs to count, where edges have shares."""
    label = "An edge counts when at least this share of {} has it"
    if seed == ALL:
        return float(st.slider(label.format("seeds"), 0.0, 1.0, 0.6, 0.05, key="least", bind="query-params"))
    if not frames.has_bootstraps(result.edges, method, int(seed)):
        return 0.0
    label = label.format("bootstraps")
    return float(st.slider(label, 0.0, 1.0, 0.0, 0.05, key="least_bootstraps", bind="query-params"))


def _drawn(result: Result, method: str, seed: str, truth_name: str, least: float) -> Drawn:
    seeds = result.seeds if seed == ALL else [int(seed)]
    truth = result.graph(truth_name, seeds[0]) if result.has_truth else None
    graphs = {one: result.graph(method, one) for one in seeds}
    estimate, names = frames.consensus(graphs, truth)
    bootstraps = seed != ALL and frames.has_bootstraps(result.edges, method, int(seed))
    if seed != ALL:
        estimate = _own_shares(estimate, graphs[seeds[0]], names[seeds[0]])
    of = "seeds" if seed == ALL else "bootstraps" if bootstraps else ""
    estimate = frames.at_least(estimate, least)
    return Drawn(method, seed, estimate, frames.overlay(estimate, truth), names, of)


def _own_shares(estimate: nx.DiGraph, own: nx.DiGraph, names: dict[str, str]) -> nx.DiGraph:
    """One seed's graph has the shares of its bootstraps, not of seeds."""
    for a, b, data in own.edges(data=True):
        estimate.edges[names.get(a, a), names.get(b, b)]["share"] = data["share"]
    return estimate


def _layers(drawn: Drawn, show: str) -> None:
    figure = hierarchy_figure(drawn.both, show, _chosen(), drawn.of)
    st.session_state["hierarchy_graph"] = frames.visible(drawn.both, "estimate")
    frame = frames.edge_frame(frames.visible(drawn.both, show))
    picture(figure, frame, CHART, on_select=_on_node, selection_mode="points")


def _chosen() -> str:
    """The concept shown below; on the first run of the page it stands in the link alone."""
    return str(st.session_state.get("concept") or st.query_params.get("concept", ""))


def _on_node() -> None:
    """A click on a latent chooses it, one on an observed variable its parent."""
    points = st.session_state[f"chart-{CHART}"]["selection"]["points"]
    named = [point["customdata"][0] for point in points if point.get("customdata")]
    graph = st.session_state.get("hierarchy_graph")
    if not named or graph is None or named[0] not in graph:
        return
    if graph.nodes[named[0]]["kind"] == frames.LATENT:
        st.session_state["concept"] = named[0]
    elif above := frames.strongest_parents(graph).get(named[0]):
        st.session_state["concept"] = above


def _notes(result: Result, drawn: Drawn, show: str, unreduced: bool) -> None:
    words = [
        "Circles are latents with their number of states, squares are observed; a level is the longest way to a leaf."
    ]
    words += ["An edge without arrow head has a direction that the data do not tell."]
    if drawn.of and show != "truth":
        words.append(f"The fainter an edge, the fewer {drawn.of} have it.")
    if result.has_truth and show != "estimate":
        words.append(UNREDUCED if unreduced else REDUCED)
    if not result.has_truth:
        words.append("No true graph of these data is known, so none is drawn.")
    st.caption(f"{' '.join(words)} Click a circle in the layers to see its concept below.")


def _files(graph: nx.DiGraph) -> None:
    """The shown graph for other programs."""
    made = {"dot": to_dot, "graphml": to_graphml, "csv": to_csv}
    with st.container(horizontal=True, gap="small"):
        for ending, write in made.items():
            st.download_button(
                f"Graph as {ending.upper() if ending != 'graphml' else 'GraphML'}",
                partial(write, graph),
                file_name=f"hierarchy.{ending}",
                key=f"file-{ending}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )


def clusters_of(result: Result, seed: int) -> dict[str, str]:
    """The clusters that our search found for a seed."""
    return frames.clusters(result.graph(OURS, seed))
