"""The section "Active features" of Refinement and Denoising, and the form it links to, against a real engine."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from engine.client import Client
from tests.app import denoising_tables, reasoner_tables
from tests.app.causal_tables import engine_on
from tests.app.pages import open_page, text_of
from tests.app.state_tables import write_saes

PUZZLES, DENOISER, BARE = "aaaaaaaaaaa4", "bbbbbbbbbbb4", "ccccccccccc4"
CELLS, TOKENS = "eeeeeeeeeee4", "fffffffffff4"
SMALL = {**denoising_tables.TINY, "arms": "sapo", "base_steps": 60, "iterations": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    reasoner_tables.write_run(home, BARE, None, (0,))
    reasoner_tables.write_run(home, PUZZLES, None, (0,))
    denoising_tables.write_run(home, DENOISER, SMALL, (0,))
    write_saes(home, CELLS, f"run:{PUZZLES}", "blocks.2.hook_out")
    write_saes(home, TOKENS, f"run:{DENOISER}", "blocks.0.hook_out")
    with engine_on(home) as client:
        yield client


def listed(page: AppTest) -> pd.DataFrame:
    """The table of active features."""
    (found,) = (frame.value for frame in page.dataframe if list(frame.value.columns) == ["feature", "value", "label", "card"])  # fmt: skip
    return found


def links(page: AppTest) -> list[Any]:
    return [link.proto for link in page.get("page_link")]


def test_features_of_the_chosen_cell_are_listed_with_their_cards(engine: Client) -> None:
    page = open_page("refinement", run=PUZZLES, puzzle="2", cell="6")
    given = [int(sign) for sign in engine.table(PUZZLES, "sr2_puzzles")["given"][1].as_py()]
    assert page.selectbox(key="active_cell").value == 5
    wanted = engine.active_features(PUZZLES, CELLS, 0, given, 5)["features"]
    assert listed(page)["feature"].tolist() == [row["feature"] for row in wanted] and wanted
    assert listed(page)["value"].tolist() == pytest.approx([row["value"] for row in wanted])
    first = wanted[0]["feature"]
    assert listed(page)["card"][0] == f"features?runs={CELLS}&seed=0&feature={first}"
    assert f"{len(wanted)} active. Read from the reasoner of run aaaaaa, seed 0" in text_of(page)


def test_a_cell_chosen_in_the_section_is_chosen_on_the_board(engine: Client) -> None:
    page = open_page("refinement", run=PUZZLES)
    page.selectbox(key="active_cell").select(9).run()
    page.selectbox(key="active_seed").select(1).run()
    assert not page.exception and page.session_state["cell_number"] == 9
    given = [int(sign) for sign in engine.table(PUZZLES, "sr2_puzzles")["given"][0].as_py()]
    wanted = engine.active_features(PUZZLES, CELLS, 1, given, 9)["features"]
    assert listed(page)["feature"].tolist() == [row["feature"] for row in wanted]


def test_features_of_a_token_follow_the_denoising_step(engine: Client) -> None:
    page = open_page("denoising", run=DENOISER)
    tokens = engine.table(DENOISER, "sapo_tokens", where={"arm": "sapo", "seed": 0, "rollout": 0}).to_pandas()
    prompt = engine.table(
        DENOISER, "sapo_rollouts", where={"arm": "sapo", "seed": 0, "rollout": 0}
    ).to_pandas()
    words = prompt["prompt"][0].split()
    for step in (0, 3):
        page.select_slider(key="active_step").set_value(step)
        page.selectbox(key="active_token").select(len(words) + 1).run()
        rows = tokens[tokens["step"] == step].sort_values("position")
        state = [*words, *(rows["token"] if step else [""] * 4)]
        wanted = engine.active_features(DENOISER, TOKENS, 0, state, len(words) + 1)["features"]
        assert listed(page)["feature"].tolist() == [row["feature"] for row in wanted] and wanted


def test_without_saes_it_links_to_a_form_that_is_filled_in(engine: Client) -> None:
    page = open_page("refinement", run=BARE)
    assert "No SAE has been trained on this run's states yet" in text_of(page)
    assert "Train SAEs on this run" in [link.label for link in links(page)]
    asked = {
        "study": "sae_consistency",
        "model": f"run:{BARE}",
        "hook_point": "blocks.2.hook_out",
        "d_sae": "64",
        "k": "-1",
    }
    form = open_page("new", **asked)
    values = {
        box.key.rsplit("-", 1)[1]: box.value for box in [*form.text_input, *form.number_input] if box.key
    }
    assert values["model"] == f"run:{BARE}" and values["hook_point"] == "blocks.2.hook_out"
    assert (values["d_sae"], values["k"]) == (64, 32), "a value out of bounds is left out"
    command = next(code.value for code in form.code)
    assert f"--set model=run:{BARE}" in command and "--set corpus=own" in command
    next(button for button in form.button if button.label == "Launch").click().run()
    assert "SAEs are being trained on this run" in text_of(open_page("refinement", run=BARE))
    (made,) = engine.saes_reading(BARE, None)
    assert made["config"]["d_sae"] == 64
    engine.cancel(made["id"])
