"""The map page: asking for a layout, the picture, the lasso in the link and the features inside it."""

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analyses.feature_map import decode_lasso, encode_lasso, inside
from engine.client import Client
from tests.app.pages import PAGES, figures, labels, open_page, text_of
from tests.conftest import TINY_WORLD

PAGES.setdefault("map", "views/map.py")
EVERYTHING = [[-1000.0, -1000.0], [1000.0, -1000.0], [1000.0, 1000.0], [-1000.0, 1000.0]]
FAR_AWAY = [[900.0, 900.0], [901.0, 900.0], [901.0, 901.0]]


@pytest.fixture(scope="module")
def runs(engine: Client) -> list[str]:
    settings = [TINY_WORLD, {**TINY_WORLD, "d_sae": 20}]
    return [engine.wait(engine.submit("sae_consistency", one, [0, 1, 2])["id"])["id"] for one in settings]


@pytest.fixture(scope="module")
def made(engine: Client, runs: list[str]) -> dict[str, Any]:
    return engine.wait(engine.make_map(runs[:1])["id"])


@pytest.fixture(scope="module")
def points(engine: Client, made: dict[str, Any]) -> pd.DataFrame:
    return engine.table(made["id"], "map_points").to_pandas()


def chart(made: dict[str, Any]) -> str:
    return f"chart-map-{made['id'][:6]}"


def selection(lasso: list[list[float]]) -> dict[str, Any]:
    x, y = zip(*lasso, strict=True)
    shape = [{"xref": "x", "yref": "y", "x": list(x), "y": list(y)}]
    return {"selection": {"points": [], "point_indices": [], "box": [], "lasso": shape}}


def around(points: pd.DataFrame, row: int) -> list[list[float]]:
    """A small square around one point of the map."""
    x, y = points.loc[row, ["x", "y"]]
    return [[x - 0.01, y - 0.01], [x + 0.01, y - 0.01], [x + 0.01, y + 0.01], [x - 0.01, y + 0.01]]


def rows(page: AppTest) -> pd.DataFrame:
    return page.dataframe[0].value


def values(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])


class TestAsking:
    def test_nothing_trained_says_what_to_do(self, engine: Client) -> None:
        if engine.runs(study="sae_consistency", state="done"):
            pytest.skip("another test has trained")
        assert "Start the tour" in text_of(open_page("map"))

    def test_button_lays_the_map_out(self, engine: Client, runs: list[str]) -> None:
        page = open_page("map", runs=",".join(runs), layout_seed="7")
        assert "not laid out yet" in page.info[0].value and not figures(page)
        next(button for button in page.button if button.label == "Lay out the map").click().run()
        assert not page.exception
        job = engine.runs(study="feature_map", limit=1)[0]
        assert job["seeds"] == [7] and job["config"]["runs"] == ",".join(sorted(runs))
        if job["state"] in ("queued", "running"):
            assert "Cancel" in labels(page)
        assert engine.wait(job["id"])["state"] == "done"
        page.run()
        assert len(figures(page)) == 1 and "96 features of 6" in page.get("plotly_chart")[0].proto.alt

    def test_cancelled_map_can_be_made_again(self, engine: Client, runs: list[str]) -> None:
        job = engine.make_map(runs[:1], seed=11)
        engine.cancel(job["id"])
        assert engine.wait(job["id"])["state"] == "cancelled"
        page = open_page("map", runs=runs[0], layout_seed="11")
        next(button for button in page.button if button.label == "Lay it out again").click().run()
        assert engine.wait(job["id"])["state"] == "done"

    def test_runs_of_different_width_are_refused_in_a_sentence(self, engine: Client, runs: list[str]) -> None:
        wide = engine.wait(engine.submit("sae_consistency", {**TINY_WORLD, "d_in": 9}, [0])["id"])["id"]
        page = open_page("map", runs=f"{runs[0]},{wide}")
        assert "one width" in page.error[0].value and "Lay out the map" not in labels(page)

    def test_unknown_run_is_named(self, engine: Client, runs: list[str], made: dict[str, Any]) -> None:
        page = open_page("map", runs=f"<b>nowhere</b>,{runs[0]}")
        assert "nowhere" in page.warning[0].value
        assert page.multiselect(key="map_runs").value == [runs[0]]


