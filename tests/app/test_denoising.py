"""The page Denoising on trained, imported, failed and running runs of sapo, against a real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from data.files import read_json, write_json
from engine.client import Client, EngineError
from tests.app.causal_tables import engine_on
from tests.app.denoising_tables import TINY, write_run
from tests.app.pages import array, figures, labels, open_page, text_of, titled
from tests.conftest import eventually
from tests.sapo.test_foreign import CLEAN, DATA, FILLER, LLADA, REAL_D1, WRONG, d1, written

TRAINED, SUDOKU, IMPORTED, FAILED = "aaaaaaaaaaa1", "bbbbbbbbbbb1", "ccccccccccc1", "ddddddddddd1"
LARGE = "fffffffffff1"
REAL = "eeeeeeeeeee1"
ENDLESS = {**TINY, "base_steps": 200_000}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    write_run(home, TRAINED, TINY)
    large = write_run(home, LARGE, {**TINY, "arms": "", "base_steps": 5}, (0,)) / "config.json"
    record = read_json(large)
    write_json(large, {**record, "config": {**record["config"], "policy": "qwen"}})
    write_run(home, SUDOKU, {**TINY, "task": "sudoku", "arms": "", "base_steps": 20, "eval_prompts": 6}, (0,))
    files = [
        str(written(home, "countdown_a_generations.json", d1([CLEAN, FILLER, WRONG, HOSTILE]))),
        str(written(home, "sample_process.txt", LLADA)),
    ]
    write_run(home, IMPORTED, {"imported": ",".join(files)})
    real = [*map(str, REAL_D1), str(DATA / "llada_sample_process.txt")]
    write_run(home, REAL, {"imported": ",".join(real)})
    write_run(
        home, FAILED, TINY, (0,), error="learning_rate: the loss is no longer finite; lower learning_rate."
    )
    with engine_on(home) as client:
        yield client


@pytest.fixture(scope="module")
def shown(engine: Client) -> AppTest:
    """The page of the trained run as it opens."""
    return open_page("denoising", run=TRAINED, rollout="3")


def rows(home: Path, name: str, run: str = TRAINED) -> pd.DataFrame:
    return pq.read_table(home / "runs" / run / "tables" / f"{name}.parquet").to_pandas()


def masked(figure: dict[str, Any]) -> str:
    return str(figure["layout"]["meta"]["alt"])


class TestTrained:
    def test_the_first_strip_holds_the_stored_figures(self, shown: AppTest, home: Path) -> None:
        strip = {metric.label: metric.value for metric in shown.metric}
        arms = rows(home, "sapo_arms").query("arm == 'sapo'")
        assert strip["Solved exactly, SAPO"] == f"{arms['exact'].mean():.1%}"
        assert strip["Answers right, SAPO"] == f"{arms['cell'].mean():.1%}"
        alike = rows(home, "sapo_agreement").query("arm == 'sapo'")
        assert strip["Commit order"] == f"{alike['spearman'].mean():.3f}"
        assert strip["Chance"] == f"{alike['null_spearman'].mean():.3f}"

    def test_two_policies_stand_side_by_side_at_the_step_of_the_link(self, engine: Client) -> None:
        page = open_page(
            "denoising",
            run=TRAINED,
            policy="sapo-1",
            beside="diffu_grpo-0",
            rollout="8",
            kind="greedy",
            step="2",
        )
        one, two = (titled(page, name)[0] for name in ("SAPO · seed 1", "diffu-GRPO · seed 0"))
        assert "2 masked after step 2" in masked(one) and "2 masked after step 2" in masked(two)
        assert page.selectbox(key="rollout_choice").value == "8"

    def test_a_rollout_of_the_link_is_shown_under_both(self, shown: AppTest, home: Path) -> None:
        kept = rows(home, "sapo_rollouts").query("kind == 'sampled' and rollout == 2 and seed == 0")
        texts = [code.value for code in shown.code]
        assert texts[0] == kept["prompt"].iloc[0]
        assert texts[1:3] == [kept.query(f"arm == '{arm}'")["completion"].iloc[0] for arm in ("sapo", "base")]

    @pytest.mark.parametrize("show", ["exact", "junk"])
    def test_filters_keep_what_they_say(self, engine: Client, home: Path, show: str) -> None:
        kept = rows(home, "sapo_rollouts").query("kind == 'sampled' and arm == 'base' and seed == 0")
        n = int(kept[show].sum())
        page = open_page("denoising", run=TRAINED, policy="base-0", show=show)
        words = [expander.label for expander in page.expander]
        if n:
            assert f"Rollouts that pass the filter ({n})" in words
        else:
            assert f"no sampled rollout that is {show}" in text_of(page)

    def test_value_curves_and_gains_stand_with_the_grid(self, shown: AppTest, home: Path) -> None:
        curve = titled(shown, "V(t)")[0]
        stored = rows(home, "sapo_steps").query("arm == 'sapo' and seed == 0").sort_values("step")
        line = next(trace for trace in curve["data"] if trace.get("name") == "SAPO · seed 0")
        assert array(line["y"]) == pytest.approx(stored["value"].tolist())
        assert titled(shown, "What each step adds")

    def test_every_measure_has_its_curves(self, shown: AppTest, home: Path) -> None:
        assert titled(shown, "Reward") and titled(shown, "Groups with an advantage")
        page = open_page(
            "denoising", run=TRAINED, curves="accuracy", split="validation", against="forward passes"
        )
        exact = titled(page, "Solved exactly")[0]
        assert titled(page, "Answers right")
        stored = rows(home, "sapo_curve").query("arm == 'sapo' and split == 'validation'")
        line = next(trace for trace in exact["data"] if trace.get("name") == "SAPO")
        assert array(line["x"]) == pytest.approx(stored.groupby("iteration")["passes"].mean().tolist())

    def test_arms_spans_and_agreement_are_drawn_and_exported(self, shown: AppTest) -> None:
        for title in ("Arms on the same", "Commit order between seeds"):
            assert titled(shown, title), title
        names = [button.proto.label for button in shown.get("download_button")]
        assert names.count("CSV") == len(figures(shown)) == names.count("SVG")
        assert "SAPO less base" in text_of(shown)

    def test_it_can_be_trained_again_with_another_setting(self, engine: Client) -> None:
        page = open_page("denoising", run=TRAINED)
        page.number_input(key=f"again-{TRAINED}-iterations").set_value(9).run()
        assert not page.exception and "on this machine" in text_of(page)
        assert "Run with these values" in labels(page)


class TestLive:
    def test_a_large_policy_offers_nothing_live(self, home: Path, engine: Client) -> None:
        page = open_page("denoising", run=LARGE)
        assert "A large policy is not loaded beside the app" in text_of(page)
        assert not {"again_go", "own_go"} & {button.key for button in page.button}

    def test_a_span_is_masked_and_denoised_again(self, engine: Client) -> None:
        page = open_page("denoising", run=TRAINED, span="trace and answer")
        page.button(key="again_go").click().run()
        assert not page.exception and "of 16 tries exact" in text_of(page)
        again = titled(page, "SAPO · seed 0")[-1]
        assert "4 positions and 3 steps" in masked(again)

    def test_an_own_prompt_is_denoised_under_both_and_a_wrong_one_says_why(self, engine: Client) -> None:
        page = open_page("denoising", run=TRAINED)
        page.text_input(key=f"own_prompt_{TRAINED}").set_value("1 + 2 * 3")
        page.button(key="own_go").click().run()
        assert not page.exception and text_of(page).count("tries exact") == 2
        assert page.query_params["own"] in ("1 + 2 * 3", ["1 + 2 * 3"])
        page.text_input(key=f"own_prompt_{TRAINED}").set_value("1 + two")
        page.button(key="own_go").click().run()
        assert not page.exception and "'two' is no word of this task" in page.error[0].value

    def test_the_route_refuses_what_cannot_be(self, engine: Client) -> None:
        with pytest.raises(EngineError, match="no policy grpo_wider of seed 0"):
            engine.denoise(TRAINED, "1 + 2 * 3", arm="grpo_wider")
        with pytest.raises(EngineError, match="wait until it is done"):
            engine.denoise(FAILED, "1 + 2 * 3")
        with pytest.raises(EngineError, match="positions of the completion"):
            engine.denoise(TRAINED, "1 + 2 * 3", completion="3 9 | 9", span=[7])
        same = [engine.denoise(TRAINED, "1 + 2 * 3", arm="sapo", sample=4)["completions"] for _ in range(2)]
        assert same[0] == same[1]


class TestOtherTasks:
    def test_sudoku_tells_cells_from_grids(self, engine: Client, home: Path) -> None:
        page = open_page("denoising", run=SUDOKU)
        shown = {metric.label: metric.value for metric in page.metric}
        arms = rows(home, "sapo_arms", SUDOKU).iloc[0]
        assert shown["Solved exactly, base"] == f"{arms['exact']:.1%}"
        assert shown["Blank cells right, base"] == f"{arms['cell']:.1%}" != shown["Solved exactly, base"]
        assert shown["Junk traces"] == "–" and "cells" in text_of(page)
        filters = next(group for group in page.get("button_group") if group.label == "Show")  # type: ignore[union-attr]
        assert not [option for option in filters.options if "junk" in option]  # type: ignore[union-attr]

    def test_imported_files_show_their_figures_and_text_stays_text(self, engine: Client) -> None:
        page = open_page("denoising", run=IMPORTED, rollout="4")
        shown = [(metric.label, metric.value) for metric in page.metric]
        assert shown[0] == ("Solved exactly", "50.0%") and shown[1] == ("Junk", "25.0%")
        assert HOSTILE in [code.value for code in page.code]
        assert HOSTILE not in "\n".join(str(element.value) for element in page.markdown)
        assert "without weights" in text_of(page) and "again_go" not in str([b.key for b in page.button])

    def test_imported_steps_are_drawn(self, engine: Client) -> None:
        page = open_page("denoising", run=IMPORTED, policy="imported-1", step="2")
        grid = titled(page, "sample_process.txt")[0]
        assert "2 masked after step 2" in masked(grid) and "tells no confidence" in text_of(page)

    def test_real_generations_of_an_8b_model(self, engine: Client) -> None:
        page = open_page("denoising", run=REAL, policy="imported-1", step="30")
        shown = [(metric.label, metric.value) for metric in page.metric]
        assert shown[:2] == [("Solved exactly", "21.1%"), ("Junk", "0.0%")]
        assert "256 generations" in text_of(page)
        grid, order = titled(page, "llada_sample_process.txt")[0], titled(page, "Commit order")[0]
        assert "34 masked after step 30" in masked(grid)
        assert grid["layout"]["xaxis"]["ticktext"] == order["layout"]["xaxis"]["ticktext"]
        assert grid["layout"]["xaxis"]["ticktext"][:2] == ["10", "20"]
        assert page.selectbox(key="beside_choice").value == "none"


class TestStates:
    def test_failed_run_says_why_with_its_curves_and_can_go_on(self, engine: Client) -> None:
        page = open_page("denoising", run=FAILED)
        assert page.error[0].value.startswith("learning_rate") and not page.metric
        assert "Continue from the last checkpoint" in labels(page) and titled(page, "Reward")

    def test_running_run_shows_its_progress_and_can_be_stopped(self, engine: Client) -> None:
        run = engine.submit("sapo", ENDLESS, [0])["id"]
        try:
            eventually(lambda: any(row["kind"] == "log" for row in engine.events(run)["rows"]), "it logs")
            page = open_page("denoising", run=run)
            assert page.get("progress")
            next(button for button in page.button if "Stop" in button.label).click().run()
            eventually(lambda: engine.run(run)["state"] == "cancelled", "it stops")
        finally:
            if engine.run(run)["state"] in ("queued", "running"):
                engine.cancel(run)
                engine.wait(run)


def test_first_visit_denoises_with_the_bundled_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def submit(self: Client, *args: Any, **more: Any) -> dict[str, str]:
        asked.append((args, more))
        return {"id": "e" * 12}

    monkeypatch.setattr(Client, "submit", submit)
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("denoising")
        assert "tries exact" in text_of(page) and titled(page, "the bundled base")
        next(button for button in page.button if button.label == "Reinforce a first denoiser").click().run()
    st.cache_resource.clear()
    assert asked == [(("sapo", {}, [0, 1, 2]), {"preset": "tour"})]
