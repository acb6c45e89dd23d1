"""Every page in its running, done and failed state, and every view of the consistency page, against a real engine."""

import base64
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from engine.client import Client
from tests.app.pages import HOME, PAGES, figures, labels, open_page, text_of
from tests.conftest import TINY_WORLD, eventually

LONG = {**TINY_WORLD, "n_steps": 500_000, "checkpoint_every": 500, "world_seed": 7}
BROKEN = {**TINY_WORLD, "batch_size": 1_000_000}


@pytest.fixture(scope="module")
def done(engine: Client) -> str:
    return engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1, 2])["id"])["id"]


@pytest.fixture(scope="module")
def failed(engine: Client) -> str:
    return engine.wait(engine.submit("sae_consistency", BROKEN, [0])["id"])["id"]


class TestDone:
    def test_home_lists_the_run_with_its_figure(self, engine: Client, done: str) -> None:
        table = open_page("start").dataframe[0].value
        pairs = engine.table(done, "pairs", where={"subset": "alive"}).to_pandas()
        assert table["PW-MCC (alive)"][0] == pytest.approx(pairs["pw_mcc_abs"].mean())

    def test_heat_map_holds_the_stored_values(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done)
        heat = next(trace for trace in figures(page)[0]["data"] if trace["type"] == "heatmap")
        pairs = engine.table(done, "pairs", where={"subset": "alive", "seed_a": 0, "seed_b": 1}).to_pylist()[
            0
        ]
        values = np.frombuffer(base64.b64decode(heat["z"]["bdata"]), heat["z"]["dtype"]).reshape(3, 3)
        assert values[0, 1] == values[1, 0] == pytest.approx(pairs["pw_mcc_abs"])
        assert [m.label for m in page.metric] == ["PW-MCC", "GT-MCC", "Null", "Calibrated", "FVU", "Alive"]
        assert len(figures(page)) == 3
        assert "synthetic world of 12 known features" in text_of(page)

    def test_every_picture_can_be_exported(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done)
        names = [element.proto.label for element in page.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * 3

    def test_click_on_a_cell_chooses_the_pair(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done, pair="seed 1 × seed 2")
        assert page.selectbox(key="pair").value == "seed 1 × seed 2"
        assert "a: seed 1; b: seed 2." in text_of(page)

    def test_latents_choice_comes_from_the_link(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done, latents="all")
        assert page.get("segmented_control")[0].value == "all" or page.segmented_control[0].value == "all"

    def test_two_runs_share_one_heat_map(self, engine: Client, done: str) -> None:
        other = engine.wait(engine.submit("sae_consistency", {**TINY_WORLD, "k": 3}, [0, 1])["id"])["id"]
        page = open_page("consistency", runs=f"{done},{other}")
        heat = next(trace for trace in figures(page)[0]["data"] if trace["type"] == "heatmap")
        assert "k 2 · seed 0" in json.dumps(heat, ensure_ascii=False) and "k 3 · seed 1" in json.dumps(
            heat, ensure_ascii=False
        )
        shown = {name: value for name, value in ((m.label, m.value) for m in page.metric[:6])}
        own = engine.table(done, "pairs", where={"subset": "alive"}).to_pandas()
        assert shown["PW-MCC"] == f"{own['pw_mcc_abs'].mean():.3f}"
        assert len(page.metric) == 12 and "nan" not in text_of(page)
        names = page.selectbox(key="pair").options
        assert "k 2 · seed 0 × k 3 · seed 0" in names and len(names) == 10
        cross = engine.match((done, 0), (other, 0))["summary"]["pw_mcc_abs"]
        assert any(f"{cross:.2f}" == note["text"] for note in figures(page)[0]["layout"]["annotations"])

    def test_pair_is_chosen_anew_when_the_runs_change(self, engine: Client, done: str) -> None:
        other = engine.wait(engine.submit("sae_consistency", {**TINY_WORLD, "k": 3}, [0, 1])["id"])["id"]
        page = open_page("consistency", runs=done, pair="seed 1 × seed 2")
        page.multiselect(key="run_set").set_value([done, other]).run()
        assert not page.exception
        assert page.selectbox(key="pair").value == "k 2 · seed 0 × k 2 · seed 1"

    def test_more_seeds_of_the_same_settings_share_one_strip(self, engine: Client, done: str) -> None:
        other = engine.wait(engine.submit("sae_consistency", TINY_WORLD, [2, 3])["id"])["id"]
        page = open_page("consistency", runs=f"{done},{other}")
        assert len(page.metric) == 6
        assert len(page.selectbox(key="pair").options) == 6

    def test_unknown_run_is_named(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=f"nowhere,{done}")
        assert "nowhere" in page.warning[0].value
        assert page.multiselect(key="run_set").value == [done]

    def test_jobs_show_curves_and_settings(self, engine: Client, done: str) -> None:
        page = open_page("jobs", run=done)
        assert len(figures(page)) >= 4
        assert "concordance run sae_consistency --seeds 3" in text_of(page)

    def test_change_k_and_retrain_adds_the_run(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done)
        page.button(key="other-k").click().run()
        assert not page.exception
        newest = engine.runs(limit=1)[0]
        assert newest["config"]["k"] == 1 and newest["id"] in "".join(page.query_params["runs"])
        engine.wait(newest["id"])

    def test_clone_prefills_the_form(self, engine: Client, done: str) -> None:
        page = open_page("new", clone=done)
        found = [w for w in page.number_input if w.key and w.key.endswith("-n_true_features")]
        assert found[0].value == TINY_WORLD["n_true_features"]
        assert "**Data**" in text_of(page) and "**Model**" not in text_of(page)
        next(w for w in page.selectbox if w.label == "Preset").set_value("world").run()
        found = [w for w in page.number_input if w.key and w.key.endswith("-n_true_features")]
        assert found[0].value == 32


@pytest.fixture(scope="module")
def launch(engine: Client) -> list[str]:
    """Four recipes on one stream: with three seeds each, more SAEs than are matched across runs together with `done`."""
    recipes = [
        {"architecture": "batch_topk"},
        {"architecture": "relu", "l1_coefficient": 0.1},
        {"architecture": "jumprelu"},
        {"control": "frozen_decoder"},
    ]
    runs = engine.launch("sae_consistency", [{**TINY_WORLD, **recipe} for recipe in recipes], [0, 1, 2])
    return [engine.wait(run["id"])["id"] for run in runs]


class TestViews:
    @pytest.mark.parametrize(
        ("view", "pictures"),
        [("Pairs", 3), ("Sweep", 2), ("Stability", 4), ("Codes", 1), ("Training", 1), ("Truth", 3)],
    )
    def test_every_view_shows_its_pictures(self, engine: Client, done: str, view: str, pictures: int) -> None:
        page = open_page("consistency", runs=done, view=view)
        assert page.session_state["view"] == view
        assert len(figures(page)) == pictures
        assert "Train 3 more seeds" in labels(page) and "Change k and retrain" in labels(page)
        assert not page.error

    def test_one_seed_gets_advice_in_every_view(self, engine: Client) -> None:
        run = engine.wait(engine.submit("sae_consistency", TINY_WORLD, [9])["id"])["id"]
        for view in ("Sweep", "Stability", "Codes", "Training", "Truth"):
            assert not open_page("consistency", runs=run, view=view).error

    def test_many_saes_are_not_matched_across_runs(
        self, engine: Client, done: str, launch: list[str]
    ) -> None:
        page = open_page("consistency", runs=",".join([done, *launch]), focus=launch[1])
        assert "15 SAEs, too many to match each with each" in text_of(page)
        assert page.selectbox(key="focus").value == launch[1]
        assert len(page.selectbox(key="pair").options) == 3
        assert "Change L1 and retrain" in labels(page)
        assert len(page.metric) == 6
        page.multiselect(key="with").set_value([done]).run()
        assert len(page.selectbox(key="pair").options) == 15
        assert done in page.query_params["with"]

    def test_sweep_has_a_point_for_every_run(self, engine: Client, done: str, launch: list[str]) -> None:
        page = open_page("consistency", runs=",".join([done, *launch]), view="Sweep", y="Codes")
        for figure in figures(page):
            points = [data for trace in figure["data"] for data in trace.get("customdata") or []]
            assert {point[0] for point in points} == {done, *launch}
        table = next(frame.value for frame in page.dataframe if "Sparsity" in frame.value)
        assert list(table["Sparsity"]).count("L1 0.1") == 1 and len(table) == 5
        assert all(link.startswith("consistency?runs=") for link in table["Run"])

    def test_sweeps_say_what_they_cost_and_are_launched(
        self, engine: Client, done: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(
            Client, "launch", lambda self, *args, **options: asked.append((args, options)) or []
        )
        page = open_page("consistency", runs=done, view="Sweep")
        assert "28 runs of 3 seeds, 84 SAEs" in text_of(page) and "5 runs of 3 seeds" in text_of(page)
        page.number_input(key="sweep_seeds").set_value(4).run()
        assert "112 SAEs" in text_of(page)
        page.button(key="sweep-architectures").click().run()
        assert asked == [(("sae_consistency", [], [0, 1, 2, 3], 0), {"sweep": "architectures"})]

    def test_the_rest_of_a_launch_can_be_added(self, engine: Client, launch: list[str]) -> None:
        page = open_page("consistency", runs=launch[0], view="Sweep")
        next(b for b in page.button if b.label == "Add all 4 runs of this launch to the set").click().run()
        assert not page.exception
        assert set(page.multiselect(key="run_set").value) == set(launch)
        assert not any("Add all" in label for label in labels(page))

    def test_stability_follows_the_threshold(self, engine: Client, done: str) -> None:
        matches = engine.table(done, "matches", where={"subset": "alive"}).to_pandas()
        for threshold in (0.5, 0.95):
            page = open_page(
                "consistency", runs=done, view="Stability", threshold=str(threshold), back_in="0"
            )
            assert page.slider(key="threshold").value == threshold
            frame = next(f.value for f in page.dataframe if "mean_cosine" in f.value)
            similar = matches[matches["cosine"].abs() >= threshold]
            shared = {(a, b) for side in "ab" for a, b in similar[[f"seed_{side}", f"feature_{side}"]].values}
            assert not shared & {(a, b) for a, b in frame[["seed", "feature"]].values}
            assert (frame["seeds"] == 0).all()

    def test_stable_dictionary_joins_the_page_beside_its_original(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done, view="Stability", threshold="0.5")
        page.button(key="pool").click().run()
        assert not page.exception
        made = engine.runs(limit=1)[0]
        assert made["config"]["n_steps"] == 0 and made["id"] in page.multiselect(key="run_set").value
        assert engine.wait(made["id"])["state"] == "done"
        page = open_page("consistency", runs=f"{done},{made['id']}", view="Stability", focus=done)
        table = next(frame.value for frame in page.dataframe if "dictionary" in frame.value)
        assert list(table["dictionary"]) == ["original, mean of 3 seeds", "pooled"]
        assert table["features"][1] == made["config"]["d_sae"] and table["fvu"].notna().all()
        assert "pooled from several seeds" in page.multiselect(key="run_set").options[0]

    def test_varying_the_order_adds_two_runs_and_their_picture(self, engine: Client, done: str) -> None:
        page = open_page("consistency", runs=done, view="Training")
        page.button(key="vary").click().run()
        assert not page.exception
        ids = page.multiselect(key="run_set").value
        runs = [engine.wait(run) for run in ids]
        assert [run["config"]["seed_varies"] for run in runs] == ["init", "order", "both"]
        page = open_page("consistency", runs=",".join(ids), view="Training")
        assert len(figures(page)) == 4
        assert "vary" not in {button.key for button in page.button}

    def test_truth_names_the_regime(self, engine: Client, done: str) -> None:
        assert "Matched" in open_page("consistency", runs=done, view="Truth").info[0].value

    def test_frozen_decoders_are_called_at_chance(self, engine: Client, launch: list[str]) -> None:
        page = open_page("consistency", runs=launch[3], view="Truth")
        assert any("At chance" in warning.value for warning in page.warning)

    def test_a_launch_is_one_job(self, engine: Client, launch: list[str]) -> None:
        page = open_page("jobs", run=launch[1])
        jobs = next(w for w in page.selectbox if w.label == "Job")
        assert sum("4 runs over architecture" in option for option in jobs.options) == 1
        member = next(w for w in page.selectbox if w.label == "Run of this launch")
        assert member.value == launch[1] and len(member.options) == 4
        assert any("4 done" in expander.label for expander in page.expander)


class TestFailed:
    def test_jobs_show_the_sentence_and_offer_resume(self, engine: Client, failed: str) -> None:
        page = open_page("jobs", run=failed)
        assert page.error[0].value.startswith("batch_size: ")
        assert "Resume" in labels(page)

    def test_consistency_shows_the_sentence(self, engine: Client, failed: str) -> None:
        assert open_page("consistency", runs=failed).error[0].value.startswith("batch_size: ")


class TestOneSeed:
    def test_consistency_asks_for_a_second_seed(self, engine: Client) -> None:
        run = engine.wait(engine.submit("sae_consistency", TINY_WORLD, [9])["id"])["id"]
        page = open_page("consistency", runs=run)
        assert "at least two seeds" in text_of(page)
        assert "Train 3 more seeds" in labels(page)


class TestRunning:
    def test_pages_show_progress_and_cancel_works(self, engine: Client) -> None:
        run = engine.submit("sae_consistency", LONG, [0, 1])["id"]
        eventually(lambda: (engine.run(run)["progress"] or {}).get("stage") == "training", "it trains")
        eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
        page = open_page("consistency", runs=run)
        assert "Training" in page.get("progress")[0].proto.text
        assert figures(page)
        page = open_page("jobs", run=run)
        next(button for button in page.button if button.label == "Cancel").click().run()
        assert engine.wait(run)["state"] == "cancelled"
        page = open_page("jobs", run=run)
        assert "last checkpoint" in text_of(page) and "Resume" in labels(page)


def test_the_app_loads_neither_torch_nor_duckdb(engine: Client, done: str) -> None:
    script = f"""
import sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file({str(HOME)!r}, default_timeout=180)
page.run()
for name in {list(PAGES.values())!r}:
    page.switch_page(name)
    page.run()
    assert not page.exception, page.exception
heavy = {{"torch", "duckdb", "transformers", "transformer_lens", "sae_lens", "umap", "causallearn", "zuko"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ), timeout=280)
