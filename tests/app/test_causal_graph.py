"""The page Causal graph on finished, failed and running runs of multimodal_causal, against a real engine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st

from engine.client import Client
from tests.app.causal_tables import engine_on, write_run
from tests.app.pages import figures, labels, open_page, text_of
from tests.conftest import eventually

WORLD, REAL, FAILED, LARGE = "aaaaaaaaaaa1", "bbbbbbbbbbb1", "ccccccccccc1", "ddddddddddd1"
ENDLESS = {"subspace_steps": 200_000, "n_samples": 500, "baselines": False, "n_bootstraps": 0}
Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def world(home: Path) -> Tables:
    return write_run(home, WORLD, {"n_latents": 3}, (0, 1, 2), 0.3)


@pytest.fixture(scope="module")
def engine(home: Path, world: Tables) -> Iterator[Client]:
    write_run(home, REAL, {"source": "nhanes", "n_latents": 2}, (0, 1), 0.2)
    write_run(home, FAILED, {"n_latents": 2}, (0,), error="table: row 3 is not a number.")
    write_run(home, LARGE, {"n_modalities": 6, "n_latents": 8, "width": 16}, (0, 1), 0.04)
    with engine_on(home) as client:
        yield client


def graph(page: Any) -> dict[str, Any]:
    return figures(page)[0]


def node_names(figure: dict[str, Any]) -> set[str]:
    return {point[0] for trace in figure["data"] if trace.get("customdata") for point in trace["customdata"]}


def legend(figure: dict[str, Any]) -> list[str]:
    return [trace["name"] for trace in figure["data"] if trace.get("name")]


class TestWorld:
    def test_the_first_strip_holds_the_stored_figures(self, engine: Client, world: Tables) -> None:
        shown = {metric.label: metric.value for metric in open_page("causal_graph", run=WORLD).metric}
        scores = world["latent_scores"].query("method == 'two stages' and modality == 'all'")
        graphs = world["graph_scores"].query("method == 'two stages'")
        assert shown["MCC with the truth"] == f"{scores['mcc_spearman'].mean():.3f}"
        assert shown["Edge F1"] == f"{graphs['edge_f1'].mean():.3f}"
        assert set(shown) >= {"MCC between seeds", "Chance, seeds", "Chance, truth", "Block R²"}

    def test_difference_counts_true_false_and_missing_links(self, engine: Client, world: Tables) -> None:
        edges = world["latent_edges"].query("method == 'two stages' and present")
        often = edges.groupby(["source", "target"]).size()
        found = set(often[often / 3 >= 0.5].index)
        truth = set(world["true_edges"].itertuples(index=False, name=None))
        names = legend(graph(open_page("causal_graph", run=WORLD)))
        assert f"found, and in the truth ({len(found & truth)})" in names
        assert f"found, not in the truth ({len(found - truth)})" in names
        assert f"in the truth, not found ({len(truth - found)})" in names

    def test_overlay_and_share_come_from_the_link(self, engine: Client, world: Tables) -> None:
        page = open_page("causal_graph", run=WORLD, overlay="Reference")
        assert f"in the truth ({len(world['true_edges'])})" in legend(graph(page))
        page = open_page("causal_graph", run=WORLD, overlay="Estimate", share="1.0", sure="bootstraps")
        assert "found (0)" in legend(graph(page))
        assert page.slider(key="share").value == 1.0

    def test_a_node_shows_its_loadings_and_what_it_changes(self, engine: Client, world: Tables) -> None:
        page = open_page("causal_graph", run=WORLD, node="b2", seed="1", do="-2")
        assert page.selectbox(key="node").value == "b2" and page.selectbox(key="seed").value == 1
        bars, lines, change, values = figures(page)[1:]
        loadings = world["latent_loadings"].query("seed == 1 and latent == 'b2'")
        assert len(bars["data"][0]["y"]) == len(loadings) == 3
        assert len(lines["data"]) == 3
        assert [trace["name"] for trace in change["data"]] == ["model", "world"]
        assert "do(b2 = -2.0)" in change["layout"]["title"]["text"]
        assert values["data"][0]["x"] == ["-2", "-1", "+1", "+2"]

    def test_every_picture_and_the_graph_can_be_exported(self, engine: Client) -> None:
        page = open_page("causal_graph", run=WORLD)
        names = [button.proto.label for button in page.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV", "DOT", "GraphML"] + ["SVG", "PDF", "PNG", "CSV"] * 4

    def test_modalities_can_be_taken_together(self, engine: Client) -> None:
        page = open_page("causal_graph", run=WORLD, together="true")
        assert node_names(graph(page)) == {"a", "b", "c"}

    def test_the_run_can_be_launched_again_with_another_threshold(self, engine: Client) -> None:
        page = open_page("causal_graph", run=WORLD)
        assert "Run with these values" not in labels(page)
        page.number_input(key=f"again-{WORLD}-edge_threshold").set_value(0.35).run()
        assert not page.exception and "on this machine" in text_of(page)
        page.button(key=f"again-{WORLD}-go").click().run()
        assert not page.exception
        newest = engine.runs(study="multimodal_causal", limit=1)[0]
        assert newest["config"]["edge_threshold"] == 0.35 and newest["seeds"] == [0, 1, 2]
        assert newest["id"] in page.query_params["run"]
        engine.cancel(newest["id"])

    def test_a_bad_value_is_named(self, engine: Client) -> None:
        page = open_page("causal_graph", run=WORLD)
        page.text_input(key=f"again-{WORLD}-lambda_grid").set_value("0.1, often").run()
        assert page.error[0].value.startswith("lambda_grid")
        assert "Run with these values" not in labels(page)


class TestReal:
    def test_nothing_is_called_true_or_accurate(self, engine: Client) -> None:
        page = open_page("causal_graph", run=REAL)
        words = text_of(page) + str(figures(page)) + str([metric.label for metric in page.metric])
        assert "ccuracy" not in words and "the truth" not in words
        assert [metric.label for metric in page.metric] == [
            "MCC between seeds",
            "Chance, seeds",
            "Cross-modal R²",
        ]
        assert "of bootstraps" in graph(page)["layout"]["title"]["subtitle"]["text"]

    def test_pc_is_compared_between_modalities(self, engine: Client) -> None:
        page = open_page("causal_graph", run=REAL, overlay="Difference")
        names = legend(graph(page))
        assert any(name.startswith("found, and in the PC baseline") for name in names)
        assert node_names(graph(page)) == {
            "body", "blood pressure", "blood", "metals", "sleep", "depression", "diet",
        }  # fmt: skip
        arrows = [trace for trace in graph(page)["data"] if trace.get("marker", {}).get("symbol") == "arrow"]
        assert not arrows and "whichever way" in text_of(page)

    def test_pc_has_a_graph_of_its_own(self, engine: Client) -> None:
        page = open_page("causal_graph", run=REAL, method="pc")
        assert "body PC1" in node_names(graph(page))

    def test_a_graph_of_ones_own_is_drawn_over(self, engine: Client, tmp_path: Path) -> None:
        path = tmp_path / "own.csv"
        path.write_text("source,target\nbody1,blood1\nbody2,diet1\n")
        page = open_page("causal_graph", run=REAL, overlay="Difference", against="your file")
        page.text_input(key=f"own_graph_{REAL}-path").set_value(str(path)).run()
        page.run()
        assert not page.exception
        page.selectbox(key="against").set_value("your file").run()
        counts = [
            int(re.findall(r"\((\d+)\)", name)[0]) for name in legend(graph(page)) if "your file" in name
        ]
        assert counts[0] + counts[2] == 2

    def test_a_broken_graph_says_why(self, engine: Client, tmp_path: Path) -> None:
        path = tmp_path / "own.csv"
        path.write_text("source,target\nbody1,nowhere\n")
        page = open_page("causal_graph", run=REAL)
        page.text_input(key=f"own_graph_{REAL}-path").set_value(str(path)).run()
        assert not page.exception and "nowhere" in page.error[0].value


class TestStates:
    def test_failed_run_says_why_and_what_to_do(self, engine: Client) -> None:
        page = open_page("causal_graph", run=FAILED)
        assert page.error[0].value == "table: row 3 is not a number."
        assert not page.metric

    def test_running_run_shows_its_progress(self, engine: Client) -> None:
        run = engine.submit("multimodal_causal", ENDLESS, [0])["id"]
        try:
            eventually(lambda: engine.run(run)["progress"], "it tells its progress")
            page = open_page("causal_graph", run=run)
            assert page.get("progress") and "subspace" in text_of(page)
        finally:
            engine.cancel(run)
            engine.wait(run)

    def test_unknown_run_is_named(self, engine: Client) -> None:
        page = open_page("causal_graph", run="nowhere")
        assert "nowhere" in page.warning[0].value and page.metric

    def test_forty_eight_nodes_are_drawn_with_their_names(self, engine: Client) -> None:
        figure = graph(open_page("causal_graph", run=LARGE))
        assert len(node_names(figure)) == 48
        assert len(figure["data"]) < 40


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("causal_graph")
        assert "Learn a first causal graph" in labels(page)
        next(button for button in page.button if button.label == "Learn a first causal graph").click().run()
    assert asked[0] == (("multimodal_causal", {}, [0, 1, 2]), {"preset": "tour"})
