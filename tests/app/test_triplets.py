"""The page Triplets on finished runs with and without truth, a weak and a failed one, against a real engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from analyses.feature_map import encode_lasso
from app.triplets_cut import share_from
from app.triplets_select import verdict
from data.files import write_json
from engine.client import Client
from engine.run import Run
from engine.tools.triplet_map import TripletMap
from tests.app.causal_tables import engine_on
from tests.app.pages import figures, labels, open_page, text_of, titled
from tests.app.srf_tables import write_run

RUN, WEAK, FOLDER, FAILED, RETRAINED, MAP = (f"{letter * 11}1" for letter in "abcdef")
ALONE = {"start": "none", "generator": "tuned", "tower_steps": 400}  # needs no bundled weights
REFUSAL = "learning_rate: the loss is no longer finite; lower learning_rate."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    write_run(home, RUN, {**ALONE, "rounds": 2}, rounds=(1, 2))
    write_run(home, WEAK, is_weak=True, n=60)
    write_run(
        home, FOLDER, {"pictures": "folder", "folder": "/own", **ALONE, "arms": "base"}, (0,), is_known=False
    )
    write_run(home, FAILED, seeds=(0,), error=REFUSAL)
    selected = {
        "selection": f"{home}/reviews/{RUN}/selections/best-20.json",
        "selection_run": RUN,
        **ALONE,
        "rounds": 2,
    }
    write_run(home, RETRAINED, selected, selected=True)
    write_map(home)
    with engine_on(home) as client:
        yield client


def write_map(home: Path) -> None:
    """A finished map of RUN: triplet i at (i mod 30, i div 30)."""
    settings = TripletMap.Config(of=RUN)
    directory = home / "runs" / MAP
    directory.mkdir(parents=True)
    record = {
        "id": MAP, "study": "triplet_map", "config": settings.model_dump(mode="json"), "seeds": [0], "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": None, "created": 1.0,
    }  # fmt: skip
    write_json(directory / "config.json", record)
    state = {
        "state": "done",
        "group": None,
        "created": 1.0,
        "queued": 0.0,
        "started": 0.0,
        "finished": 1.0,
        "error": None,
    }
    write_json(directory / "state.json", state)
    n = len(rows(home, "triplets"))
    run = Run(directory, settings)
    places = {"x": [float(i % 30) for i in range(n)], "y": [float(i // 30) for i in range(n)]}
    run.write_table("triplet_points", pa.table({"of_run": [RUN] * n, "triplet": list(range(n)), **places}))
    run.finish()


def rows(home: Path, name: str, run: str = RUN) -> pd.DataFrame:
    return pd.read_parquet(home / "runs" / run / "tables" / f"srf_{name}.parquet")


def metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def cards(page: AppTest) -> list[str]:
    """The HTML of the grid's cards and of the open one."""
    return [body for one in page.get("html") if "log-p" in (body := one.proto.body) or "place" in body]


def opened(page: AppTest) -> str:
    """The triplet of the link."""
    value = page.query_params["triplet"]
    return value if isinstance(value, str) else value[0]


@pytest.fixture(scope="module")
def shown(engine: Client) -> AppTest:
    """The page as it opens."""
    return open_page("triplets", run=RUN)