class TestPicture:
    def test_positions_are_the_stored_ones(
        self, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        page = open_page("map", runs=runs[0])
        (trace,) = figures(page)[0]["data"]
        np.testing.assert_allclose(values(trace["x"]), points["x"], rtol=1e-6)
        assert "All 36 features are drawn." in json.dumps(figures(page)[0]["layout"]["title"])
        assert "Distances between far groups" in text_of(page)
        assert list(rows(page)["features"]) == [12, 12, 12]

    @pytest.mark.parametrize("colour", ["Density", "Run", "Seed", "List", "Alive or dead", "Best cosine"])
    def test_colour_comes_from_the_link(self, made: dict[str, Any], runs: list[str], colour: str) -> None:
        figure = figures(open_page("map", runs=runs[0], colour=colour))[0]
        assert figure["layout"]["title"]["text"] == f"Map of features by {colour.lower()}"
        assert sum(len(values(trace["x"])) for trace in figure["data"]) == 36

    def test_one_seed_has_no_stability(self, engine: Client) -> None:
        run = engine.wait(engine.submit("sae_consistency", {**TINY_WORLD, "d_sae": 30}, [4])["id"])["id"]
        engine.wait(engine.make_map([run])["id"])
        (trace,) = figures(open_page("map", runs=run))[0]["data"]
        assert trace["name"] == "not known"

    def test_lasso_and_box_can_be_chosen(self, made: dict[str, Any], runs: list[str]) -> None:
        proto = open_page("map", runs=runs[0]).get("plotly_chart")[0].proto
        assert json.loads(proto.config)["modeBarButtonsToRemove"] == ["autoScale2d"]
        assert figures(open_page("map", runs=runs[0]))[0]["layout"]["dragmode"] == "lasso"


class TestLasso:
    def test_link_restores_picture_and_table(
        self, engine: Client, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        polygon = around(points, 5)
        page = open_page("map", runs=runs[0], lasso=encode_lasso(polygon))
        figure = figures(page)[0]
        assert figure["layout"]["shapes"][0]["type"] == "path"
        assert figure["data"][0]["selectedpoints"] == [5]
        assert "1 feature inside the lasso" in text_of(page)
        (row,) = rows(page).to_dict("records")
        wanted = points.iloc[5]
        query = f"features?runs={runs[0]}&seed={wanted['seed']}&feature={wanted['feature']}"
        assert row["open"] == query
        measured = engine.table(runs[0], "features", where={"seed": int(wanted["seed"])}).to_pandas()
        assert row["max_cosine"] == measured.set_index("feature")["max_cosine"][wanted["feature"]]

    def test_drawn_lasso_goes_into_the_link_and_the_figure_stays(
        self, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        page = open_page("map", runs=runs[0])
        before = page.get("plotly_chart")[0].proto.spec
        page.session_state[chart(made)] = selection(EVERYTHING)
        page.run()
        assert not page.exception
        link = "".join(page.query_params["lasso"])
        assert len(decode_lasso(link)) == 4
        assert "36 features inside the lasso" in text_of(page) and len(rows(page)) == 36
        assert page.get("plotly_chart")[0].proto.spec == before
        page.session_state[chart(made)] = selection(around(points, 3))
        page.run()
        assert "1 feature inside the lasso" in text_of(page)
        page.session_state[chart(made)] = {"selection": {"points": [], "lasso": [], "box": []}}
        page.run()
        assert "lasso" not in page.query_params and "inside the lasso" not in text_of(page)

    def test_table_is_what_numpy_finds(
        self, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        middle = points[["x", "y"]].median().to_numpy()
        polygon = middle + np.array([[-2, -2], [2, -1.5], [1.8, 2], [0, 0.3], [-2, 2]])
        page = open_page("map", runs=runs[0], lasso=encode_lasso(polygon))
        within = points[inside(points["x"], points["y"], decode_lasso(encode_lasso(polygon)))]
        wanted = {
            f"features?runs={runs[0]}&seed={s}&feature={f}"
            for s, f in zip(within["seed"], within["feature"], strict=True)
        }
        assert set(rows(page)["open"]) == wanted and wanted

    def test_colour_keeps_the_lasso(
        self, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        page = open_page("map", runs=runs[0])
        page.session_state[chart(made)] = selection(around(points, 3))
        page.run()
        link = page.query_params["lasso"]
        page.segmented_control(key="colour").set_value("seed").run()
        assert not page.exception and page.query_params["lasso"] == link
        assert figures(page)[0]["layout"]["shapes"] and "1 feature inside" in text_of(page)

    def test_clear_button(self, made: dict[str, Any], runs: list[str], points: pd.DataFrame) -> None:
        page = open_page("map", runs=runs[0], lasso=encode_lasso(around(points, 3)))
        next(button for button in page.button if button.label == "Clear the lasso").click().run()
        assert not page.exception and "lasso" not in page.query_params
        assert "shapes" not in figures(page)[0]["layout"] and "inside the lasso" not in text_of(page)

    def test_other_runs_drop_the_lasso(self, engine: Client, runs: list[str], made: dict[str, Any]) -> None:
        engine.wait(engine.make_map(runs)["id"])
        page = open_page("map", runs=runs[0], lasso=encode_lasso(EVERYTHING))
        page.multiselect(key="map_runs").set_value(runs).run()
        assert not page.exception and "lasso" not in page.query_params
        assert "inside the lasso" not in text_of(page)

    @pytest.mark.parametrize("link", ["%%%", "AAAA", "<script>", "a" * 5000])
    def test_malformed_lasso_is_no_lasso(self, made: dict[str, Any], runs: list[str], link: str) -> None:
        page = open_page("map", runs=runs[0], lasso=link)
        assert "lasso" not in page.query_params and "Draw a lasso" in text_of(page)

    def test_empty_lasso_says_so(self, made: dict[str, Any], runs: list[str]) -> None:
        page = open_page("map", runs=runs[0], lasso=encode_lasso(FAR_AWAY))
        assert "No feature lies inside" in text_of(page)

    def test_all_go_to_a_list_that_colours_the_map(
        self, engine: Client, made: dict[str, Any], runs: list[str], points: pd.DataFrame
    ) -> None:
        engine.add_to_list("*mine*", [(runs[0], 0, 3)])
        page = open_page("map", runs=runs[0], lasso=encode_lasso(EVERYTHING))
        page.selectbox(key="lasso_list").set_value("*mine*").run()
        next(button for button in page.button if button.label == "Add all 36 to the list").click().run()
        assert not page.exception
        listed = [row for row in engine.library()["lists"] if row["name"] == "*mine*"]
        assert len(listed) == 36 and {row["run"] for row in listed} == {runs[0]}
        figure = figures(open_page("map", runs=runs[0], colour="List"))[0]
        assert {trace["name"] for trace in figure["data"]} == {"*mine* (36)"}
        engine.delete_list("*mine*")
