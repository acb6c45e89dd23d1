"""The graph over latents: its frames, its layout and its picture."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses.latent_details import dependence_lines, intervention_bars, intervention_map, loadings_bar
from analyses.latent_frames import (
    BOOTSTRAPS,
    BOTH,
    FOUND,
    ONLY_FOUND,
    ONLY_REFERENCE,
    SEEDS,
    alone,
    by_modality,
    edge_shares,
    graph_nodes,
    natural,
    overlay,
    pairs_of,
    scores_text,
    to_graph,
)
from analyses.latent_graph import VERMILLION, graph_figure
from analyses.latent_layout import curves, joined, positions

NODES = pd.DataFrame(
    [("a1", "body"), ("a2", "body"), ("b1", "blood"), ("b2", "blood"), ("c1", "diet")],
    columns=["name", "modality"],
)


def stored(*rows: tuple[int, str, str, bool, float | None]) -> pd.DataFrame:
    """Rows of `latent_edges` of one method: seed, source, target, present, bootstrap_share."""
    frame = pd.DataFrame(rows, columns=["seed", "source", "target", "present", "bootstrap_share"])
    return frame.assign(method="two stages", strength=0.5, in_truth=None)


def links(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(a, b, 1.0, 0.5, 3) for a, b in pairs], columns=["source", "target", "share", "strength", "seeds"]
    )


def drawn(figure: go.Figure, dash: str) -> list[Any]:
    return [t for t in figure.data if t.mode == "lines" and t.line.dash == dash and t.x[0] is not None]


class TestFrames:
    def test_share_counts_seeds_or_bootstraps(self) -> None:
        edges = stored(
            (0, "a1", "b1", True, 0.9), (1, "a1", "b1", False, 0.3), (0, "a2", "b1", False, 0.0),
            (1, "a2", "b1", False, 0.0),
        )  # fmt: skip
        by_seed = edge_shares(edges, "two stages", SEEDS)
        assert pairs_of(by_seed) == [("a1", "b1")] and by_seed["share"].item() == 0.5
        assert edge_shares(edges, "two stages", BOOTSTRAPS)["share"].item() == pytest.approx(0.6)
        assert edge_shares(edges, "pc", SEEDS).empty

    def test_share_is_of_the_seeds_the_method_has(self) -> None:
        edges = pd.concat(
            [stored((0, "a1", "b1", True, None)).assign(method="pc"), stored((1, "a1", "c1", True, 1.0))]
        )
        assert edge_shares(edges, "pc", SEEDS)["share"].item() == 1.0

    def test_overlay_sorts_links_into_three(self) -> None:
        frame = overlay(links(("a1", "b1"), ("b1", "c1")), [("a1", "b1"), ("a2", "b2")])
        assert dict(zip(pairs_of(frame), frame["status"], strict=True)) == {
            ("a1", "b1"): BOTH,
            ("b1", "c1"): ONLY_FOUND,
            ("a2", "b2"): ONLY_REFERENCE,
        }
        assert scores_text(frame) == "1 in both, 1 only found, 1 missed; F1 0.500"
        assert scores_text(overlay(links(), [])).endswith("0 missed")

    def test_a_reversed_link_is_false_and_its_truth_missed(self) -> None:
        assert set(overlay(links(("b1", "a1")), [("a1", "b1")])["status"]) == {ONLY_FOUND, ONLY_REFERENCE}

    def test_nodes_are_in_natural_order_within_modalities(self) -> None:
        latents = pd.DataFrame({"method": "m", "name": ["a10", "a2", "b1"], "modality": ["a", "a", "b"]})
        truth = pd.DataFrame({"latent": ["a2", "a1"], "modality": ["a", "a"]})
        assert list(graph_nodes(latents, truth, "m")["name"]) == ["a1", "a2", "a10", "b1"]
        assert natural("a2") < natural("a10")

    def test_modalities_keep_their_strongest_link(self) -> None:
        edges = alone(links(("a1", "b1"), ("a2", "b2"), ("b1", "a1"), ("a1", "a2")), FOUND)
        edges["share"] = [0.4, 0.8, 0.6, 1.0]
        place = dict(zip(NODES["name"], NODES["modality"], strict=True))
        taken = by_modality(edges, place)
        assert dict(zip(pairs_of(taken), taken["share"], strict=True)) == {
            ("body", "blood"): 0.8,
            ("blood", "body"): 0.6,
        }
        assert pairs_of(by_modality(edges, place, directed=False)) == [("body", "blood")]

    def test_exported_graph_has_every_node_and_weight(self) -> None:
        graph = to_graph(NODES, alone(links(("a1", "b1")), FOUND))
        assert set(graph) == set(NODES["name"])
        assert graph.edges["a1", "b1"] == {"weight": 1.0, "status": FOUND}


class TestLayout:
    def test_a_column_for_every_modality(self) -> None:
        places = positions(NODES)
        assert list(places["x"]) == [0, 0, 1, 1, 2]
        assert places.loc["c1", "y"] == 0.5

    def test_curves_run_from_source_to_target(self) -> None:
        places = positions(NODES)
        points = curves(places, ["a1", "a1", "a1"], ["b2", "a2", "c1"])
        for curve, target in zip(points, ["b2", "a2", "c1"], strict=True):
            assert curve[0] == pytest.approx(places.loc["a1"].to_numpy())
            assert curve[-1] == pytest.approx(places.loc[target].to_numpy())
        within, skipping = points[1], points[2]
        assert np.abs(within[:, 0]).max() > 0.1
        middle = skipping[np.abs(skipping[:, 0] - 1).argmin()]
        others = places.loc[["b1", "b2"], "y"].to_numpy()
        assert np.abs(middle[1] - others).min() > 0.15

    def test_gaps_keep_curves_apart(self) -> None:
        x, y = joined(np.zeros((3, 4, 2)))
        assert len(x) == len(y) == 15 and np.isnan(x).sum() == 3


class TestFigure:
    def test_found_and_true_is_solid_false_dashed_missed_dotted(self) -> None:
        frame = overlay(links(("a1", "b1"), ("b1", "c1")), [("a1", "b1"), ("a2", "b2")])
        figure = graph_figure(NODES, frame, title="Graph")
        assert len(drawn(figure, "solid")) == len(drawn(figure, "dash")) == len(drawn(figure, "dot")) == 1
        red, green, blue = (int(VERMILLION[i : i + 2], 16) for i in (1, 3, 5))
        assert drawn(figure, "dash")[0].line.color.startswith(f"rgba({red},{green},{blue}")
        assert figure.layout.showlegend
        names = [trace.name for trace in figure.data if trace.name]
        assert names[:3] == [
            "found, and in the reference (1)",
            "found, not in the reference (1)",
            "in the reference, not found (1)",
        ]

    def test_width_and_opacity_grow_with_the_share(self) -> None:
        frame = alone(links(("a1", "b1"), ("a2", "b2")), FOUND)
        frame["share"] = [0.2, 1.0]
        weak, strong = sorted(
            drawn(graph_figure(NODES, frame, title=""), "solid"), key=lambda t: t.line.width
        )
        opacity = [float(trace.line.color.split(",")[-1].rstrip(")")) for trace in (weak, strong)]
        assert weak.line.width < strong.line.width and opacity[0] < opacity[1] == 1

    def test_links_away_from_the_chosen_node_fade(self) -> None:
        frame = alone(links(("a1", "b1"), ("a2", "b2")), FOUND)
        figure = graph_figure(NODES, frame, title="", selected="a1", fade_others=True)
        faded = [trace for trace in drawn(figure, "solid") if trace.line.color.endswith("0.12)")]
        assert len(faded) == 1 and faded[0].y[0] == 1
        ringed = graph_figure(NODES, frame, title="", selected="a1")
        assert not [trace for trace in drawn(ringed, "solid") if trace.line.color.endswith("0.12)")]
        points = next(trace for trace in ringed.data if trace.customdata is not None)
        assert points.marker.line.width[0] > max(points.marker.line.width[1:])

    def test_names_are_never_markup(self) -> None:
        nodes = pd.DataFrame({"name": ["<b>$x$"], "modality": ["<i>m"]})
        figure = graph_figure(nodes, alone([], FOUND), title="")
        points = next(trace for trace in figure.data if trace.customdata is not None)
        shown = [*points.text, *points.hovertext, *(note.text for note in figure.layout.annotations)]
        assert not any("<i>" in text or "$" in text for text in shown)
        assert "&lt;i&gt;m" in str(shown)

    def test_every_node_is_named_and_can_be_chosen(self) -> None:
        figure = graph_figure(NODES, alone([], FOUND), title="")
        nodes = next(trace for trace in figure.data if trace.customdata is not None)
        assert [name for name, _ in nodes.customdata] == list(NODES["name"]) == list(nodes.text)

    def test_a_hundred_nodes_are_drawn_in_few_traces(self) -> None:
        rng = np.random.default_rng(0)
        nodes = pd.DataFrame(
            [(f"{m}{i}", m) for m in "abcd" for i in range(25)], columns=["name", "modality"]
        )
        pairs = {(a, b) for a, b in rng.choice(list(nodes["name"]), size=(400, 2)) if a != b}
        found = links(*pairs).assign(share=rng.uniform(0.1, 1, len(pairs)))
        figure = graph_figure(nodes, overlay(found, list(pairs)[::2]), title="")
        assert len(figure.data) < 40


class TestDetails:
    LOADINGS = pd.DataFrame(
        {
            "variable": ["BMI", "<b>", "HDL"],
            "modality": ["body", "body", "blood"],
            "correlation": [0.2, -0.9, 0.5],
        }
    )

    def test_the_largest_loading_stands_first(self) -> None:
        figure = loadings_bar(self.LOADINGS, ["body", "blood"], "a1")
        assert figure.layout.yaxis.categoryarray[-1] == "&lt;b&gt;"
        assert {trace.name for trace in figure.data} == {"body", "blood"}
        assert "<b> with -0.90" in figure.layout.meta["alt"]

    def test_dependence_follows_the_order_of_the_loadings(self) -> None:
        rows = pd.DataFrame(
            [(v, x, x) for v in ("BMI", "HDL") for x in (0.0, 1.0)], columns=["variable", "x", "y"]
        )
        assert [t.name for t in dependence_lines(rows, self.LOADINGS, "a1").data] == ["HDL", "BMI"]

    def test_interventions_stand_beside_the_world(self) -> None:
        rows = pd.DataFrame(
            [
                ("BMI", kind, "body", value, change)
                for kind, change in (("model", 1.0), ("world", 0.8))
                for value in (-1.0, 1.0)
            ],
            columns=["target", "kind", "modality", "value", "change"],
        )
        bars = intervention_bars(rows[rows["value"] == 1], "a1", 1.0, "variables")
        assert [(trace.name, list(trace.x)) for trace in bars.data] == [("model", [1.0]), ("world", [0.8])]
        heat = intervention_map(rows[rows["kind"] == "model"], "a1", "variables", 1.0)
        assert list(heat.data[0].x) == ["-1", "+1"] and heat.data[0].zmin == -heat.data[0].zmax

    def test_nothing_stored_says_so(self) -> None:
        for figure in (
            loadings_bar(self.LOADINGS[:0], [], "a1"),
            dependence_lines(pd.DataFrame(), self.LOADINGS, "a1"),
            intervention_bars(pd.DataFrame(), "a1", 1.0, "variables"),
        ):
            assert "stored no" in figure.layout.meta["alt"]