class TestOpening:
    def test_the_first_strip_holds_the_stored_figures(self, shown: AppTest, home: Path) -> None:
        told, made = metrics(shown), rows(home, "generators").query("kind == 'multi_task' and round == 1")
        kept = rows(home, "filters").query("filter == 'triangle' and round == 1 and kept_share == 0.2")[
            "precision"
        ]
        assert told["Kept by both seeds"] == "0.310" and told["Chance"] == "0.110"
        assert told["Right of kept, best 20%"] == f"{kept.mean():.1%}"
        assert told["S tells right from wrong"] == f"{made['score_auc'].mean():.3f}"
        assert told["S, wrong image"] == f"{made['shuffled_score'].mean():.3f}"
        assert not shown.warning

    def test_it_opens_with_the_run_s_own_cut(self, shown: AppTest, home: Path) -> None:
        triplets = rows(home, "triplets")
        assert metrics(shown)["Kept"] == f"{triplets['kept'].sum():,}"
        right = (triplets.loc[triplets["kept"], "truth"] == "true").mean()
        assert metrics(shown)["Right, kept"] == f"{right:.1%}"
        assert metrics(shown)["Tied at S = 1"] == f"{(triplets['score'] >= 1).mean():.1%}"
        assert "the cut falls among ties" in text_of(shown)

    def test_sections_end_with_the_claims(self, shown: AppTest) -> None:
        heads = [one.value for one in shown.subheader]
        assert heads == ["Triplets", "Selections, and training on them", "Retrained models", "Rounds", "Learn it again",
                         "The paper's claims, tested here"]  # fmt: skip

    def test_text_of_models_is_shown_as_it_stands(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, text="<script>")
        html = cards(page)
        assert html and all("<script>" not in body for body in html)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html[0] and "*colour*" in html[0]

    def test_every_picture_can_be_exported_and_says_what_it_shows(self, shown: AppTest) -> None:
        drawn = figures(shown)
        assert len(drawn) == 9 and all(one["layout"]["meta"]["alt"] for one in drawn)
        names = [button.proto.label for button in shown.get("download_button")]
        assert [name for name in names if name not in ("SVG", "PDF", "PNG")].count("CSV") >= 9
        assert {"LLaVA JSON", "Parquet", "HTML sheet"} <= set(names)


class TestCut:
    def test_moving_it_redraws_counts_and_marks(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, score="triangle")
        before = titled(page, "Precision of what is kept")[0]["layout"]["shapes"][0]["x0"]
        page.slider(key="keep").set_value(50).run()
        total = engine.triplet_summary(RUN, cut={"score": "triangle", "keep": 0.5})["total"]
        assert not page.exception and metrics(page)["Kept"] == f"{total['kept']:,}"
        after = titled(page, "Precision of what is kept")[0]["layout"]["shapes"][0]["x0"]
        assert before < 0.25 < after == pytest.approx(total["kept"] / total["n"])
        assert "colour" in titled(page, "Scores by type")[0]["layout"]["annotations"][1]["text"]

    def test_the_link_holds_score_ties_cuts_and_filters(self, engine: Client) -> None:
        page = open_page(
            "triplets",
            run=RUN,
            score="triangle",
            ties="by confidence",
            keep="30",
            cuts="colour:60",
            seeds="1",
            types="colour",
        )
        cut = {"score": "triangle", "ties": "confidence", "keep": 0.3, "keeps": {"colour": 0.6}}
        total = engine.triplet_summary(RUN, cut=cut, seeds=[1], types=["colour"])["total"]
        assert metrics(page)["Kept"] == f"{total['kept']:,}" and "Own cuts: colour 60 %" in text_of(
            page
        ).replace("\\", "")
        next(button for button in page.button if button.label == "Same cut for all types").click().run()
        total = engine.triplet_summary(RUN, cut={**cut, "keeps": {}}, seeds=[1], types=["colour"])["total"]
        assert metrics(page)["Kept"] == f"{total['kept']:,}" and "cuts" not in page.query_params

    def test_it_can_be_by_value(self, engine: Client, home: Path) -> None:
        page = open_page("triplets", run=RUN, score="triangle", by="value")
        page.slider(key="least").set_value(0.9).run()
        assert metrics(page)["Kept"] == f"{(rows(home, 'triplets')['score'] >= 0.9).sum():,}"

    def test_a_dragged_box_gives_the_share_from_its_left_edge(self) -> None:
        counts = {"right": [0, 1, 2, 5], "wrong": [1, 0, 1, 0], "unknown": [0] * 4}
        histograms = {"edges": [0, 0.25, 0.5, 0.75, 1], "types": {"colour": counts}}
        assert [share_from(histograms, "colour", left) for left in (-1, 0.3, 0.75, 2)] == [100, 90, 50, 50]


