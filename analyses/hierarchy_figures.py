"""Pictures of a concept hierarchy: the layered graph and the sunburst (arXiv 2406.00519)."""

from typing import Any

import networkx as nx
import plotly.graph_objects as go

from analyses.figures import (
    BELOW,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    empty,
    finish,
    plain,
    translucent,
)
from analyses.hierarchy_frames import (
    FALSE,
    FOUND,
    LATENT,
    MISSING,
    latents_of,
    levels,
    natural,
    observed_of,
    strongest_parents,
    visible,
)
from analyses.hierarchy_layout import Layout, place

SHOW = ("truth", "estimate", "difference")
LOOKS = {FOUND: ("solid", INK), FALSE: ("dash", PALETTE[1]), MISSING: ("dot", "#8c8c8c")}
LABELS = {FOUND: "found", FALSE: "found, not in the truth", MISSING: "in the truth, not found"}
OPACITIES, FAINTEST = 5, 0.2
PAGE_WIDTH = 1050  # pixels the layout reckons with
CHARACTER = 7.5  # pixels of a letter of an axis label


def hierarchy_figure(
    graph: nx.DiGraph, show: str = "difference", chosen: str = "", of: str = "seeds"
) -> go.Figure:
    """A layered graph from `hierarchy_frames.overlay`; `show` is one of `SHOW`, `chosen` a node to ring.

    Places depend on the whole graph alone, so that switching `show` moves nothing. Nodes have customdata (name,).
    `of` names what the opacity of an edge is a share of. Raises ValueError for another `show`.
    """
    if show not in SHOW:
        raise ValueError(f"show must be one of {', '.join(SHOW)}, got {show!r}.")
    if not len(graph):
        return empty("The graph has no node.")
    leaves = len(observed_of(graph))
    small = leaves > 40
    layout = place(graph, gap=max(1.0, leaves * 62 / PAGE_WIDTH))
    part = visible(graph, show)
    nodes, edges = list(part), list(part.edges)
    size = 18 if small else 28
    figure = go.Figure()
    _edges(figure, graph, edges, layout, show, size)
    _latents(figure, graph, nodes, layout, size, chosen, show == "difference")
    _observed(figure, graph, nodes, layout, 8 if small else 14, chosen)
    room = _axes(figure, graph, layout)
    _legend(figure, graph, edges, show, nodes)
    counts = {kind: sum(graph.edges[edge]["status"] == kind for edge in edges) for kind in LABELS}
    figure.update_layout(clickmode="event+select", dragmode="pan", hovermode="closest", legend=BELOW)
    said = ", ".join(f"{count} {LABELS[kind]}" for kind, count in counts.items() if count) or "no edges"
    latents = sum(graph.nodes[node]["kind"] == LATENT for node in nodes)
    finish(
        figure,
        alt=f"Layered graph ({show}) of {latents} latents over {len(nodes) - latents} observed variables; edges: {said}. "
        f"Opacity is the share of {of} that have the edge.",
        height=round(120 + room + 92 * layout.n_levels),
    )
    return figure.update_layout(margin={"l": 70, "b": 40 + room, "t": 16})


def _edges(
    figure: go.Figure, graph: nx.DiGraph, edges: list[tuple[str, str]], layout: Layout, show: str, size: int
) -> None:
    """Lines with arrow heads, one trace for each look and opacity, and a place to hover in the middle of each."""
    groups: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for edge in edges:
        data = graph.edges[edge]
        status = data["status"] if show == "difference" else FOUND
        share = 1.0 if show == "truth" or status == MISSING else data["share"]
        groups.setdefault((status, round(share * OPACITIES)), []).append(edge)
    for (status, step), members in sorted(groups.items()):
        dash, color = LOOKS[status]
        shade = translucent(color, FAINTEST + (1 - FAINTEST) * step / OPACITIES)
        lines = [_line(graph, edge, layout, size) for edge in members]
        figure.add_scatter(
            x=[x for line in lines for x in line[0]],
            y=[y for line in lines for y in line[1]],
            mode="lines+markers",
            line={"color": shade, "width": 1.8, "dash": dash, "shape": "spline", "smoothing": 0.7},
            marker={
                "symbol": "arrow",
                "angleref": "previous",
                "size": [s for line in lines for s in line[2]],
                "standoff": [s for line in lines for s in line[3]],
                "color": shade,
                "opacity": 1,
                "line": {"width": 0},
            },
            unselected={"marker": {"opacity": 1}},
            hoverinfo="skip",
            showlegend=False,
        )
    if edges:
        _edge_hover(figure, graph, edges, layout, show)


