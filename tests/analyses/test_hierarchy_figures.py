"""Hierarchies as graphs and pictures: levels, consensus, overlay, places, and what the figures say."""

from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from analyses import concept_hierarchy as scores
from analyses import hierarchy_diffusion as diffusion
from analyses.hierarchy_figures import hierarchy_figure, sunburst
from analyses.hierarchy_frames import (
    BEFORE,
    FALSE,
    FOUND,
    MISSING,
    OURS,
    TRUTH,
    agreement,
    at_least,
    clusters,
    consensus,
    edge_frame,
    hierarchy,
    levels,
    medoid,
    overlay,
    strongest_parents,
    summary,
    visible,
    worlds,
)
from analyses.hierarchy_layout import crossings, place
from analyses.hierarchy_maps import rank_heatmap, state_map
from engine.schema import RUN_TABLES
from tests.app import hierarchy_tables as made

Tables = dict[str, pd.DataFrame]


def frames(rows: made.Rows) -> Tables:
    return {name: pd.DataFrame(part, columns=list(RUN_TABLES[name])) for name, part in rows.items()}


@pytest.fixture(scope="module")
def world() -> Tables:
    return frames(made.world_rows(made.DEEP, (0, 1, 2)))


def graph_of(tables: Tables, method: str, seed: int) -> nx.DiGraph:
    return hierarchy(tables["hierarchy_nodes"], tables["hierarchy_edges"], method, seed)