class TestReviewing:
    def test_a_verdict_opens_the_next_and_undo_goes_back(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, queue="not_reviewed", who="ana", order="triplet")
        assert "1 of 720" in text_of(page)
        page.button(key="judge-reject").click().run()
        assert not page.exception and opened(page) == "1"
        page.button(key="judge-keep").click().run()
        acts = engine.reviews(RUN)["acts"]
        assert [(act["who"], act["triplet"], act["verdict"]) for act in acts[:2]] == [
            ("ana", 1, "keep"),
            ("ana", 0, "reject"),
        ]
        assert opened(page) == "2" and "1 of 718" in text_of(page)
        page.button(key="undo").click().run()
        assert opened(page) == "1" and engine.reviews(RUN)["reviewers"][0]["keep"] == 0
        page.button(key="next").click().run()
        assert opened(page) == "2"

    def test_every_act_has_a_key(self, shown: AppTest) -> None:
        keys = {button.label: button.proto.shortcut for button in shown.main.button if button.proto.shortcut}
        assert keys == {
            "Keep": "k",
            "Reject": "x",
            "Edit": "e",
            "Undo": "u",
            "Previous": "left",
            "Next": "right",
        }

    def test_an_edit_is_kept_with_its_texts(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, who="ana", triplet="9", order="triplet")
        page.button(key="edit").click().run()
        question, answer = (one for one in page.text_input if one.label in ("Question", "Answer"))
        question.set_value("which colour is it")
        answer.set_value("teal <b>")
        next(one for one in page.button if one.label == "Save the edit").click().run()
        assert not page.exception
        act = engine.reviews(RUN)["acts"][0]
        assert (act["triplet"], act["verdict"], act["answer"]) == (9, "edit", "teal <b>")
        page = open_page("triplets", run=RUN, queue="edited")
        assert any("teal &lt;b&gt;" in body for body in cards(page))

    def test_two_reviewers_keep_their_verdicts_and_their_agreement_is_told(self, engine: Client) -> None:
        for who, verdicts in (("ben", ("keep", "keep")), ("cat", ("keep", "reject"))):
            engine.review(
                WEAK, [{"who": who, "triplet": i, "verdict": one} for i, one in enumerate(verdicts)]
            )
            page = open_page("triplets", run=WEAK, who=who, order="triplet", triplet="2")
            page.button(key="judge-reject").click().run()
        assert "ben and cat agree on 67% of 3 judged by both" in text_of(page)
        assert "Cohen's κ 0.40" in text_of(page)
        page = open_page("triplets", run=WEAK, queue="disputed")
        assert "1 of 1" in text_of(page) and "they are even, so the ranking decides" in cards(page)[0]

    def test_everything_listed_can_be_judged_at_once(self, engine: Client) -> None:
        page = open_page("triplets", run=WEAK, who="dee", queue="tied", score="triangle")
        tied = engine.triplet_summary(WEAK)["queues"]["tied"]
        page.button(key="all-reject").click().run()
        assert f"{tied:,} triplets" in " ".join(one.value for one in page.success)
        assert {one["who"]: one["reject"] for one in engine.reviews(WEAK)["reviewers"]}["dee"] == tied
        page.button(key="undo").click().run()
        assert all(one["who"] != "dee" for one in engine.reviews(WEAK)["reviewers"])

    def test_queues_list_what_they_say(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, score="triangle", queue="inconsistent_right")
        assert all("inconsistent but right" in body and "left out" in body for body in cards(page))
        page = open_page("triplets", run=RUN, score="triangle", queue="consistent_wrong")
        assert all("consistent but wrong" in body for body in cards(page)[1:])

    def test_a_page_beyond_the_last_is_the_last(self, engine: Client) -> None:
        page = open_page("triplets", run=RUN, page="9999")
        assert not page.exception and "720 triplets, 8 a page" in text_of(page)
        page = open_page("triplets", run=RUN, text="no such text")
        assert "No triplet passes these filters." in text_of(page)


