"""The page Extrapolation on finished, failed and running runs of extrapolation, against a real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from analyses.extrapolation import FEW, NEAR, SOURCE
from engine.client import Client
from tests.app.causal_tables import engine_on
from tests.app.extrapolation_tables import write_run
from tests.app.pages import array, figures, open_page, text_of, titled
from tests.conftest import eventually
from tests.extrapolation.conftest import TINY
from tests.extrapolation.test_own import EVIL, vit, write_pictures

WORLDS, DIGITS, ALONE, OWN, FAILED = (
    "aaaaaaaaaaa5",
    "bbbbbbbbbbb5",
    "ccccccccccc5",
    "ddddddddddd5",
    "eeeeeeeeeee5",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    write_run(home, WORLDS)
    write_run(home, DIGITS, {"source": "digits"})
    write_run(home, ALONE, {"regime": "dense", "distances": [1.0]}, (0,))
    folder, model = write_pictures(home / "pictures", (".",), 24), vit(home / "vit", ("cat", EVIL))
    own = {
        "source": "folder",
        "folder": str(folder),
        "classifier": str(model),
        "side": 16,
        "steps": 25,
        "scopes": [0.5],
    }
    write_run(home, OWN, own, (0,))
    write_run(home, FAILED, error="folder: it holds 3 readable pictures; 20 or more are needed.")
    with engine_on(home) as client:
        yield client


def rows(engine: Client, name: str, run: str = WORLDS, **where: Any) -> pd.DataFrame:
    return engine.table(run, f"extra_{name}", where=where).to_pandas()


@pytest.fixture(scope="module")
def page(engine: Client) -> Any:
    """A run on worlds as it first opens."""
    return open_page("extrapolation", run=WORLDS)


@pytest.fixture(scope="module")
def linked(engine: Client) -> Any:
    """The same as a link opens it, every selection another one."""
    return open_page(
        "extrapolation", run=WORLDS, regime="sparse", seed="1", distance="8.0", number="2", by=NEAR
    )


@pytest.fixture(scope="module")
def map_page(engine: Client) -> Any:
    """A run on digits as a link opens it."""
    return open_page(
        "extrapolation", run=DIGITS, arm=FEW, shown=f"less {SOURCE}", seed="1", scope="1.0", severity="2.0"
    )


class TestWorlds:
    def test_the_strip_holds_the_stored_figures(self, engine: Client, page: Any) -> None:
        shown = {metric.label: metric.value for metric in page.metric}
        recovery, agreement = (rows(engine, name, regime="dense") for name in ("recovery", "agreement"))
        assert shown["With the truth"] == f"{recovery['r2'].mean():.3f}"
        assert shown["Chance, truth"] == f"{recovery['null'].mean():.3f}"
        assert shown["Between seeds"] == f"{agreement['r2'].mean():.3f}"
        assert shown["Equal answers"] == f"{agreement['answers'].mean():.3f}"
        there = rows(engine, "accuracy", regime="dense", arm=NEAR, distance=2.0)
        assert shown["Class at 2"] == f"{there['accuracy'].mean():.3f}"
        assert next(iter(shown)) == "Between seeds"

    def test_accuracy_against_distance(self, engine: Client, page: Any) -> None:
        drawn = titled(page, "Dense shift")[0]["data"]
        mine = next(trace for trace in drawn if trace.get("name") == NEAR)
        stored = rows(engine, "accuracy", regime="dense", arm=NEAR).groupby("distance")["accuracy"].mean()
        assert np.allclose(array(mine["y"]), stored)
        assert len([trace for trace in drawn if trace.get("name")]) == 5

    def test_the_number_of_changed_coordinates(self, engine: Client, linked: Any) -> None:
        drawn = titled(linked, "How many")[0]
        far = next(trace for trace in drawn["data"] if trace["name"] == "distance 8")
        stored = rows(engine, "curve", regime="sparse", distance=8.0).groupby("changed")["accuracy"].mean()
        assert np.allclose(array(far["y"]), stored) and np.allclose(array(far["x"]), stored.index)
        assert {line["x0"] for line in drawn["layout"]["shapes"]} == {3}

    def test_the_target_of_the_link_is_drawn_with_its_way(self, engine: Client, linked: Any) -> None:
        target = sorted(rows(engine, "targets", regime="sparse", seed=1, distance=8.0)["target"].unique())[2]
        mine = rows(engine, "targets", regime="sparse", seed=1, target=int(target), arm=NEAR).iloc[0]
        traces = titled(linked, "Off the support")[0]["data"]
        star = next(trace for trace in traces if str(trace.get("name", "")).startswith("target"))
        assert (array(star["x"])[0], array(star["y"])[0]) == pytest.approx((mine["u"], mine["v"]))
        way = next(trace for trace in traces if "the answer" in str(trace.get("name", "")))
        stored = rows(engine, "paths", regime="sparse", seed=1, target=int(target), arm=NEAR)
        stored = stored[stored["class"] == mine["prediction"]].sort_values("step")
        assert np.allclose(array(way["x"]), stored["u"])
        dots = titled(linked, "What changed")[0]["data"][-1]
        x = rows(engine, "coordinates", regime="sparse", seed=1, target=int(target), arm=NEAR).sort_values(
            "coordinate"
        )
        assert np.allclose(array(dots["y"]), x["x"])
        answers = next(f.value for f in linked.dataframe if "certainty" in getattr(f.value, "columns", []))
        assert (
            dict(zip(answers["arm"], answers["answer"], strict=True))[NEAR] == f"class {mine['prediction']}"
        )

    def test_a_target_of_your_own_is_adapted_to(self, engine: Client) -> None:
        page = open_page(
            "extrapolation",
            run=WORLDS,
            regime="sparse",
            target="one of your own",
            at="12.0",
            q="2",
            **{"class": "1"},
        )
        assert not page.error and "target, class 1" in str(titled(page, "Off the support")[0])
        assert len(titled(page, "What changed")[0]["layout"]["shapes"]) == 2
        page.slider(key="q").set_value(5).run()
        assert len(titled(page, "What changed")[0]["layout"]["shapes"]) == 5

    def test_every_picture_can_be_exported(self, page: Any) -> None:
        names = [button.proto.label for button in page.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(page)) and len(figures(page)) == 4

    def test_pictures_are_offered(self, engine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(
            Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": DIGITS}
        )
        page = open_page("extrapolation", run=WORLDS)
        next(button for button in page.button if button.label == "Corrupt digits by blocks").click().run()
        assert asked == [(("extrapolation", {}, [0, 1, 2]), {"preset": "digits_tour"})]
        assert DIGITS in page.query_params["run"] and titled(page, SOURCE)


class TestPictures:
    def test_the_map_of_a_difference(self, engine: Client, map_page: Any) -> None:
        cells = rows(engine, "map", DIGITS).query("severity > 0")
        wide = {
            arm: cells[cells["arm"] == arm].pivot_table("accuracy", "scope", "severity").to_numpy()
            for arm in (FEW, SOURCE)
        }
        assert np.allclose(array(titled(map_page, FEW)[0]["data"][0]["z"]), wide[FEW] - wide[SOURCE])
        line = titled(map_page, "Scope against")[0]["data"]
        assert np.allclose(array(next(t for t in line if t.get("name") == "block 100%")["y"]), wide[FEW][1])

    def test_the_strip_and_the_picture_of_the_link(self, engine: Client, map_page: Any) -> None:
        shown = {metric.label: metric.value for metric in map_page.metric}
        found = rows(engine, "found", DIGITS).dropna(subset=["auc"]).groupby("seed")["auc"].mean()
        assert shown["With the truth"] == f"{found.mean():.3f}"
        number = int(rows(engine, "pictures", DIGITS, seed=1)["picture"].min())
        mine = rows(engine, "patches", DIGITS, seed=1, picture=number, scope=1.0, severity=2.0)
        assert titled(map_page, f"{int(mine['hidden'].sum())} of 16 patches")
        table = next(f.value for f in map_page.dataframe if "certainty" in getattr(f.value, "columns", []))
        assert len(table) == 7 and pd.isna(
            table.set_index("arm").loc["nearest source neighbour", "certainty"]
        )

    def test_a_picture_of_your_own_choice_is_adapted_to(self, engine: Client) -> None:
        page = open_page(
            "extrapolation", run=DIGITS, sample="one of your own", row="5", noise="4.0", block="1.0"
        )
        answer = engine.extrapolate_picture(DIGITS, picture=5, scope=1.0, severity=4.0)
        hidden = sum(row["hidden"] for row in answer["extra_patches"])
        assert not page.error and titled(page, f"{hidden} of 16 patches judged changed")
        page.slider(key="noise").set_value(0.0).run()
        assert "0 of the 0 that truly are" in str(figures(page))

    def test_unlabelled_pictures_have_no_accuracy(self, engine: Client) -> None:
        page = open_page("extrapolation", run=OWN)
        assert "No picture's class is known" in text_of(page) and "Its class is not known" in text_of(page)
        assert {metric.label for metric in page.metric} >= {"Answers moved"} and EVIL not in str(
            figures(page)
        )


class TestStates:
    def test_one_seed(self, engine: Client) -> None:
        page = open_page("extrapolation", run=ALONE)
        shown = {metric.label: metric.value for metric in page.metric}
        assert shown["Between seeds"] == "–" and "no interval from one seed" in text_of(page)

    def test_a_stale_link_is_no_error(self, engine: Client) -> None:
        stale = {"regime": "medium", "seed": "77", "distance": "3.5", "number": "99", "by": "x", "class": "9"}
        assert not open_page("extrapolation", run=WORLDS, **stale).error
        other = {"arm": "nobody", "shown": "x", "scope": "0.3", "severity": "9", "picture": "123456"}
        assert not open_page("extrapolation", run=DIGITS, **other).error

    def test_failed_run_says_why(self, engine: Client) -> None:
        page = open_page("extrapolation", run=FAILED)
        assert "20 or more are needed" in page.error[0].value and not page.metric

    def test_running_run_shows_its_curves(self, engine: Client) -> None:
        run = engine.submit("extrapolation", {**TINY, "steps": 50_000}, [0])["id"]
        try:
            eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
            page = open_page("extrapolation", run=run)
            assert page.get("progress") and "adapted to alone" in text_of(page)
            assert "Classifier's loss" in str(figures(page))
        finally:
            engine.cancel(run)
            engine.wait(run)

    def test_home_knows_the_run_by_its_accuracy_off_the_support(self, engine: Client) -> None:
        board = open_page("start").dataframe[0].value
        row = board[board["run"].str.contains(WORLDS[:6])].iloc[0]
        found = rows(engine, "accuracy").query("distance > 0")
        right = ((found["regime"] == "dense") & (found["arm"] == NEAR)) | (
            (found["regime"] == "sparse") & (found["arm"] == FEW)
        )
        assert row["Extrapolated"] == pytest.approx(found[right]["accuracy"].mean())
        assert row["open"].startswith("extrapolation?run=") and "dense and sparse world" in row["run"]


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("extrapolation")
        next(button for button in page.button if button.label == "Extrapolate a first time").click().run()
    assert asked[0] == (("extrapolation", {}, [0, 1, 2]), {"preset": "tour"})
