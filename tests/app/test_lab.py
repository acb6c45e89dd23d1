"""Explore › Prompt lab against a real engine: empty, reading, comparing, links, hostile text, errors."""

import ast
import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.lab_parts import TEXTS, Outcome, _progress, _text
from engine.client import Client
from tests.app.pages import HOME, figures, text_of

PROMPT = "The capital of France is"
HOSTILE = "<img src=x onerror=alert(1)> **bold** $x^2$ `code` :red[x] العربية 👩‍👩‍👧"


@pytest.fixture(scope="module")
def run(engine: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small TopK run on the bundled model."""
    corpus = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [f"Text {i}: the city of {i * 7} people lies {i * i} miles from Paris." for i in range(200)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = {
        "source": "language_model", "hook_point": "blocks.1.hook_out", "corpus": str(corpus), "n_tokens": 2_000,
        "context_size": 32, "d_sae": 64, "k": 6, "n_steps": 40, "batch_size": 128, "n_match_points": 1,
        "functional_tokens": 0, "explained_pairs": 0,
    }  # fmt: skip
    found = engine.wait(engine.submit("sae_consistency", config, [0, 1])["id"])
    assert found["state"] == "done", found["error"]
    return str(found["id"])


def open_lab(**query: str) -> AppTest:
    page = AppTest.from_file(str(HOME), default_timeout=120)
    for key, value in query.items():
        page.query_params[key] = value
    page.switch_page("views/lab.py")
    return rerun(page)


def rerun(page: AppTest) -> AppTest:
    assert not page.run().exception, [e.value for e in page.exception]
    return page


def button(page: AppTest, label: str) -> Any:
    return next(found for found in page.button if found.label == label)


def test_without_a_run_it_says_what_to_do(engine: Client) -> None:
    if not engine.runs(study="sae_consistency"):
        assert "needs a finished run on a language model" in text_of(open_lab())


def test_without_a_prompt_it_says_what_to_do(run: str) -> None:
    page = open_lab(run=run)
    assert "Type a text and press Read" in text_of(page) and not figures(page)


def test_a_link_reads_the_prompt_and_restores_the_form(engine: Client, run: str) -> None:
    page = open_lab(
        run=run, seed="1", feature="5", kind="ablate", positions="last", prompt=PROMPT, control_seed="3"
    )
    events = {e["kind"]: e for e in engine.lab({"run": run, "seed": 1, "prompt": PROMPT})}
    cells = figures(page)[0]["data"][1]["customdata"]
    assert {(c[0], c[1]) for c in cells} <= set(
        zip(events["features"]["token"], events["features"]["feature"], strict=True)
    )
    assert page.selectbox(key="seed").value == 1 and page.number_input(key="feature").value == 5
    assert page.number_input(key="control_seed").value == 3
    assert page.session_state["kind"] == "ablate" and page.session_state["positions"] == "last"
    last = len(events["tokens"]["tokens"]) - 1
    table = next(frame.value for frame in page.dataframe if "activation" in frame.value)
    mine = [
        f
        for t, f in zip(events["features"]["token"], events["features"]["feature"], strict=True)
        if t == last
    ]
    assert sorted(table["feature"]) == sorted(mine)
    assert {"run": run, "prompt": PROMPT}.items() <= dict(page.query_params).items()


def test_strength_of_a_link_is_the_value_of_a_patch(run: str) -> None:
    page = open_lab(run=run, feature="5", kind="patch", strength="12.5", prompt=PROMPT)
    assert page.number_input(key="value").value == 12.5


def test_compare_shows_what_the_engine_computed(engine: Client, run: str) -> None:
    page = open_lab(run=run, feature="5", strength="0.5", prompt=PROMPT, tokens="3")
    button(page, "Compare").click()
    rerun(page)
    cell = next(code.value for code in page.code if "connect" in code.value)
    request = ast.literal_eval(cell.split("request = ")[1].split("\n\nfor")[0])
    assert request["intervention"] == {
        "kind": "steer", "feature": 5, "minus": None, "strength": 0.5, "positions": "all", "generated": True,
    }  # fmt: skip
    outcome = Outcome(request)
    for event in engine.lab(request):
        outcome.add(event)
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["KL of the intervention"] == f"{outcome.change['kl']:.4f}" != "0.0000"
    bars = next(figure for figure in figures(page) if figure["data"][0]["type"] == "bar")
    assert [trace["name"] for trace in bars["data"]] == ["baseline", "intervention", "random direction"]
    texts = [code.value.strip() for code in page.code]
    assert all(_text(outcome, column).strip() in texts for column in TEXTS)
    assert "of 5 random directions" in text_of(page) and "Computed in" in text_of(page)
    page.slider(key="strength").set_value(1.0)
    assert "have changed since this was computed" in text_of(rerun(page))


def test_a_click_on_a_cell_chooses_its_feature_and_token(run: str) -> None:
    page = open_lab(run=run, prompt=PROMPT)
    assert button(page, "Compare").disabled and "Choose a feature" in text_of(page)
    place, feature = figures(page)[0]["data"][1]["customdata"][0][:2]
    page.session_state["lab_token"], page.session_state["feature"] = place, feature
    rerun(page)
    assert not button(page, "Compare").disabled
    assert page.number_input(key="feature").value == feature


def test_text_of_the_prompt_is_never_markup(run: str) -> None:
    page = open_lab(run=run, feature="5", prompt=HOSTILE, tokens="2")
    button(page, "Compare").click()
    rerun(page)
    markup = "".join(
        str(element.value) for kind in ("markdown", "caption", "info") for element in page.get(kind)
    )
    assert not any(part in markup for part in ("<img", "**bold", "$x", ":red", "onerror"))
    heat = json.dumps(figures(page)[0])
    assert "<img" not in heat and "&lt;" in heat and not page.get("html")


def test_what_cannot_be_read_is_said_in_a_sentence(run: str) -> None:
    page = open_lab(run=run, prompt="a b " * 300)
    assert "prompt: it has 601 tokens; give 1 to 512." in text_of(page)
    assert button(page, "Try again")
    assert "No finished run on a language model" in text_of(open_lab(run="0" * 12))
    page = open_lab(run=run, prompt=PROMPT)
    page.text_area(key="lab_vector").set_value("1, 2, x")
    assert "write numbers only" in text_of(rerun(page))
    page.text_area(key="lab_vector").set_value("1, 2")
    button(rerun(page), "Compare").click()
    assert "vector: it holds 2 numbers; the hook point's vectors have 576." in text_of(rerun(page))


def test_waiting_is_said_in_words() -> None:
    assert "place 2 in the queue" in _progress({"kind": "queue", "place": 2})
    assert (
        _progress({"kind": "status", "text": "Loading the model", "seconds": 3.2}) == "Loading the model, 3 s"
    )
