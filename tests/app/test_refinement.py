"""The page Refinement on finished, failed and running runs of sr2, against a real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st

from engine.client import Client
from tests.app.causal_tables import engine_on
from tests.app.pages import figures, labels, open_page, text_of, titled
from tests.app.reasoner_tables import MAZE, TINY, write_run
from tests.conftest import eventually

FULL, FORWARD, MAZES, FAILED = "aaaaaaaaaaa2", "bbbbbbbbbbb2", "ccccccccccc2", "ddddddddddd2"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    write_run(home, MAZES, MAZE, (0,))
    write_run(home, FORWARD, {"model": "feed_forward", "layers": 2}, (0, 1))
    write_run(home, FULL, {"n_steps": 40}, (0, 1, 2))
    write_run(home, FAILED, error="clues: 5 do not suit.")
    with engine_on(home) as client:
        yield client


def rows(engine: Client, name: str, run: str = FULL, **where: Any) -> pd.DataFrame:
    return engine.table(run, name, where=where).to_pandas()


def signs(figure: dict[str, Any]) -> list[str]:
    """The signs of a board as drawn, clues bold."""
    return list(next(trace["text"] for trace in figure["data"] if trace.get("mode") == "text"))


def squares(figure: dict[str, Any], colour: str) -> int:
    """How many squares are drawn in a colour."""
    found = [t for t in figure["data"] if t.get("line", {}).get("color") == colour and t.get("x")]
    return sum(x is None for trace in found for x in trace["x"])


class TestBoards:
    def test_the_strip_holds_the_stored_figures(self, engine: Client) -> None:
        shown = {metric.label: metric.value for metric in open_page("refinement", run=FULL).metric}
        models, alike = rows(engine, "sr2_models"), rows(engine, "sr2_consistency", block=2)
        assert shown["Solved exactly"] == f"{models['exact'].mean():.1%}"
        assert shown["Open cells right"] == f"{models['cell'].mean():.1%}"
        assert shown["CKA between seeds"] == f"{alike['cka'].mean():.3f}"
        assert shown["Chance, MCC"] == f"{alike['mcc_null'].mean():.3f}"

    def test_a_link_opens_puzzle_iteration_and_colour(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL, puzzle="2", t="3", colour="Last change")
        board = figures(page)[0]
        cells = rows(engine, "sr2_cells", seed=0, puzzle=1, iteration=3).sort_values("cell")
        given = rows(engine, "sr2_puzzles", puzzle=1)["given"].iloc[0]
        wanted = [
            f"<b>{clue}</b>" if clue != "0" else str(token) if token else ""
            for token, clue in zip(cells["token"], given, strict=True)
        ]
        assert signs(board) == wanted
        assert squares(board, "#D55E00") == (~cells["correct"].astype(bool)).sum() > 0
        assert board["layout"]["title"]["subtitle"]["text"].startswith("iteration 3")
        assert "since change" in board["data"][0]["colorbar"]["title"]["text"]

    def test_playing_goes_on_by_one_and_stops_at_the_end(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL)
        page.button(key="play").click().run()
        assert "Pause" in labels(page) and page.select_slider(key="t").value == 1
        page.run()
        assert page.select_slider(key="t").value == 2
        page.session_state["t"] = 11
        page.run()
        assert not page.exception and "Play" in labels(page) and page.select_slider(key="t").value == 12

    def test_two_arms_stand_side_by_side_on_the_same_puzzle(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL, beside=FORWARD)
        words = ["SR² · seed 0", "feed-forward, 2 layers · seed 0"]
        assert [figure["layout"]["title"]["text"] for figure in figures(page)[:2]] == words
        assert titled(page, "Rules broken")[0]["data"][1]["name"] == words[1]
        table = next(
            frame.value for frame in page.dataframe if "parameters" in getattr(frame.value, "columns", [])
        )
        means = {
            arm: rows(engine, "sr2_models", run)["exact"].mean()
            for arm, run in (("SR²", FULL), ("feed-forward, 2 layers", FORWARD))
        }
        assert dict(zip(table["arm"], table["exact"] / 100, strict=True)) == pytest.approx(means)
        assert list(table["seeds"]) and set(table["seeds"]) == {2, 3}
        assert len(titled(page, "Exact by arm")) == 1

    def test_accuracy_stands_by_difficulty(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL)
        found = [frame.value for frame in page.dataframe if "grade" in frame.value]
        assert len(found) == 1 and found[0]["puzzles"].sum() > 0 and found[0]["exact"].between(0, 1).all()

    def test_runs_on_other_puzzles_are_not_offered(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL)
        assert all("maze" not in option for option in page.multiselect(key="beside").options)
        assert not [box for box in open_page("refinement", run=MAZES).multiselect if box.key == "beside"]

    def test_a_cell_and_a_head_choose_the_attention(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL, cell="6", block="2", head="2")
        heat = titled(page, "What row 2, column 2 attends to")[0]
        stored = rows(engine, "sr2_attention", seed=0, puzzle=0, block=1, head=1, cell=5)
        assert len(stored) == 16
        top = stored.loc[stored["weight"].idxmax()]
        assert heat["data"][0]["zmax"] == pytest.approx(top["weight"])

    def test_attention_is_missing_after_the_second_puzzle(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL, puzzle="3")
        assert "first two test puzzles" in text_of(page) and not titled(page, "What row")

    def test_every_picture_can_be_exported(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL)
        names = [button.proto.label for button in page.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(page)) and len(figures(page)) == 9

    def test_mazes_are_drawn_with_walls_and_ends(self, engine: Client) -> None:
        board = figures(open_page("refinement", run=MAZES))[0]
        assert {"<b>S</b>", "<b>G</b>"} <= set(signs(board))
        assert any(trace.get("fillcolor") == "#333333" for trace in board["data"])
        assert "break in the path" in str(figures(open_page("refinement", run=MAZES))[1])


class TestOwnPuzzle:
    def solve(self, text: str, run: str = FULL) -> Any:
        page = open_page("refinement", run=run)
        page.text_area(key="own").set_value(text)
        page.button(key="own_solve").click().run()
        assert not page.exception
        return page

    def test_it_is_solved_live_as_the_engine_solves_it(self, engine: Client) -> None:
        given = rows(engine, "sr2_puzzles", puzzle=0)["given"].iloc[0]
        page = self.solve(given)
        assert page.success[0].value == "It has exactly one solution."
        last = engine.solve_puzzle(FULL, 0, given, 6)["iterations"][-1]
        page.session_state["own_t"] = last["iteration"]
        page.session_state["own_playing"] = False
        page.run()
        board = [figure for figure in figures(page) if "seed 0" in figure["layout"]["title"]["text"]][-1]
        found = [int(sign or 0) for sign in signs(board) if "<b>" not in sign]
        assert found == [token for token, clue in zip(last["tokens"], given, strict=True) if clue == "0"]
        assert board["layout"]["title"]["subtitle"]["text"].startswith(f"iteration {last['iteration']}:")

    def test_several_solutions_and_broken_rules_are_named(self, engine: Client) -> None:
        assert "more than one solution" in self.solve("1...\n" + "....\n" * 3).warning[0].value
        page = self.solve("11..\n" + "....\n" * 3)
        assert page.error[0].value == "Invalid: row 1 holds the digit 1 twice."
        own = [figure for figure in figures(page) if figure["layout"]["title"]["text"] == "SR² · seed 0"][-1]
        assert "wrong" not in own["layout"]["title"]["subtitle"]["text"] and squares(own, "#D55E00") == 0

    def test_text_is_data_and_what_cannot_be_read_is_refused(self, engine: Client) -> None:
        page = self.solve("<img src=x onerror=alert(1)>**12**")
        assert "cells were read" in page.error[0].value
        assert "<img" not in text_of(page)


class TestAgain:
    def test_a_changed_switch_costs_and_launches(self, engine: Client) -> None:
        page = open_page("refinement", run=FULL)
        page.toggle(key=f"again-{FULL}-alignment").set_value(False).run()
        assert "on this machine" in text_of(page)
        page.button(key=f"again-{FULL}-go").click().run()
        assert not page.exception
        newest = engine.runs(study="sr2", limit=1)[0]
        assert newest["config"]["alignment"] is False and newest["seeds"] == [0, 1, 2]
        assert newest["id"] in page.query_params["run"]
        engine.cancel(newest["id"])
        engine.wait(newest["id"])

    def test_every_ablation_is_asked_for_on_the_same_puzzles(
        self, engine: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(Client, "launch", lambda self, *args, **more: asked.append((args, more)) or [])
        page = open_page("refinement", run=FULL)
        page.button(key="ablations-go").click().run()
        (study, settings, seeds, _), more = asked[0]
        assert (study, seeds, more) == ("sr2", [0, 1, 2], {"sweep": "ablations"})
        assert settings[0]["clues"] == TINY["clues"] and settings[0]["n_steps"] == 40
        assert not {"alignment", "model", "injection", "weights", "blocks"} & set(settings[0])


class TestStates:
    def test_failed_run_says_why(self, engine: Client) -> None:
        page = open_page("refinement", run=FAILED)
        assert page.error[0].value == "clues: 5 do not suit." and not page.metric

    def test_running_run_shows_its_curves(self, engine: Client) -> None:
        run = engine.submit("sr2", {**TINY, "n_steps": 40_000, "n_test": 17}, [0])["id"]
        try:
            eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
            page = open_page("refinement", run=run)
            assert page.get("progress") and "Boards, curves" in text_of(page)
            assert figures(page)[0]["layout"]["yaxis"]["title"]["text"] == "Training loss"
            next(button for button in page.button if "Stop" in button.label).click().run()
            assert engine.wait(run)["state"] == "cancelled"
            stopped = open_page("refinement", run=run)
            assert figures(stopped) and "Continue from the last checkpoint" in labels(stopped)
        finally:
            if engine.run(run)["state"] in ("queued", "running"):
                engine.cancel(run)
                engine.wait(run)

    def test_home_knows_the_run_by_its_exact_figure(self, engine: Client) -> None:
        board = open_page("start").dataframe[0].value
        row = board[board["run"].str.contains(FULL[:6])].iloc[0]
        assert row["Exact"] == pytest.approx(rows(engine, "sr2_models")["exact"].mean())
        assert row["open"].startswith("refinement?run=") and "4×4 Sudoku, 8 clues" in row["run"]


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("refinement")
        next(button for button in page.button if button.label == "Train a first reasoner").click().run()
    assert asked[0] == (("sr2", {}, [0, 1, 2]), {"preset": "tour"})
