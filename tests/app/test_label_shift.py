"""The page Label shift on finished, failed and running runs of label_shift, against a real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from engine.client import Client
from tests.app.causal_tables import engine_on
from tests.app.label_shift_tables import write_run
from tests.app.pages import array, figures, open_page, text_of, titled
from tests.conftest import eventually
from tests.label_shift.conftest import TINY

FULL, LEAN, OWN, FAILED = "aaaaaaaaaaa3", "bbbbbbbbbbb3", "ccccccccccc3", "ddddddddddd3"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    names = np.array([EVIL, "b", "c"])[np.arange(90) % 3]
    path = home / "own.parquet"
    pd.DataFrame({"label": names, "f0": rng.normal(size=90), "f1": rng.normal(size=90)}).to_parquet(path)
    lean = {"mechanism": "features", "decisions": 0, "swap_rounds": 0, "fine_tune": False}
    write_run(home, LEAN, lean, (0,))
    write_run(home, OWN, {"source": "features", "table": str(path), "swap_rounds": 0}, (0,))
    write_run(home, FULL, {}, (0, 1, 2))
    write_run(home, FAILED, error="table: it has no column label.")
    with engine_on(home) as client:
        yield client


def rows(engine: Client, name: str, run: str = FULL, **where: Any) -> pd.DataFrame:
    return engine.table(run, name, where=where).to_pandas()


@pytest.fixture(scope="module")
def page(engine: Client) -> Any:
    """The page as it first opens."""
    return open_page("label_shift", run=FULL)


@pytest.fixture(scope="module")
def linked(engine: Client) -> Any:
    """The page as a link opens it, every selection another one."""
    return open_page(
        "label_shift", run=FULL, measure="Accuracy", window="1", part="after the swap", arm="EM", seed="1", round="6",
        show="difference", effect="S from 0 to 1", choice_seed="1", decision="7", reveal="true",
    )  # fmt: skip


class TestFirstView:
    def test_the_strip_holds_the_stored_figures(self, engine: Client, page: Any) -> None:
        shown = {metric.label: metric.value for metric in page.metric}
        late = rows(engine, "shift_rounds", arm="adapter").query("not swapped and round >= 4")
        recovery = rows(engine, "shift_recovery")
        assert shown["Excess loss"] == f"{late['excess_nll'].mean():.3f}"
        assert shown["Forecast error"] == f"{late['kl'].mean():.3f}"
        assert shown["With the truth"] == f"{recovery['correlation'].mean():.3f}"
        assert shown["Chance, truth"] == f"{recovery['null'].mean():.3f}"
        assert shown["Between seeds"] == f"{rows(engine, 'shift_agreement')['correlation'].mean():.3f}"

    def test_excess_loss_comes_first_and_the_oracle_is_its_zero(self, page: Any) -> None:
        curve = titled(page, "Excess loss")[0]
        names = [trace["name"] for trace in curve["data"] if trace.get("name")]
        assert names == ["none", "one-parameter fit", "adapter", "EM", "oracle prior", "fine-tuning"]
        oracle = next(trace for trace in curve["data"] if trace.get("name") == "oracle prior")
        assert np.allclose(array(oracle["y"]), 0) and oracle["line"]["dash"] == "dot"

    def test_solid_adapts_and_dashed_reacts(self, engine: Client, page: Any) -> None:
        mine = [t for t in titled(page, "Deploy, react")[0]["data"] if t["legendgroup"] == "adapter"]
        dashed, solid = mine[:2]
        means = (
            rows(engine, "shift_rounds", arm="adapter")
            .groupby("round")[["excess_nll_before", "excess_nll"]]
            .mean()
        )
        assert (dashed["line"]["dash"], solid["line"]["dash"]) == ("dash", "solid")
        before, after = means["excess_nll_before"].to_numpy(), means["excess_nll"].to_numpy()
        assert np.allclose(array(solid["y"]).reshape(-1, 3)[:, :2], np.stack([before, after], axis=1))
        assert np.allclose(
            array(dashed["y"]).reshape(-1, 3)[:, :2], np.stack([after[:-1], before[1:]], axis=1)
        )

    def test_regret_is_against_the_best_afterwards(self, engine: Client, page: Any) -> None:
        choices = rows(engine, "shift_choices")
        grouped = choices.groupby(["seed", "round"])
        chosen = choices.loc[grouped["present"].idxmax()].set_index(["seed", "round"])["revealed"]
        wanted = (grouped["revealed"].max() - chosen).groupby("seed").mean()
        dots = titled(page, "Regret")[0]["data"][0]
        found = [x for x, y in zip(array(dots["x"]), dots["y"], strict=True) if y == "accuracy now"]
        assert found == pytest.approx(list(wanted))
        assert "after deployment" not in str(titled(page, "Which one")[0])

    def test_every_picture_can_be_exported(self, page: Any) -> None:
        names = [button.proto.label for button in page.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(page)) and len(figures(page)) == 13


class TestLink:
    def test_measure_and_window(self, engine: Client, linked: Any) -> None:
        mine = next(
            trace for trace in titled(linked, "Accuracy")[0]["data"] if trace.get("name") == "adapter"
        )
        stored = rows(engine, "shift_rounds", arm="adapter").groupby("round")["accuracy"].mean()
        assert np.allclose(array(mine["y"]), stored)

    def test_the_table_names_what_each_arm_needs(self, engine: Client, linked: Any) -> None:
        table = next(f.value for f in linked.dataframe if "needs" in getattr(f.value, "columns", []))
        stored = rows(engine, "shift_rounds").query("swapped").groupby("arm")["excess_nll"].mean()
        assert dict(zip(table["arm"], table["excess_nll"], strict=True)) == pytest.approx(
            dict(stored), abs=1e-4
        )
        assert table.set_index("arm").loc["EM", "needs"] == "this round's inputs" and len(table) == 8

    def test_a_round_by_class(self, engine: Client, linked: Any) -> None:
        stored = rows(engine, "shift_classes", arm="EM", seed=1, round=6).sort_values("class")
        before = rows(engine, "shift_classes", arm="EM", seed=1, round=5).sort_values("class")
        bars = [array(trace["y"]) for trace in titled(linked, "Round 6")[0]["data"]]
        for drawn, wanted in zip(
            bars, (stored["p_true"], stored["p_forecast"], before["class_accuracy"]), strict=True
        ):
            assert np.allclose(drawn, wanted)
        heat = array(titled(linked, "Forecast less truth")[0]["data"][0]["z"])
        assert heat.shape == (4, 11) and np.allclose(heat[:, 6], stored["p_forecast"] - stored["p_true"])

    def test_the_learnt_mechanism_stands_beside_the_true_one(self, engine: Client, linked: Any) -> None:
        learnt, truth = (array(trace["z"]) for trace in titled(linked, "What the world is")[0]["data"])
        assert np.allclose(truth, -(np.eye(4) - 0.25) / 0.1)
        stored = rows(engine, "shift_mechanism").groupby(["target", "source"])["learnt"].mean()
        assert np.allclose(learnt, stored.to_numpy().reshape(4, 4))

    def test_what_came_of_a_choice(self, engine: Client, linked: Any) -> None:
        stored = rows(engine, "shift_choices", seed=1, round=7)
        traces = titled(linked, "Which one")[0]["data"]
        shown = next(trace for trace in traces if trace["name"] == "after deployment")
        assert np.allclose(array(shown["x"]), stored["revealed"])
        best_now = stored.loc[stored["present"].idxmax(), "candidate"]
        assert f"By accuracy now: {best_now}" in text_of(linked).replace("\\", "")


class TestStates:
    def test_one_seed_without_swap_reaction_or_choices(self, engine: Client) -> None:
        page = open_page("label_shift", run=LEAN)
        shown = {metric.label: metric.value for metric in page.metric}
        assert shown["Between seeds"] == shown["With the truth"] == "–"
        assert "compared no candidates" in text_of(page) and "no interval from one seed" in text_of(page)

    def test_names_of_classes_are_data(self, engine: Client) -> None:
        page = open_page("label_shift", run=OWN)
        assert "<img" not in text_of(page) and EVIL not in str(figures(page))
        assert "&lt;img" in str(titled(page, "Round")[0])

    def test_a_stale_link_is_no_error(self, engine: Client) -> None:
        page = open_page(
            "label_shift", run=FULL, arm="nobody", seed="77", decision="99", candidate="x", measure="y"
        )
        assert not page.error

    def test_failed_run_says_why(self, engine: Client) -> None:
        page = open_page("label_shift", run=FAILED)
        assert page.error[0].value == "table: it has no column label." and not page.metric

    def test_running_run_shows_its_curves(self, engine: Client) -> None:
        run = engine.submit("label_shift", {**TINY, "rounds": 5_000, "decisions": 0}, [0])["id"]
        try:
            eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
            page = open_page("label_shift", run=run)
            assert page.get("progress") and figures(page) and "Trajectories, forecasts" in text_of(page)
            assert "forecast error KL" in str(figures(page))
        finally:
            engine.cancel(run)
            engine.wait(run)

    def test_a_changed_knob_launches(self, engine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        page = open_page("label_shift", run=FULL)
        page.number_input(key=f"again-{FULL}-tau").set_value(0.3).run()
        assert "on this machine" in text_of(page)
        asked: list[Any] = []
        monkeypatch.setattr(Client, "submit", lambda self, *args: asked.append(args) or {"id": OWN})
        page.button(key=f"again-{FULL}-go").click().run()
        assert not page.exception and OWN in page.query_params["run"]
        study, config, seeds, *_ = asked[0]
        assert (study, config["tau"], config["source"], seeds) == ("label_shift", 0.3, "mixture", [0, 1, 2])

    def test_home_knows_the_run_by_its_excess_loss(self, engine: Client) -> None:
        board = open_page("start").dataframe[0].value
        row = board[board["run"].str.contains(FULL[:6])].iloc[0]
        late = rows(engine, "shift_rounds", arm="adapter").query("not swapped and round >= 4")
        assert row["Excess loss"] == pytest.approx(late["excess_nll"].mean())
        assert row["open"].startswith("label-shift?run=") and "mixture of 4 · Eq. 6, τ 0.1" in row["run"]


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("label_shift")
        next(button for button in page.button if button.label == "Deploy a first classifier").click().run()
    assert asked[0] == (("label_shift", {}, [0, 1, 2]), {"preset": "tour"})