class TestSelections:
    def test_what_is_kept_can_be_saved_and_trained_on_and_the_run_shows_its_progress(
        self, engine: Client
    ) -> None:
        page = open_page("triplets", run=RUN, score="triangle", keep="20")
        page.text_input(key="selection_name").set_value("best-20").run()
        page.button(key="save-selection").click().run()
        (saved,) = engine.selections(RUN)
        assert f"Saved {saved['count']:,} triplets as best-20" in " ".join(one.value for one in page.success)
        page = open_page("triplets", run=RUN)
        page.button(key="retrain").click().run()
        newest = engine.runs(study="srf", limit=1)[0]
        assert newest["config"]["selection"] == saved["path"] and newest["config"]["selection_run"] == RUN
        assert newest["seeds"] == [0, 1, 2]
        page = open_page("triplets", run=newest["id"])
        assert page.get("progress") and "ranks what it wrote" in text_of(page)
        engine.cancel(newest["id"])
        engine.wait(newest["id"])

    def test_what_came_of_training_on_it_stands_here_with_intervals(self, shown: AppTest, home: Path) -> None:
        arms = rows(home, "arms", RETRAINED).pivot_table(index="seed", columns="arm", values="exact")
        gain = (arms["selection"] - arms["random"]).mean()
        assert f"Better than random: {gain:+.3f}" in text_of(shown)
        drawn = titled(shown, "Trained on best-20")[0]
        assert len(drawn["layout"]["yaxis"]["ticktext"]) == 3

    def test_a_run_on_a_selection_points_to_its_triplets(self, engine: Client) -> None:
        page = open_page("triplets", run=RETRAINED)
        assert "its triplets stand there" in text_of(page) and "Retrained models" in text_of(page)
        assert not page.metric and "Better than random" in text_of(page)

    def test_a_difference_is_claimed_only_where_its_interval_leaves_out_0(self) -> None:
        frame = {"arm": "random", "mean": 0.01, "low": -0.01, "high": 0.03}
        assert verdict(frame).startswith("No difference from random shown")
        assert verdict({**frame, "low": 0.001}).startswith("Better") and verdict(
            {**frame, "high": -0.001, "mean": -0.005}
        ).startswith("Worse")
        assert verdict({**frame, "low": float("nan")}).startswith("One seed cannot tell")


class TestMap:
    def test_a_lasso_of_the_link_restricts_the_grid(self, engine: Client) -> None:
        lasso = encode_lasso([[-0.5, -0.5], [3.5, -0.5], [3.5, 1.5], [-0.5, 1.5]])
        page = open_page("triplets", run=RUN, map="true", lasso=lasso, order="triplet")
        assert "8 triplets inside the lasso" in text_of(page) and "1 of 8" in text_of(page)
        found = [body for body in cards(page) if "no. 31 ·" in body]
        assert found and not any("no. 5 ·" in body for body in cards(page))
        page.button(key="clear-lasso").click().run()
        assert "1 of 720" in text_of(page)

    def test_without_a_map_it_is_offered(self, engine: Client) -> None:
        page = open_page("triplets", run=WEAK, map="true")
        assert "Lay out the map" in labels(page) and "It takes about" in text_of(page)


class TestTruth:
    def test_a_weak_generator_is_warned_of(self, engine: Client) -> None:
        page = open_page("triplets", run=WEAK)
        warned = page.warning[0].value
        assert "too weak" in warned and "35%" in warned and "AUC" in warned and "wrong image" in warned

    def test_without_an_oracle_precision_is_estimated_from_verdicts_and_says_so(self, engine: Client) -> None:
        page = open_page("triplets", run=FOLDER, order="triplet")
        assert metrics(page)["Right, kept"] == "–" and "no oracle for these images" in text_of(page)
        assert any("Nobody knows yet" in json.dumps(one) for one in figures(page))
        engine.review(
            FOLDER,
            [{"who": "ana", "triplet": i, "verdict": "keep" if i % 4 else "reject"} for i in range(40)],
        )
        page = open_page("triplets", run=FOLDER)
        curve = titled(page, "Precision of what is kept")[0]
        assert "estimated from 40 human verdicts" in curve["layout"]["title"]["subtitle"]["text"]
        assert "yours" in cards(page)[0]


class TestStates:
    def test_failed_run_says_why(self, engine: Client) -> None:
        page = open_page("triplets", run=FAILED)
        assert page.error[0].value == REFUSAL and not page.metric

    def test_home_knows_the_run_by_what_it_kept_rightly(self, engine: Client, home: Path) -> None:
        page = open_page("start")
        table = page.dataframe[0].value
        value = (
            rows(home, "filters")
            .query("filter == 'triangle' and round == 1 and kept_share == 0.2")["precision"]
            .mean()
        )
        assert table[table["open"].str.contains(RUN)]["Right of kept"].iloc[0] == pytest.approx(value)
        assert "Generate triplets" in labels(page)


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("triplets")
        next(button for button in page.button if button.label == "Generate first triplets").click().run()
    assert asked[0] == (("srf", {}, [0, 1, 2]), {"preset": "tour"})
