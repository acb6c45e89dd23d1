"""Explore › Features against a real engine: no runs, no cards, cards of a small model run, links, hostile text."""

import json
import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.explore_labels import parsed
from engine.client import Client
from tests.app.pages import HOME, figures, labels, text_of
from tests.conftest import TINY_WORLD

D_SAE, SEEDS = 128, [0, 1]
HOSTILE = "<img src=x onerror=alert(1)> **bold** [a](http://x.y) $x^2$ `code` :red[x] العربية 👩‍👩‍👧 <script>alert(2)</script>"


@pytest.fixture(scope="module")
def world(engine: Client) -> str:
    return engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1])["id"])["id"]


@pytest.fixture(scope="module")
def run(engine: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small TopK run on the bundled model, whose corpus is hostile; no cards yet."""
    corpus = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [
        f"Text {i}: {HOSTILE}\nThe city of {i * 7} people lies {i * i} miles from Paris." for i in range(60)
    ]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = {
        "source": "language_model", "hook_point": "blocks.1.hook_out", "corpus": str(corpus), "n_tokens": 2_000,
        "context_size": 32, "d_sae": D_SAE, "k": 6, "n_steps": 40, "batch_size": 128, "n_match_points": 1,
        "functional_tokens": 0, "explained_pairs": 0,
    }  # fmt: skip
    found = engine.wait(engine.submit("sae_consistency", config, SEEDS)["id"])
    assert found["state"] == "done", found["error"]
    return str(found["id"])


@pytest.fixture(scope="module")
def cards(engine: Client, run: str) -> str:
    """The same run with its cards made."""
    made = engine.make_cards(run, max_tokens=2_000, checks_tokens=0, probe_documents=0)
    assert engine.wait(made["id"])["state"] == "done"
    return run


def open_page(**query: str | list[str]) -> AppTest:
    page = AppTest.from_file(str(HOME), default_timeout=180)
    for key, value in query.items():
        page.query_params[key] = value
    page.switch_page("views/features.py")
    return rerun(page)


def features(page: AppTest) -> Any:
    return next(frame.value for frame in page.dataframe if "stability" in frame.value)


def link(page: AppTest, name: str) -> str:
    """A query parameter of the page's address."""
    found = page.query_params[name]
    return found if isinstance(found, str) else found[0]


def html_of(page: AppTest) -> str:
    return "".join(element.proto.body for element in page.get("html"))


def rerun(page: AppTest) -> AppTest:
    assert not page.run().exception, [e.value for e in page.exception]
    return page


class TestWithoutCards:
    def test_no_run_says_how_to_start(self, engine: Client) -> None:
        page = open_page()
        assert "Nothing to explore yet" in text_of(page)
        assert not page.dataframe

    def test_a_world_has_numbers_twins_and_no_text(self, engine: Client, world: str) -> None:
        page = open_page(runs=world)
        assert "synthetic world has no text" in text_of(page)
        assert len(features(page)) == 24
        assert "True feature" in html_of(page)
        assert any(button.key == "twin-a-0" for button in page.button)
        assert "make-cards" not in {button.key for button in page.button} and not figures(page)

    def test_a_run_without_cards_offers_to_make_them(
        self, engine: Client, run: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        page = open_page(runs=run)
        assert "no feature cards yet" in text_of(page) and len(features(page)) == 100
        monkeypatch.setattr(Client, "make_cards", lambda self, run_id, **settings: asked.append(run_id))
        page.button(key="make-cards").click().run()
        assert asked == [run] and not page.exception

    def test_unknown_run_and_feature_are_named(self, engine: Client, world: str) -> None:
        page = open_page(runs=f"nowhere,{world}", seed="0", feature="99999")
        assert "nowhere" in page.warning[0].value and "99999" in page.error[0].value

    def test_nonsense_in_the_link_is_ignored(self, engine: Client, world: str) -> None:
        page = open_page(runs=world, seed="<b>", feature="-1", compare="a:b", page="x", density="y")
        assert not page.error and len(features(page)) == 24


class TestCards:
    def test_first_feature_is_open_with_its_numbers(self, engine: Client, cards: str) -> None:
        page = open_page(runs=cards)
        first = engine.features([cards], limit=1)[0].to_pylist()[0]
        assert f"seed {first['seed']} · feature {first['feature']}" in html_of(page)
        assert len(figures(page)) == 2 and features(page)["density"][0] == pytest.approx(
            100 * first["density"]
        )
        assert "1 of 256 features" in text_of(page)

    def test_text_of_the_corpus_is_text(self, engine: Client, cards: str) -> None:
        page = open_page(runs=cards, text="onerror", band="all")
        shown = html_of(page)
        assert "<img" not in shown and "<script" not in shown and "listitem" in shown
        assert not re.search(r"<(?!/?(div|span|bdi)\b)", shown)

    def test_filters_come_from_the_link(self, engine: Client, cards: str) -> None:
        page = open_page(
            runs=cards, text="paris", tokens="a", seeds="1", show="alive", density=["0.1 %", "30 %"],
            order="Held-out frequency", down="false",
        )  # fmt: skip
        asked, total = engine.features(
            [cards], text="paris", tokens="a", seeds=[1], dead="alive", density=(0.001, 0.3), order="frequency",
            descending=False,
        )  # fmt: skip
        assert total and list(features(page)["feature"]) == asked["feature"].to_pylist()
        assert page.text_input(key="text").value == "paris"
        assert f"of {total} feature" in text_of(page)

    def test_no_match_can_be_cleared(self, engine: Client, cards: str) -> None:
        page = open_page(runs=cards, text="no such text")
        assert "No feature passes" in text_of(page)
        page.button(key="clear-filters").click().run()
        assert not page.exception and len(features(page)) == 100

    def test_next_and_previous_cross_the_page_border(self, engine: Client, cards: str) -> None:
        order = engine.features([cards], limit=256)[0].to_pylist()
        last = order[99]
        page = open_page(runs=cards, seed=str(last["seed"]), feature=str(last["feature"]))
        assert "100 of 256 features" in text_of(page)
        page.button(key="next").click().run()
        assert link(page, "feature") == str(order[100]["feature"]) and page.session_state["page"] == 2
        assert (
            "101 of 256 features" in text_of(page) and features(page)["feature"][0] == order[100]["feature"]
        )
        page.button(key="previous").click().run()
        assert link(page, "feature") == str(last["feature"]) and page.session_state["page"] == 1
        assert {button.proto.shortcut for button in page.button if button.key in ("next", "previous")} == {
            "j",
            "k",
        }

    def test_comparison_comes_from_the_link_and_closes(self, engine: Client, cards: str) -> None:
        twin = engine.card(cards, 0, 5)["twins"][0]
        page = open_page(
            runs=cards, seed="0", feature="5", compare=f"{cards}:{twin['seed']}:{twin['feature']}"
        )
        assert "seed 0 · feature 5 " in html_of(page).replace("<", " ") and "Matched one to one" in text_of(
            page
        )
        assert f"seed {twin['seed']} · feature {twin['feature']}" in html_of(page) and len(figures(page)) == 4
        page.button(key="close-comparison").click().run()
        assert "compare" not in page.query_params and len(figures(page)) == 2
        page.button(key="twin-a-0").click().run()
        assert link(page, "compare") == f"{cards}:{twin['seed']}:{twin['feature']}"

    def test_label_note_and_list(self, engine: Client, cards: str) -> None:
        key = f"a-{cards}-0-7"
        page = open_page(runs=cards, seed="0", feature="7")
        page.text_input(key=f"label-text-{key}").set_value("<b>mine</b>")
        page.text_area(key=f"note-{key}").set_value("a *note*")
        next(b for b in page.button if b.label == "Save" and key in b.proto.form_id).click().run()
        assert not page.exception and "&lt;b&gt;mine&lt;/b&gt;" in html_of(page)
        page.multiselect(key=f"lists-{key}").set_value(["good ones"]).run()
        card = engine.card(cards, 0, 7)
        assert (card["label"], card["label_source"], card["note"]) == ("<b>mine</b>", "yours", "a *note*")
        assert card["lists"] == ["good ones"]
        page = open_page(runs=cards, list="good ones")
        assert list(features(page)["feature"]) == [7] and features(page)["label"][0] == "<b>mine</b>"
        page.multiselect(key=f"lists-{key}").set_value([]).run()
        assert engine.card(cards, 0, 7)["lists"] == []

    def test_refusal_of_automatic_labels_is_a_sentence(self, engine: Client, cards: str) -> None:
        page = open_page(runs=cards, seed="0", feature="7")
        page.button(key=f"auto-a-{cards}-0-7").click().run()
        assert not page.exception and len(page.error) == 1 and page.error[0].value.rstrip().endswith(".")

    def test_notebook_cell_runs(self, engine: Client, cards: str) -> None:
        page = open_page(runs=cards, seed="0", feature="5", text="paris", stability=["0.0", "0.5"])
        cell = next(code.value for code in page.code if "client.features" in code.value)
        found: dict[str, Any] = {}
        exec(cell, found)
        assert list(found["features"]["feature"]) == list(features(page)["feature"])
        assert found["cards"][0]["feature"] == 5 and found["figures"][0].data

    def test_exports_are_offered(self, engine: Client, cards: str) -> None:
        names = [element.proto.label for element in open_page(runs=cards).get("download_button")]
        assert {"CSV", "Parquet", "LaTeX", "Card as HTML", "Card as SVG", "Card as JSON"} <= set(names)
        assert "Make feature cards" not in labels(open_page(runs=cards))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{" * 5000, b"null"])
def test_a_bad_library_file_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^.]*\.$"):
        parsed(content)