def plain_tree(edges: list[tuple[str, str]], **more: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    for a, b in edges:
        for node in (a, b):
            kind = "observed" if node.startswith("x") else "latent"
            graph.add_node(node, kind=kind, n_states=2, group="")
        graph.add_edge(a, b, **{"directed": True, "share": 1.0, **more})
    return graph


class TestGraphs:
    def test_levels_are_the_longest_way_to_a_leaf(self, world: Tables) -> None:
        level = levels(graph_of(world, TRUTH, 0))
        assert [level[f"z{i}"] for i in range(1, 7)] == [3, 2, 2, 1, 1, 1]
        assert {level[f"x{i}"] for i in range(1, 15)} == {0}

    def test_a_cycle_and_a_childless_latent_have_levels(self) -> None:
        graph = plain_tree([("a", "b"), ("b", "a"), ("b", "x1")])
        graph.add_node("alone", kind="latent", n_states=2, group="")
        assert levels(graph) == {"a": 1, "b": 1, "x1": 0, "alone": 1}

    def test_consensus_counts_seeds_whatever_the_latents_are_called(self, world: Tables) -> None:
        graphs = {seed: graph_of(world, OURS, seed) for seed in (0, 1, 2)}
        together, names = consensus(graphs, graph_of(world, TRUTH, 0))
        shares = {(a, b): data["share"] for a, b, data in together.edges(data=True)}
        assert shares["z4", "x6"] == 1
        assert shares["z6", "x13"] == pytest.approx(2 / 3)
        assert shares["z1", "x14"] == pytest.approx(2 / 3)
        assert set(names[0].values()) == {f"z{i}" for i in range(1, 7)}

    def test_latents_without_a_partner_are_one_when_they_cover_the_same(self) -> None:
        truth = plain_tree([("z1", f"x{i}") for i in range(1, 4)])
        extra = [("L1", f"x{i}") for i in range(1, 4)]
        one = plain_tree([*extra, ("L2", "L1"), ("L2", "x4")])
        other = plain_tree([("A", f"x{i}") for i in range(1, 4)] + [("B", "A"), ("B", "x4")])
        together, _ = consensus({0: one, 1: other}, truth)
        assert sum(kind == "latent" for _, kind in together.nodes(data="kind")) == 2
        assert {data["share"] for *_, data in together.edges(data=True)} == {1.0}

    def test_overlay_has_every_edge_once_with_its_status(self, world: Tables) -> None:
        truth = graph_of(world, TRUTH, 0)
        estimate, _ = consensus({2: graph_of(world, OURS, 2)}, truth)
        both = overlay(estimate, truth)
        frame = edge_frame(both).set_index(["source", "target"])["status"]
        assert frame["z6", "x12"] == FOUND and frame["z1", "x14"] == FALSE and frame["z6", "x14"] == MISSING
        assert frame.value_counts().to_dict() == {FOUND: 17, FALSE: 2, MISSING: 2}
        assert set(visible(both, "truth").edges) == set(truth.edges)
        assert ("z1", "x14") in visible(both, "estimate").edges

    def test_a_turned_edge_is_found_and_says_so(self) -> None:
        truth = plain_tree([("z1", "z2"), ("z1", "x1"), ("z2", "x2")])
        estimate = plain_tree([("z2", "z1"), ("z1", "x1"), ("z2", "x2")])
        both = overlay(estimate, truth)
        assert both.edges["z1", "z2"]["status"] == FOUND and both.edges["z1", "z2"]["turned"]

    def test_a_rare_edge_does_not_count(self, world: Tables) -> None:
        truth = graph_of(world, TRUTH, 0)
        estimate, _ = consensus({seed: graph_of(world, OURS, seed) for seed in (0, 1, 2)}, truth)
        status = {
            edge: data["status"]
            for *edge, data in overlay(at_least(estimate, 0.5), truth).edges(data=True)
            for edge in [tuple(edge)]
        }
        assert ("z1", "x13") not in status and status["z6", "x13"] == FOUND
        assert status["z6", "x14"] == MISSING and status["z1", "x14"] == FALSE

    def test_a_node_stands_under_its_strongest_parent(self) -> None:
        graph = plain_tree([("z1", "x1"), ("z2", "x1"), ("z1", "x2"), ("z2", "x3")])
        graph.edges["z1", "x1"]["share"] = 0.4
        assert strongest_parents(graph)["x1"] == "z2" and clusters(graph)["x1"] == "z2"

    def test_agreement_is_one_for_equal_graphs_under_other_names(self, world: Tables) -> None:
        graph = graph_of(world, OURS, 0)
        renamed = nx.relabel_nodes(graph, {f"L{i}": f"L{7 - i}" for i in range(1, 7)})
        row = agreement({0: graph, 1: renamed}).iloc[0]
        assert row["skeleton_f1"] == 1 and row["rand"] == 1
        assert medoid({0: graph_of(world, OURS, 2), 1: graph, 2: renamed}) == 1

    def test_seeds_of_other_worlds_are_not_compared(self, world: Tables) -> None:
        edges = world["hierarchy_edges"]
        other = edges[
            ~((edges["seed"] == 2) & edges["method"].isin([TRUTH, BEFORE]) & (edges["target"] == "x1"))
        ]
        assert worlds(world["hierarchy_nodes"], edges) == {0: 0, 1: 0, 2: 0}
        assert worlds(world["hierarchy_nodes"], other) == {0: 0, 1: 0, 2: 1}
        found = summary(world["hierarchy_nodes"], other, world["hierarchy_scores"], OURS)
        assert found["pairs"] == 1 and found["seeds"] == 3

    def test_summary_reads_the_estimated_states(self, world: Tables) -> None:
        found = summary(world["hierarchy_nodes"], world["hierarchy_edges"], world["hierarchy_scores"], OURS)
        rows = world["hierarchy_scores"].query("method == @OURS and states == 'estimated states'")
        assert found["recovery"] == pytest.approx(rows["skeleton_f1"].mean())
        assert found["low"] < found["recovery"] < found["high"] and found["chance"] == pytest.approx(0.3)
        assert found["exact"] == 1 and found["factors"] is None


class TestPlaces:
    def test_a_tree_has_no_crossing_and_every_parent_is_above_its_children(self, world: Tables) -> None:
        graph = graph_of(world, TRUTH, 0)
        layout = place(graph)
        rows: dict[float, list[Any]] = {}
        for node, (x, y) in [
            *layout.at.items(),
            *((p, p) for points in layout.bends.values() for p in points),
        ]:
            rows.setdefault(y, []).append((x, node))
        assert all(len({x for x, _ in row}) == len(row) for row in rows.values())
        leaves = sorted(
            (node for node in graph if graph.nodes[node]["kind"] == "observed"), key=lambda n: layout.at[n][0]
        )
        assert [layout.at[leaf] for leaf in leaves] == [(float(i), 0.0) for i in range(14)]
        assert all(layout.at[a][1] > layout.at[b][1] for a, b in graph.edges)

    def test_a_diamond_is_drawn_without_crossings(self) -> None:
        graph = plain_tree(
            [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "x1"), ("b", "x2"), ("c", "x3")]
        )
        layout = place(graph)
        x2, x3, b, c = (layout.at[name][0] for name in ("x2", "x3", "b", "c"))
        assert (x2 < x3) == (b < c)

    def test_crossings_are_counted(self) -> None:
        graph = nx.DiGraph([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")])
        assert crossings(graph, [["1", "2"], ["a", "b"]]) == 1

    def test_false_edges_move_nothing(self, world: Tables) -> None:
        truth = graph_of(world, TRUTH, 0)
        estimate, _ = consensus({2: graph_of(world, OURS, 2)}, truth)
        assert place(overlay(estimate, truth)).at == place(truth).at

    def test_a_hundred_nodes_stay_apart(self) -> None:
        counts = [2, 1, 1, 2, 2, 3, 4, 3, 4, 2, 5, 5, 6, 6, 6, 6, 8, 12]
        links = [(1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (2, 7), (3, 8), (3, 9), (4, 10), (4, 11), (4, 12), (5, 13), (5, 14), (6, 15), (8, 16), (9, 17), (10, 18), (3, 15), (4, 9)]  # fmt: skip
        rows: made.Rows = {name: [] for name in RUN_TABLES}
        big = made.tree(links, counts)
        made.add_graph(rows, 0, TRUTH, big, big)
        made.add_graph(rows, 0, OURS, made.found(big, 6), big)
        tables = frames(rows)
        assert len(big) >= 95
        truth = graph_of(tables, TRUTH, 0)
        estimate, _ = consensus({0: graph_of(tables, OURS, 0)}, truth)
        figure = hierarchy_figure(overlay(estimate, truth))
        text = figure.to_json()
        assert len(text) < 200_000
        places = place(truth).at
        spots = [places[node] for node in big]
        assert len(set(spots)) == len(spots)


class TestGraphFigure:
    @pytest.fixture(scope="class")
    def both(self, world: Tables) -> nx.DiGraph:
        truth = graph_of(world, TRUTH, 0)
        estimate, _ = consensus({seed: graph_of(world, OURS, seed) for seed in (0, 1, 2)}, truth)
        return overlay(at_least(estimate, 0.5), truth)

    def test_latents_are_empty_circles_with_their_states_inside(self, both: nx.DiGraph) -> None:
        traces = [t for t in hierarchy_figure(both).data if t.customdata is not None]
        circles = next(t for t in traces if t.marker.symbol == "circle")
        squares = next(t for t in traces if t.marker.symbol == "square")
        assert set(circles.text) == {"3"} and circles.marker.color == "#ffffff"
        assert {row[0] for row in circles.customdata} == {f"z{i}" for i in range(1, 7)}
        assert {row[0] for row in squares.customdata} == {f"x{i}" for i in range(1, 15)}

    def test_difference_has_three_looks_and_a_legend_of_them(self, both: nx.DiGraph) -> None:
        figure = hierarchy_figure(both, "difference")
        lines = [t for t in figure.data if t.mode == "lines+markers"]
        assert {(t.line.dash, t.line.color.rsplit(",", 1)[0]) for t in lines} == {
            ("solid", "rgba(26,26,26"), ("dash", "rgba(213,94,0"), ("dot", "rgba(140,140,140"),
        }  # fmt: skip
        assert {t.name for t in figure.data if t.mode == "lines"} == {
            "found", "found, not in the truth", "in the truth, not found",
        }  # fmt: skip

    def test_opacity_is_the_share(self, both: nx.DiGraph) -> None:
        lines = [t for t in hierarchy_figure(both, "estimate").data if t.mode == "lines+markers"]
        assert len({t.line.color for t in lines}) == 2
        truth = [t for t in hierarchy_figure(both, "truth").data if t.mode == "lines+markers"]
        assert len({t.line.color for t in truth}) == 1

    def test_undirected_edges_have_no_head(self, world: Tables) -> None:
        truth = graph_of(world, TRUTH, 0)
        figure = hierarchy_figure(overlay(truth, truth), "truth")
        sizes = [size for t in figure.data if t.mode == "lines+markers" for size in t.marker.size]
        assert sum(size > 0 for size in sizes) == sum(d for *_, d in truth.edges(data="directed")) == 14

    def test_truth_and_estimate_differ_and_nothing_moves(self, both: nx.DiGraph) -> None:
        spots = {}
        for show in ("truth", "estimate", "difference"):
            circles = next(
                t
                for t in hierarchy_figure(both, show).data
                if t.customdata is not None and t.text is not None
            )
            spots[show] = {
                row[0]: (x, y) for row, x, y in zip(circles.customdata, circles.x, circles.y, strict=True)
            }
        assert spots["truth"] == spots["estimate"] == spots["difference"]

    def test_names_of_groups_are_text(self) -> None:
        graph = plain_tree([("<b>L1</b>", "x1"), ("<b>L1</b>", "x2")])
        figure = hierarchy_figure(overlay(graph, None), "estimate")
        assert any(note.text == "&lt;b&gt;L1&lt;/b&gt;" for note in figure.layout.annotations)

    def test_another_show_is_refused(self, both: nx.DiGraph) -> None:
        with pytest.raises(ValueError, match="show must be one of"):
            hierarchy_figure(both, "nothing")

    def test_sunburst_has_every_node_once(self, both: nx.DiGraph) -> None:
        part = visible(both, "truth")
        rings = sunburst(part).data[0]
        assert sorted(rings.ids) == sorted(part)
        assert dict(zip(rings.ids, rings.parents, strict=True))["x12"] == "z6"
        assert sum(rings.values) == 14
        colours = dict(zip(rings.ids, rings.marker.colors, strict=True))
        assert colours["z1"] == colours["x1"] == "#cdcdcd"
        assert (
            colours["z4"] == colours["z2"] != colours["z3"]
            and colours["x6"] == colours["x9"] != colours["x12"]
        )


class TestMaps:
    def test_variables_of_a_cluster_stand_together_in_a_frame(self, world: Tables) -> None:
        rows = world["rank_statistics"].query("seed == 0")
        figure = rank_heatmap(rows, clusters(graph_of(world, TRUTH, 0)))
        heat = figure.data[0]
        assert list(heat.x[:5]) == ["x1", "x2", "x3", "x4", "x5"]
        frames = sorted((shape.x0, shape.x1) for shape in figure.layout.shapes)
        assert (-0.5, 1.5) in frames and len(frames) == 5
        values = np.array(heat.z, dtype=float)
        assert values[0, 1] == pytest.approx(np.log10(8 / 26.2)) and np.isnan(values[0, 0])
        assert "1 = critical (26.2)" in heat.colorbar.ticktext

    def test_no_statistics_no_map(self, world: Tables) -> None:
        figure = rank_heatmap(world["rank_statistics"].head(0), {})
        assert "not stored" in figure.layout.meta["alt"]

    def test_state_map_holds_the_probabilities(self, world: Tables) -> None:
        rows = world["concept_states"].query("seed == 0 and concept == 'L1'")
        figure = state_map(rows, "L1")
        assert list(figure.data[0].y) == [0.5, 0.3, 0.2]
        heat = np.array(figure.data[1].z, dtype=float)
        assert heat.shape == (3 * rows["member"].nunique(), 3) and heat[0].tolist() == [0.8, 0.1, 0.1]


class TestScores:
    def test_table_has_intervals_chance_and_exact_graphs(self, world: Tables) -> None:
        table = scores.score_table(world["hierarchy_scores"]).set_index(["method", "states"])
        row = table.loc[(OURS, "true states")]
        assert row["low"] < row["value"] < row["high"] and row["exact"] == "1 of 3" and row["tests"] == 901
        assert list(dict.fromkeys(table.index.get_level_values(0))) == list(made.METHODS)

    def test_without_a_truth_the_rand_index_is_the_score(self) -> None:
        rows = frames(made.questionnaire_rows((0, 1)))["hierarchy_scores"]
        assert scores.scored(rows) == "adjusted_rand_index"
        assert scores.score_table(rows)["exact"].isna().all()
        assert "accuracy" not in scores.score_figure(rows).to_json().lower()

    def test_without_any_score_the_picture_says_why(self) -> None:
        rows = frames(made.questionnaire_rows((0,)))["hierarchy_scores"].assign(adjusted_rand_index=None)
        assert scores.scored(rows) is None
        assert "not known" in scores.score_figure(rows).layout.meta["alt"]

    def test_more_samples_are_more_points(self, world: Tables) -> None:
        more = frames(made.world_rows(made.DEEP, (0, 1), 2_000))["hierarchy_scores"]
        both = pd.concat([world["hierarchy_scores"], more])
        figure = scores.by_samples(both[both["states"] == "true states"])
        assert [trace.name for trace in figure.data] == list(made.METHODS)
        assert all(len(trace.x) == 2 for trace in figure.data)
        assert "as many samples" in scores.by_samples(more).layout.meta["alt"]

    def test_step_one_stands_beside_k_means_and_chance(self, world: Tables) -> None:
        figure = scores.step_one_figure(world["discrete_states"])
        assert [trace.name for trace in figure.data] == ["step 1", "k-means on all coordinates", "chance"]
        assert "0.950" in figure.layout.meta["alt"] and "0.600" in figure.layout.meta["alt"]


class TestDiffusion:
    @pytest.fixture(scope="class")
    def curves(self) -> Tables:
        return frames(made.diffusion_rows((0, 1, 2)))

    def test_last_effective_step_is_where_the_mean_falls_below_the_mark(self, curves: Tables) -> None:
        ends = diffusion.last_effective(curves["diffusion_levels"]).set_index(["energies", "concept"])[
            "start"
        ]
        means = curves["diffusion_levels"].groupby(["energies", "concept", "start"])["match"].mean()
        for (energies, concept), end in ends.items():
            assert means[energies, concept, end] >= 0.9 > means[energies, concept, round(end + 0.1, 1)]

    def test_a_curve_below_the_mark_has_no_last_step(self, curves: Tables) -> None:
        low = curves["diffusion_levels"].assign(match=0.5)
        assert diffusion.last_effective(low)["start"].isna().all()
        assert "none reaches" in diffusion.levels_figure(low).layout.meta["alt"]

    def test_a_late_rise_does_not_count(self) -> None:
        rows = pd.DataFrame(
            {"energies": "equal", "concept": "high", "start": [0.0, 0.1, 0.2], "match": [0.95, 0.5, 0.95]}
        )
        assert diffusion.last_effective(rows)["start"].tolist() == [0.0]

    def test_gap_is_the_area_between_the_curves(self) -> None:
        rows = [
            {"seed": 0, "energies": "natural", "concept": concept, "start": start, "match": match}
            for concept, match in (("high", 0.2), ("low", 0.7)) for start in (0.0, 0.5, 1.0)
        ]  # fmt: skip
        assert diffusion.level_gap(pd.DataFrame(rows))["gap"].tolist() == pytest.approx([0.5])

    def test_both_energies_stand_side_by_side(self, curves: Tables) -> None:
        for figure in (
            diffusion.levels_figure(curves["diffusion_levels"]),
            diffusion.orders_figure(curves["diffusion_orders"]),
        ):
            titles = {note.text for note in figure.layout.annotations}
            assert {"Natural energies", "Equal energies (control)"} <= titles

    def test_samples_stand_in_two_rows(self, curves: Tables) -> None:
        rows = curves["diffusion_samples"].query("seed == 0 and energies == 'natural'")
        figure = diffusion.samples_figure(rows)
        canvas = np.array(figure.data[0].z, dtype=float)
        first = rows.query("order == 'high first' and sample == 0").sort_values(["row", "column"])["value"]
        assert canvas.shape == (17, 53) and canvas[:8, :8].ravel().tolist() == first.tolist()
        assert list(figure.layout.yaxis.ticktext) == ["high first", "low first"]

    def test_jacobian_has_a_line_for_each_kind_of_energies(self, curves: Tables) -> None:
        figure = diffusion.jacobian_figure(curves["jacobian_sparsity"])
        assert {t.name for t in figure.data if t.name} == set(diffusion.ENERGIES.values())
