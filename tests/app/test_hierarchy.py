"""The hierarchy page on finished, failed and running runs of concept_hierarchy, against a real engine."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import connection
from app.hierarchy_concept import card_link
from app.hierarchy_levels import energy_sentence
from app.hierarchy_parts import Result, verdict
from engine import client as engine_client
from engine.client import Client
from engine.studies.concept_hierarchy.config import Config
from tests.app import hierarchy_tables as made
from tests.app.pages import HOME, figures, labels, text_of

WORLD, SMALL, FACTORS, IMAGES, FAILED = (
    "aaaaaaaaaaa1",
    "aaaaaaaaaaa2",
    "bbbbbbbbbbb1",
    "ccccccccccc1",
    "ddddddddddd1",
)
MIXED = {"shape": "deep", "observed": "continuous"}


def settings(**changed: Any) -> dict[str, Any]:
    return Config(**changed).model_dump(mode="json")


def write_runs(home: Path) -> None:
    made.write_run(
        home, SMALL, settings(**MIXED, n_samples=2_000), (0, 1), made.world_rows(made.DEEP, (0, 1), 2_000)
    )
    made.write_run(home, WORLD, settings(**MIXED), (0, 1, 2), made.world_rows(made.DEEP, (0, 1, 2)))
    made.write_run(home, FACTORS, settings(source="bfi"), (0, 1), made.questionnaire_rows((0, 1)))
    made.write_run(home, IMAGES, settings(source="images"), (0, 1, 2), made.diffusion_rows((0, 1, 2)))
    made.write_run(home, FAILED, settings(alpha=0.05), (0,), {}, state="failed")


@pytest.fixture(scope="module")
def engine() -> Iterator[Client]:
    """An engine that finds these runs on its disk."""
    before = os.environ.get("CONCORDANCE_HOME")
    with tempfile.TemporaryDirectory(prefix="concordance-test-") as home:
        write_runs(Path(home))
        os.environ["CONCORDANCE_HOME"] = home
        process = engine_client.start_engine()
        try:
            yield engine_client.connect(start=False)
        finally:
            process.terminate()
            process.wait(120)
            os.environ.pop("CONCORDANCE_HOME")
            if before is not None:
                os.environ["CONCORDANCE_HOME"] = before


def open_page(**query: str) -> AppTest:
    page = AppTest.from_file(str(HOME), default_timeout=180)
    for key, value in query.items():
        page.query_params[key] = value
    page.switch_page("views/hierarchy.py")
    page.run()
    assert not page.exception, [e.value for e in page.exception]
    return page


def metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def circles(page: AppTest) -> list[str]:
    graph = figures(page)[0]["data"]
    trace = next(t for t in graph if t.get("customdata") and t["marker"].get("symbol") == "circle")
    return [row[0] for row in trace["customdata"]]


def dashes(page: AppTest) -> set[str]:
    return {
        trace["line"]["dash"] for trace in figures(page)[0]["data"] if trace.get("mode") == "lines+markers"
    }


class TestWorld:
    def test_strip_holds_agreement_recovery_and_chance(self, engine: Client) -> None:
        page = open_page(run=WORLD)
        scores = engine.table(WORLD, "hierarchy_scores").to_pandas()
        ours = scores[(scores["method"] == made.OURS) & (scores["states"] == "estimated states")]
        shown = metrics(page)
        assert list(shown)[:4] == ["Seeds agree", "Clusters agree", "Recovery", "Chance"]
        assert shown["Recovery"] == f"{ours['skeleton_f1'].mean():.3f}" and shown["Chance"] == "0.300"
        assert "1 of 3 graphs are exactly the true one" in text_of(page)
        assert "tier: synthetic" in text_of(page)

    def test_difference_of_all_seeds_is_shown_first(self, engine: Client) -> None:
        page = open_page(run=WORLD)
        assert circles(page) == [f"z{i}" for i in range(1, 7)]
        assert dashes(page) == {"solid", "dash", "dot"}
        assert "A root whose only children are two latents vanishes" in text_of(page)
        assert "The fainter an edge, the fewer seeds have it" in text_of(page)

    def test_a_link_restores_method_seed_overlay_and_concept(self, engine: Client) -> None:
        page = open_page(
            run=WORLD, method="linear rank", seed="2", show="estimate", concept="z5", unreduced="true"
        )
        assert page.selectbox(key="method").value == "linear rank" and page.selectbox(key="seed").value == "2"
        assert page.selectbox(key="concept").value == "z5"
        assert dashes(page) == {"solid"} and "cannot find" not in text_of(page)
        assert "States are estimated for the method" in text_of(page)

    def test_a_link_to_what_does_not_exist_opens_the_first(self, engine: Client) -> None:
        page = open_page(
            run=WORLD, method="no such method", seed="77", concept="z99", show="nothing", view="Nowhere"
        )
        assert page.selectbox(key="method").value == made.OURS
        assert page.selectbox(key="concept").value == "z1"

    def test_truth_before_reduction(self, engine: Client) -> None:
        page = open_page(run=WORLD, unreduced="true", show="truth")
        assert "before reduction: some of its edges leave no trace" in text_of(page)

    def test_rings_hold_every_node(self, engine: Client) -> None:
        rings = figures(open_page(run=WORLD, drawn="rings", show="truth"))[0]["data"][0]
        assert rings["type"] == "sunburst" and len(rings["ids"]) == 20

    def test_a_concept_has_members_states_and_inputs(self, engine: Client) -> None:
        page = open_page(run=WORLD, concept="z4", concept_seed="1", concept_state="2")
        members = next(frame.value for frame in page.dataframe if "member" in frame.value)
        assert list(members["member"]) == ["x6", "x7", "x8"]
        assert [t["type"] for t in figures(page)[1]["data"]] == ["bar", "heatmap"]
        inputs = next(frame.value for frame in page.dataframe if "input" in frame.value)
        assert inputs["input"].str.contains("in state 2").all() and inputs["input"].str.contains("<b>").all()

    def test_members_that_are_concepts_have_the_name_of_the_picture(self, engine: Client) -> None:
        page = open_page(run=WORLD, concept="z2")
        assert any(row.startswith("z4 = ") for row in figures(page)[1]["data"][1]["y"])

    def test_ranks_are_framed_by_the_found_clusters(self, engine: Client) -> None:
        page = open_page(run=WORLD, view="Ranks", rank_seed="0", rank_method=made.OURS)
        assert len(figures(page)[0]["layout"]["shapes"]) == 5
        assert "nearly every statistic" not in text_of(page)

    def test_scores_hold_every_method_samples_and_step_one(self, engine: Client) -> None:
        page = open_page(run=WORLD, view="Scores")
        assert len(figures(page)) == 3
        table = next(frame.value for frame in page.dataframe if "method" in frame.value)
        assert len(table) == 8 and set(table["exact"]) >= {"1 of 3"}
        assert page.multiselect(key="with").value == [SMALL]
        points = {
            len(trace["x"]["bdata"]) if isinstance(trace["x"], dict) else len(trace["x"])
            for trace in figures(page)[1]["data"]
        }
        assert points and "2,000" in str(figures(page)[1]["layout"]["xaxis"]["ticktext"])
        assert "the errors of step 1 cost 0.050" in text_of(page)

    def test_every_picture_and_the_graph_can_be_exported(self, engine: Client) -> None:
        page = open_page(run=WORLD)
        names = [element.proto.label for element in page.get("download_button")]
        assert names.count("CSV") == 2 and {"Graph as DOT", "Graph as GraphML", "Graph as CSV"} <= set(names)


class TestRealData:
    def test_no_truth_and_no_accuracy(self, engine: Client) -> None:
        for view in ("Graph", "Ranks", "Scores"):
            page = open_page(run=FACTORS, view=view)
            said = text_of(page) + str([frame.value for frame in page.dataframe]) + str(figures(page))
            assert "accuracy" not in said.lower() and "O_min" not in said
            assert "not in the truth" not in said
            assert not [toggle for toggle in page.toggle if toggle.label == "Truth before reduction"]

    def test_strip_compares_with_the_named_groups(self, engine: Client) -> None:
        shown = metrics(open_page(run=FACTORS))
        assert list(shown)[:4] == ["Seeds agree", "Clusters agree", "Known groups", "Chance"]
        assert shown["Known groups"] == "0.890"

    def test_edges_have_the_share_of_bootstraps(self, engine: Client) -> None:
        page = open_page(run=FACTORS, seed="0", least_bootstraps="0.7")
        assert "the fewer bootstraps have it" in text_of(page)
        members = next(frame.value for frame in page.dataframe if "member" in frame.value)
        assert (members["share"] >= 0.7).all() and set(members["group"]) <= {
            "Agreeableness",
            "Conscientiousness",
            "",
        }

    def test_ranks_say_how_to_read_them(self, engine: Client) -> None:
        assert "read the order of the statistics" in text_of(open_page(run=FACTORS, view="Ranks"))

    def test_features_have_links_to_their_cards(self) -> None:
        run = {"id": "x", "config": {"source": "features", "of": "abc", "of_seed": 1}}
        assert card_link(Result(run), "f12") == "features?runs=abc&seed=1&feature=12"
        assert card_link(Result(run), "L1") is None
        assert card_link(Result({"id": "x", "config": {"source": "world"}}), "f12") is None


class TestDiffusion:
    def test_levels_stand_beside_their_control(self, engine: Client) -> None:
        page = open_page(run=IMAGES)
        shown = metrics(page)
        assert {"Gap, natural energies", "Gap, equal energies", "Chance"} <= set(shown)
        assert "of it is energy, not hierarchy" in text_of(page)
        assert len(figures(page)) == 4

    def test_images_of_the_chosen_energies(self, engine: Client) -> None:
        page = open_page(run=IMAGES, energies="equal", image_seed="2")
        assert page.selectbox(key="image_seed").value == "2"

    def test_the_sentence_on_energies(self) -> None:
        natural, none = pd.Series([0.49, 0.5, 0.51]), pd.Series([-0.3, 0.2, 0.3])
        assert "80% of it is energy" in energy_sentence({"natural": natural, "equal": natural / 5})
        assert "nothing of the gap of 0.500 is left" in energy_sentence(
            {"natural": natural, "equal": -natural}
        )
        assert "not clearly above 0" in energy_sentence({"natural": none, "equal": natural})
        assert "cannot be told" in energy_sentence({"natural": natural})


class TestStates:
    def test_failed_run_shows_the_sentence(self, engine: Client) -> None:
        page = open_page(run=FAILED)
        assert page.error[0].value.startswith("alpha: ")

    def test_without_runs_the_tour_is_offered(self, engine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Client, "runs", lambda self, *args, **options: [])
        page = open_page()
        assert "Search a first hierarchy" in labels(page) and "No hierarchy has been searched yet" in text_of(
            page
        )

    def test_running_run_shows_progress(self, engine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        progress = {"done": 3, "total": 10, "stage": "searching", "eta_s": 20}
        changed = {"state": "running", "stopping": False, "progress": progress}
        run = Client.run
        monkeypatch.setattr(Client, "run", lambda self, id: {**run(self, id), **changed})
        runs = Client.runs
        monkeypatch.setattr(
            Client, "runs", lambda self, *a, **o: [{**one, **changed} for one in runs(self, *a, **o)]
        )
        page = open_page(run=WORLD)
        assert "Searching: 30%" in page.get("progress")[0].proto.text and "appear here when" in text_of(page)

    def test_verdict_looks_at_the_interval(self) -> None:
        found = {"exact": 1, "seeds": 3, "low": 0.28, "chance": 0.3, "recovery": 0.9}
        assert verdict(found, True).startswith("Not clearly above chance")
        assert verdict({**found, "low": 0.4}, True).startswith("Above chance")
        assert "not known" in verdict(found, False)


class TestAgain:
    def test_a_changed_alpha_launches_and_opens_the_run(
        self, engine: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []

        def submit(self: Client, *args: Any, **options: Any) -> dict[str, Any]:
            asked.append(args)
            return engine.run(SMALL)

        monkeypatch.setattr(Client, "submit", submit)
        connection.studies.clear()
        page = open_page(run=WORLD)
        assert page.button(key="search-again").disabled
        page.select_slider(key="again-alpha").set_value(0.05).run()
        assert "of memory on this machine" in text_of(page)
        page.button(key="search-again").click().run()
        assert not page.exception
        study, config, seeds, _, data_seed = asked[0]
        assert (study, config["alpha"], seeds, data_seed) == ("concept_hierarchy", 0.05, [0, 1, 2], 0)
        assert page.selectbox(key="run_of_concept_hierarchy").value == SMALL

    def test_a_wrong_seed_is_refused_in_place(self, engine: Client) -> None:
        page = open_page(run=WORLD)
        page.text_input(key=f"again-seeds-{WORLD}").set_value("one").run()
        assert any("seeds" in error.value for error in page.error)
