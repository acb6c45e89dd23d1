"""The page Counterfactuals on runs of a world and of texts, failed and running ones, against a real engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from engine.client import Client, EngineError
from tests.app.causal_tables import engine_on
from tests.app.counterfactual_tables import write_run
from tests.app.pages import array, figures, open_page, text_of, titled
from tests.conftest import eventually
from tests.counterfactual_text.conftest import TINY, TINY_TEXT, write_texts

WORLD, TEXTS, FAILED = "aaaaaaaaaaa5", "bbbbbbbbbbb5", "ddddddddddd5"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    path = write_texts(home / "own.jsonl", rows=500)
    with path.open("a") as lines:
        for i in range(60):
            lines.write(json.dumps({"text": f"a *bold* claim {i} of mine", "domain": EVIL}) + "\n")
    write_run(home, WORLD)
    write_run(home, TEXTS, {**TINY_TEXT, "table": str(path)}, (0,))
    write_run(home, FAILED, error="learning_rate: the loss is no longer finite; lower learning_rate.")
    with engine_on(home) as client:
        yield client


def rows(engine: Client, name: str, run: str = WORLD, **where: Any) -> pd.DataFrame:
    return engine.table(run, name, where=where).to_pandas()


@pytest.fixture(scope="module")
def world(engine: Client) -> Any:
    return open_page("counterfactuals", run=WORLD)


@pytest.fixture(scope="module")
def texts(engine: Client) -> Any:
    return open_page(
        "counterfactuals", run=TEXTS, text="this film was awful number 3", domain="d0", other="d1"
    )


class TestWorld:
    def test_the_strip_comes_first_with_the_stored_figures(self, engine: Client, world: Any) -> None:
        shown = {metric.label: metric.value for metric in world.metric[:6]}
        bench, alike = rows(engine, "cf_bench", arm="matte"), rows(engine, "cf_agreement", arm="matte")
        noise = alike[alike["block"] == "style noise"]
        assert shown["Style noise, seeds"] == f"{noise['r2'].mean():.3f}"
        assert shown["Chance"] == f"{noise['null'].mean():.3f}"
        assert shown["Content, truth"] == f"{bench['r2_content'].mean():.3f}"
        assert shown["Counterfactual error"] == f"{bench['cf_noise'].mean():.3f}"

    def test_the_seed_first_shown_has_the_lowest_validation_loss(self, engine: Client, world: Any) -> None:
        arms = rows(engine, "cf_arms", arm="matte")
        assert world.selectbox(key="seed").value == arms.loc[arms["validation"].idxmin(), "seed"]

    def test_errors_of_both_routes_stand_beside_doing_nothing(self, engine: Client, world: Any) -> None:
        figure = titled(world, "Counterfactual error")[0]
        stored = rows(engine, "cf_bench")
        first = figure["data"][0]
        assert sorted(array(first["y"])) == pytest.approx(
            sorted(stored.query("arm == 'matte'")[["cf_noise", "cf_style"]].to_numpy().ravel())
        )
        assert "leaving it as it is" in str(figure["layout"]["annotations"])

    def test_a_true_counterfactual_is_drawn_beside_the_predicted(self, engine: Client) -> None:
        page = open_page("counterfactuals", run=WORLD, pair="3", arm="beta_vae", seed="1")
        stored = rows(engine, "cf_examples", arm="beta_vae", seed=1, pair=3).sort_values("output")
        traces = {trace["name"]: array(trace["y"]) for trace in titled(page, "What if its style")[0]["data"]}
        assert np.allclose(traces["true counterfactual"], stored["truth"])
        assert np.allclose(traces["by swapping s"], stored["by_style"])

    def test_the_influence_map_says_whether_the_assumption_holds(self, engine: Client, world: Any) -> None:
        seed = world.selectbox(key="seed").value
        stored = rows(engine, "cf_arms", arm="matte", seed=int(seed)).iloc[0]
        figure = titled(world, "Relative sparsity")[0]
        title = figure["layout"]["title"]["text"]
        assert title.endswith("does not hold") == (not stored["relative"])
        assert array(figure["data"][0]["z"]).shape == (16, 6)

    def test_a_collapsed_block_raises_an_alarm(self, engine: Client, world: Any) -> None:
        assert rows(engine, "cf_arms")["kl_content"].min() < 0.5
        assert any("Collapsed" in one.value for one in world.warning)

    def test_sliders_move_the_noise_and_nothing_of_the_content(self, engine: Client) -> None:
        page = open_page("counterfactuals", run=WORLD, row="2", donor="-1", n1="1.5")
        latents = titled(page, "Latents before")[0]["data"]
        points = {trace["name"]: array(trace["x"]) for trace in latents if trace.get("name")}
        assert np.allclose(points["content, before"], points["content, after"])
        change = points["style noise, after"] - points["style noise, before"]
        seed = int(page.selectbox(key="seed").value)
        spread = rows(engine, "cf_codes", arm="matte", seed=seed, block="style noise")["spread"]
        assert change[0] == pytest.approx(1.5 * spread.iloc[0], rel=0.01) and change[1] == pytest.approx(0)
        page.slider(key="n2").set_value(-2.0).run()
        again = titled(page, "Latents before")[0]["data"]
        moved = next(array(t["x"]) for t in again if t.get("name") == "style noise, after")
        assert moved[1] == pytest.approx(points["style noise, before"][1] - 2 * spread.iloc[1], rel=0.01)

    def test_every_picture_can_be_exported_and_has_words(self, world: Any) -> None:
        names = [button.proto.label for button in world.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(world)) and len(figures(world)) == 7
        assert all(figure["layout"]["meta"]["alt"] for figure in figures(world))


class TestTexts:
    def test_a_typed_sentence_is_moved_here_and_in_another_domain(self, engine: Client, texts: Any) -> None:
        text = text_of(texts)
        assert "As the model reads it" in text and "Moved, d0" in text and "Moved, d1" in text
        answer = engine.counterfactual(TEXTS, "d0", "d1", text="this film was awful number 3", target=1)
        assert answer["seen"]["words"] == ["this", "film", "was", "awful", "number", "…"]
        kinds = {one["block"] for one in answer["latents"] if abs(one["before"] - one["after"]) > 1e-6}
        assert kinds == {"style", "style noise"}

    def test_pairs_are_shown_as_they_are_with_a_judge(self, engine: Client, texts: Any) -> None:
        seed_rows = rows(engine, "cf_pairs", run=TEXTS, arm="matte", route="noise", seed=0)
        table = next(f.value for f in texts.dataframe if "output" in getattr(f.value, "columns", []))
        assert sorted(table["output"]) == sorted(seed_rows["output"])
        assert (
            set(table["outcome"]) <= {"moved", "failed", "unchanged"}
            and table["style_after"].between(0, 1).all()
        )
        assert "are not judged to have the target style" in text_of(texts)

    def test_the_link_chooses_way_domain_and_outcome(self, engine: Client) -> None:
        page = open_page(
            "counterfactuals", run=TEXTS, way="identity_copy.copy", pairs_of="d1", outcome="unchanged"
        )
        table = next(f.value for f in page.dataframe if "output" in getattr(f.value, "columns", []))
        assert (table["source"] == table["output"]).all() and set(table["domain"]) == {"d1"}

    def test_a_pinned_sentence_stays_to_compare(self, engine: Client) -> None:
        page = open_page("counterfactuals", run=TEXTS, text="this meal was dull number 4")
        page.button(key="cf_pin").click().run()
        page.selectbox(key="domain").set_value("d1").run()
        assert not page.exception and "· matte · seed 0" in text_of(page)

    def test_names_of_domains_are_data(self, engine: Client, texts: Any) -> None:
        assert EVIL in rows(engine, "cf_data", run=TEXTS)["key"].tolist()
        assert "<img" not in text_of(texts).replace("\\<img", "") and EVIL not in str(figures(texts))

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            ({"text": "one"}, "text"),
            ({"text": "two words", "domain": "nowhere"}, "domain"),
            ({"text": "two words", "arm": "nobody"}, "arm"),
            ({"text": "two words", "moves": [0.0] * 9}, "moves"),
        ],
    )
    def test_wrong_requests_are_refused_by_name(
        self, engine: Client, request_: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(EngineError, match=field):
            engine.counterfactual(TEXTS, **{"domain": "d0", "other": "d1", **request_})


class TestStates:
    def test_a_stale_link_is_no_error(self, engine: Client) -> None:
        page = open_page(
            "counterfactuals", run=TEXTS, arm="x", seed="99", way="x", domain="x", outcome="x", of="x"
        )
        assert not page.error

    def test_an_empty_sentence_asks_for_one(self, engine: Client) -> None:
        assert "Write a sentence" in text_of(open_page("counterfactuals", run=TEXTS, text=" "))

    def test_failed_run_says_why(self, engine: Client) -> None:
        page = open_page("counterfactuals", run=FAILED)
        assert "no longer finite" in page.error[0].value and not page.metric

    def test_running_run_shows_its_curves(self, engine: Client) -> None:
        run = engine.submit("counterfactual_text", {**TINY, "n_steps": 8_000}, [0])["id"]
        try:
            eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
            page = open_page("counterfactuals", run=run)
            assert page.get("progress") and "on the seed's batches" in text_of(page)
            assert "KL of style" in str(figures(page))
        finally:
            engine.cancel(run)
            engine.wait(run)

    def test_a_changed_knob_launches(self, engine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        page = open_page("counterfactuals", run=WORLD)
        page.number_input(key=f"again-{WORLD}-lambda_sparse").set_value(0.5).run()
        asked: list[Any] = []
        monkeypatch.setattr(Client, "submit", lambda self, *args: asked.append(args) or {"id": TEXTS})
        page.button(key=f"again-{WORLD}-go").click().run()
        assert not page.exception and TEXTS in page.query_params["run"]
        study, config, seeds, *_ = asked[0]
        assert (study, config["lambda_sparse"], seeds) == ("counterfactual_text", 0.5, [0, 1])

    def test_home_knows_the_run_by_its_error(self, engine: Client) -> None:
        board = open_page("start").dataframe[0].value
        row = board[board["run"].str.contains(WORLD[:6])].iloc[0]
        assert row["Counterfactual error"] == pytest.approx(
            rows(engine, "cf_bench", arm="matte")["cf_noise"].mean()
        )
        assert row["open"].startswith("counterfactuals?run=") and "world of 3 domains" in row["run"]


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("counterfactuals")
        next(button for button in page.button if button.label == "Learn a first world").click().run()
    assert asked[0] == (("counterfactual_text", {}, [0, 1, 2]), {"preset": "tour"})
