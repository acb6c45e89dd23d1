"""Pages before anything is trained, the form of a new run, the words for runs, and a missing engine."""

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.run_set import differences
from app.widgets import describe, literal, recipe, result_url
from engine.client import Client
from tests.app.pages import HOME, labels, open_page, text_of


class TestEmpty:
    def test_home_offers_the_tour(self, engine: Client) -> None:
        page = open_page("start")
        assert labels(page) == [
            "Start the tour",
            "Bring your own SAE",
            "Draw a causal graph",
            "Find a concept hierarchy",
            "Reinforce a denoiser",
            "Train a reasoner",
            "Deploy and forecast",
            "Extrapolate a first time",
            "Learn content and style",
            "Generate triplets",
            "Learn caption masks",
        ]
        assert "No runs yet" in text_of(page)

    def test_consistency_says_what_to_do(self, engine: Client) -> None:
        assert "Start the tour" in text_of(open_page("consistency"))

    @pytest.mark.parametrize(
        ("study", "page"),
        [
            ("multimodal_causal", "causal_graph"),
            ("concept_hierarchy", "hierarchy"),
            ("sapo", "denoising"),
            ("sr2", "refinement"),
        ],
    )
    def test_one_button_starts_each_other_study(
        self, engine: Client, monkeypatch: pytest.MonkeyPatch, study: str, page: str
    ) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(
            Client,
            "submit",
            lambda self, *args, **more: asked.append((args, more)) or {"id": "e", "study": study},
        )
        went: list[Any] = []
        monkeypatch.setattr("streamlit.switch_page", lambda to, query_params: went.append((to, query_params)))
        open_page("start").button(key=f"start-{study}").click().run()
        assert asked == [((study, {}, [0, 1, 2]), {"preset": "tour"})]
        assert went == [(f"views/{page}.py", {"run": "e"})]

    def test_jobs_say_what_to_do(self, engine: Client) -> None:
        assert "Launch one" in text_of(open_page("jobs"))


class TestNewRun:
    @pytest.mark.parametrize("study", ["sae_consistency", "multimodal_causal", "concept_hierarchy"])
    def test_every_preset_of_every_study_opens_from_a_link(self, engine: Client, study: str) -> None:
        presets = next(one["presets"] for one in engine.studies() if one["name"] == study)
        for preset in presets:
            page = open_page("new", study=study, preset=preset)
            asks_for_a_run = page.error and page.error[0].value.startswith("of: name a finished run")
            assert asks_for_a_run or f"concordance run {study} --preset {preset} --seeds 3" in text_of(page)
            assert bool(asks_for_a_run) == (preset == "features")

    def test_a_list_of_numbers_is_written_with_commas(self, engine: Client) -> None:
        page = open_page("new", study="multimodal_causal", preset="standard")
        key = "cfg-multimodal_causal-standard-None-lambda_grid"
        page.text_input(key=key).set_value("0.1, 0.3").run()
        assert "lambda_grid=0.1,0.3" in text_of(page)
        page.text_input(key=key).set_value("0.1, much").run()
        assert page.error[0].value.startswith("lambda_grid") and "Launch" not in labels(page)

    def test_unknown_study_is_named(self, engine: Client) -> None:
        page = open_page("new", study="nothing")
        assert "nothing" in page.warning[0].value
        assert "import-sae" in text_of(page)

    def test_form_shows_cost_and_the_exact_command(self, engine: Client) -> None:
        page = open_page("new")
        assert "concordance run sae_consistency --preset standard --seeds 3" in text_of(page)
        page.number_input(key="cfg-sae_consistency-standard-None-d_sae").set_value(512).run()
        assert "--set d_sae=512" in text_of(page)
        assert page.metric[0].label.startswith("Time")

    def test_every_field_of_the_source_is_offered_and_no_other(self, engine: Client) -> None:
        page = open_page("new")
        keys = {
            w.key
            for kind in ("number_input", "text_input", "selectbox", "toggle")
            for w in page.get(kind)
            if w.key
        }
        offered = {key.rsplit("-", 1)[1] for key in keys if key.startswith("cfg-")}
        properties = engine.studies()[0]["schema"]["properties"]
        values = {name: schema["default"] for name, schema in properties.items()}
        wanted = {
            name
            for name, schema in properties.items()
            if all(values[k] in (v if isinstance(v, list) else [v]) for k, v in schema["only_if"].items())
        }
        assert offered == wanted
        assert page.toggle(key="cfg-sae_consistency-standard-None-align_encoder").value is False

    def test_fields_follow_the_architecture(self, engine: Client) -> None:
        page = open_page("new")
        prefix = "cfg-sae_consistency-standard-None-"

        def fields() -> set[str]:
            return {w.key.removeprefix(prefix) for w in page.number_input if w.key}

        assert "k" in fields() and "l1_coefficient" not in fields()
        page.selectbox(key=prefix + "architecture").set_value("gated").run()
        assert "k" not in fields() and "l1_coefficient" in fields()
        page.selectbox(key=prefix + "architecture").set_value("jumprelu").run()
        assert {"k", "jumprelu_bandwidth"} <= fields()

    def test_saes_of_other_tools_are_pointed_to_the_command(self, engine: Client) -> None:
        assert "concordance import-sae" in text_of(open_page("new"))

    @pytest.mark.parametrize(
        ("field", "value", "word"),
        [
            ("k", 5000, "k:"),
            ("hook_point", "blocks.99.hook_out", "hook_point:"),
            ("corpus", "/nowhere.txt", "corpus:"),
            ("model", "/nowhere", "model:"),
        ],
    )
    def test_bad_values_get_one_sentence(self, engine: Client, field: str, value: Any, word: str) -> None:
        page = open_page("new")
        key = f"cfg-sae_consistency-standard-None-{field}"
        kind = "number_input" if field == "k" else "text_input"
        next(w for w in page.get(kind) if w.key == key).set_value(value).run()
        assert page.error[0].value.startswith(word)
        assert "Launch" not in labels(page)

    def test_seeds_must_be_numbers(self, engine: Client) -> None:
        page = open_page("new")
        next(w for w in page.text_input if w.label == "Seeds").set_value("a, b").run()
        assert page.error[0].value.startswith("seeds:")