def _line(graph: nx.DiGraph, edge: tuple[str, str], layout: Layout, size: int) -> tuple[list[Any], ...]:
    """x, y, marker size and standoff of an edge's points, closed by a gap."""
    a, b = edge
    points = [layout.at[a], *layout.bends.get(edge, ()), layout.at[b]]
    radius = size / 2 if graph.nodes[b]["kind"] == LATENT else 7
    head = [0] * (len(points) - 1) + [9 if graph.edges[edge]["directed"] else 0]
    back = [0] * (len(points) - 1) + [radius]
    return [x for x, _ in points] + [None], [y for _, y in points] + [None], [*head, 0], [*back, 0]


def _edge_hover(
    figure: go.Figure, graph: nx.DiGraph, edges: list[tuple[str, str]], layout: Layout, show: str
) -> None:
    middles, texts = [], []
    for a, b in edges:
        data = graph.edges[a, b]
        points = [layout.at[a], *layout.bends.get((a, b), ()), layout.at[b]]
        (x0, y0), (x1, y1) = points[(len(points) - 1) // 2], points[(len(points) - 1) // 2 + 1]
        middles.append(((x0 + x1) / 2, (y0 + y1) / 2))
        words = [plain(f"{a} {'→' if data['directed'] else '–'} {b}"), f"share {data['share']:.2f}"]
        words += [LABELS[data["status"]]] if show == "difference" else []
        words += ["the estimate has the other direction"] if data["turned"] else []
        texts.append("<br>".join(words))
    figure.add_scatter(
        x=[x for x, _ in middles],
        y=[y for _, y in middles],
        mode="markers",
        marker={"size": 12, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


def _latents(
    figure: go.Figure,
    graph: nx.DiGraph,
    nodes: list[str],
    layout: Layout,
    size: int,
    chosen: str,
    compare: bool,
) -> None:
    """Empty circles, the number of states inside and the name beside; to `compare`, in the colour of the edges that
    only the truth or only the estimate has where only that has the latent."""
    mine = [node for node in nodes if graph.nodes[node]["kind"] == LATENT]
    if not mine:
        return
    tints = {"truth": LOOKS[MISSING][1], "estimate": LOOKS[FALSE][1]} if compare else {}
    states = ["" if (s := graph.nodes[n]["n_states"]) is None else str(s) for n in mine]
    figure.add_scatter(
        x=[layout.at[node][0] for node in mine],
        y=[layout.at[node][1] for node in mine],
        mode="markers+text",
        text=states,
        textfont={"size": 10 if size < 28 else 13},
        marker={
            "symbol": "circle",
            "size": size,
            "color": PAPER,
            "opacity": 1,
            "line": {
                "color": [
                    PALETTE[0] if n == chosen else tints.get(graph.nodes[n]["where"], INK) for n in mine
                ],
                "width": [4 if n == chosen else 1.8 for n in mine],
            },
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}, "textfont": {"color": INK}},
        customdata=[[node] for node in mine],
        hovertemplate="%{customdata[0]}, %{text} states<extra></extra>",
        showlegend=False,
    )
    figure.layout.annotations = [
        {
            "x": layout.at[node][0],
            "y": layout.at[node][1],
            "text": plain(node),
            "showarrow": False,
            "xanchor": "left",
            "yanchor": "bottom",
            "xshift": size * 0.36,
            "yshift": size * 0.2,
            "font": {"size": 10 if size < 28 else 12, "color": MUTED},
        }
        for node in mine
    ]


def _observed(
    figure: go.Figure, graph: nx.DiGraph, nodes: list[str], layout: Layout, size: int, chosen: str
) -> None:
    """Filled squares, one colour for each known group where there are some."""
    mine = [node for node in nodes if graph.nodes[node]["kind"] != LATENT]
    groups = sorted({graph.nodes[node].get("group", "") for node in mine})
    few = 1 < len(groups) <= len(PALETTE)
    for index, group in enumerate(groups if few else [""]):
        part = [node for node in mine if not few or graph.nodes[node].get("group", "") == group]
        figure.add_scatter(
            x=[layout.at[node][0] for node in part],
            y=[layout.at[node][1] for node in part],
            mode="markers",
            name=plain(group or "no group"),
            showlegend=few,
            marker={
                "symbol": "square",
                "size": size,
                "color": PALETTE[index] if few else INK,
                "opacity": 1,
                "line": {"width": [3 if node == chosen else 0 for node in part], "color": PALETTE[0]},
            },
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
            customdata=[[node] for node in part],
            text=[f"{s} states" if (s := graph.nodes[node]["n_states"]) else "observed" for node in part],
            hovertemplate="%{customdata[0]}, %{text}<extra></extra>",
        )
    for node in mine:
        if layout.at[node][1] > 0:
            figure.add_annotation(
                x=layout.at[node][0], y=layout.at[node][1], text=plain(node), showarrow=False, xanchor="left", xshift=10
            )  # fmt: skip


def _axes(figure: go.Figure, graph: nx.DiGraph, layout: Layout) -> float:
    """Leaves named below, levels at the left; the pixels the names need."""
    bottom = [node for node in observed_of(graph) if layout.at[node][1] == 0]
    longest = max((len(node) for node in bottom), default=0) * CHARACTER
    across = [x for points in (layout.at.values(), *layout.bends.values()) for x, _ in points]
    upright = longest * len(bottom) > PAGE_WIDTH * 0.95
    figure.update_xaxes(
        tickvals=[layout.at[node][0] for node in bottom],
        ticktext=[plain(node) for node in bottom],
        tickangle=-90 if upright else 0,
        tickfont={"size": 10 if len(bottom) > 40 else 12},
        showgrid=False,
        showline=False,
        ticks="",
        range=[min(across) - 0.03 * layout.width - 0.4, max(across) + 0.05 * layout.width + 0.4],
    )
    top = max(level for _, level in layout.at.values())
    figure.update_yaxes(
        tickvals=list(range(int(top) + 1)),
        ticktext=["observed", *(f"level {level}" for level in range(1, int(top) + 1))],
        showgrid=False,
        showline=False,
        ticks="",
        range=[-0.35, top + 0.45],
        fixedrange=True,
    )
    return float(longest if upright else 16)


def _legend(
    figure: go.Figure, graph: nx.DiGraph, edges: list[tuple[str, str]], show: str, nodes: list[str]
) -> None:
    """What lines and marks mean; only what is on the picture."""
    marks = {"circle-open": "latent (its number of states inside)", "square": "observed"}
    groups = {graph.nodes[node].get("group", "") for node in nodes if graph.nodes[node]["kind"] != LATENT}
    if 1 < len(groups) <= len(PALETTE):
        del marks["square"]
    for symbol, words in marks.items():
        mark = {"symbol": symbol, "size": 11, "color": INK, "line": {"width": 1.8}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=mark, name=words)
    for status, (dash, color) in LOOKS.items():
        if show == "difference" and any(graph.edges[edge]["status"] == status for edge in edges):
            figure.add_scatter(
                x=[None], y=[None], mode="lines", line={"color": color, "dash": dash}, name=LABELS[status]
            )


def sunburst(graph: nx.DiGraph) -> go.Figure:
    """The hierarchy as rings, roots inside; every node under its strongest parent (`strongest_parents`)."""
    if not graph.number_of_edges():
        return empty("The graph has no edge, so there is no hierarchy to draw.")
    parents = strongest_parents(graph)
    level = levels(graph)
    order = sorted(graph, key=lambda node: (-level[node], natural(node)))
    several = [node for node in order if graph.in_degree(node) > 1]
    inner = {parent for parent in parents.values()}
    branch: dict[str, int] = {}
    for node in order:
        branch[node] = _branch(node, parents, branch, node in inner)
    figure = go.Figure(
        go.Sunburst(
            ids=order,
            labels=[plain(node) for node in order],
            parents=[parents.get(node, "") for node in order],
            values=[0 if node in inner else 1 for node in order],
            branchvalues="remainder",
            sort=False,
            marker={
                "colors": [_tint(branch[node], node in inner) for node in order],
                "line": {"color": PAPER, "width": 1.5},
            },
            textfont={"color": INK},
            leaf={"opacity": 1},
            insidetextorientation="radial",
            hovertemplate="%{label}<br>%{value} observed below<extra></extra>",
        )
    )
    words = f"{len(several)} nodes have several parents and stand under the strongest" if several else ""
    alt = f"Sunburst of {len(latents_of(graph))} latents and {len(observed_of(graph))} observed variables. {words}".strip()
    finish(figure, alt=alt, caption=words, height=520)
    return figure.update_layout(margin={"l": 10, "r": 10, "b": 10})


def _branch(node: str, parents: dict[str, str], known: dict[str, int], is_inner: bool) -> int:
    """Number of the branch: an inner child of a root has one of its own and hands it down; −1 for roots and lone leaves."""
    above = parents.get(node)
    if above is None:
        return -1
    if above in parents:
        return known[above]
    return max(known.values(), default=-1) + 1 if is_inner else -1


def _tint(branch: int, is_inner: bool) -> str:
    """The branch's colour, lightened; opaque, since the middle of a sunburst is drawn on a dark ground."""
    color = MUTED if branch < 0 else PALETTE[branch % len(PALETTE)]
    weight = 0.6 if is_inner and branch >= 0 else 0.3
    parts = (round(255 + weight * (int(color[i : i + 2], 16) - 255)) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)