def test_words_of_a_run_name_its_recipe() -> None:
    config = {
        "architecture": "gated",
        "l1_coefficient": 2.0,
        "control": "none",
        "k": 32,
        "seed_varies": "order",
    }
    assert recipe(config) == "Gated · L1 2 · data orders differ"
    frozen = {**config, "architecture": "topk", "control": "frozen_decoder", "seed_varies": "init"}
    assert recipe(frozen) == "TopK, frozen decoder · k 32"
    assert recipe({**frozen, "start_from": "run:0123456789ab"}).endswith("from run 012345")
    assert recipe({**frozen, "start_from": "/a/x, /a/y,/a/z"}).endswith("from x, y …")
    assert literal("a_b *c* <i> [x](y)") == r"a\_b \*c\* \<i\> \[x\](y)"


def test_settings_are_told_apart_in_few_words() -> None:
    base = {
        "architecture": "topk",
        "k": 32,
        "l1_coefficient": 0.1,
        "control": "none",
        "n_steps": 5,
        "dead_after": 1,
    }

    def words(*changes: dict[str, Any]) -> list[str]:
        return differences([{"config": {**base, **change}, "data_seed": 0} for change in changes])

    assert words({}) == [""]
    assert words({}, {"k": 16}) == ["k 32", "k 16"]
    assert words({}, {"architecture": "relu"}) == ["TopK · k 32", "ReLU + L1 · L1 0.1"]
    assert words({}, {"k": 16, "dead_after": 2, "n_steps": 9}) == ["k 32 · n_steps 5", "k 16 · n_steps 9"]


def test_page_says_so_when_the_engine_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    import streamlit as st

    st.cache_resource.clear()
    page = AppTest.from_file(str(HOME), default_timeout=180).run()
    assert "concordance up" in page.error[0].value


def test_a_study_without_words_or_page_of_its_own_is_still_listed() -> None:
    run = {
        "id": "0123456789ab",
        "study": "new_study",
        "preset": None,
        "seeds": [1],
        "config": {},
        "state": "done",
    }
    assert describe(run) == "custom · new study · seeds 1 · 012345"
    assert result_url(run) == "jobs?run=0123456789ab"
    assert result_url({**run, "study": "multimodal_causal"}) == "causal-graph?run=0123456789ab"
    assert result_url({**run, "study": "sae_consistency"}) == "consistency?runs=0123456789ab"
