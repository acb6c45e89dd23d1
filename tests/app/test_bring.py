"""The dialog for SAEs from elsewhere: empty, refused, found, imported."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.bring import parse_sources
from engine.client import Client
from tests.app.pages import labels, text_of
from tests.sae_consistency.test_checkpoints import sparsify_folder

PAGE = "from app.bring import bring_button\nbring_button()\n"


@pytest.fixture(autouse=True)
def fresh(engine: Client) -> Iterator[None]:
    st.cache_resource.clear()
    yield


def opened() -> AppTest:
    page = AppTest.from_string(PAGE, default_timeout=120).run()
    assert labels(page) == ["Bring your own SAE"]
    page.button[0].click().run()
    assert not page.exception, [e.value for e in page.exception]
    return page


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click().run()
    assert not page.exception, [e.value for e in page.exception]
    return page


def test_sources_stand_on_lines_or_between_commas() -> None:
    assert parse_sources(" /a b \n\nowner/name, /c,") == ["/a b", "owner/name", "/c"]


def test_it_opens_empty_and_asks_for_a_name() -> None:
    page = opened()
    assert "Look" in labels(page) and "Import" not in labels(page)
    press(page, "Look")
    assert "at least one folder" in page.error[0].value


def test_a_refusal_is_one_sentence(tmp_path: Path) -> None:
    page = opened()
    page.text_area[0].set_value(str(tmp_path))
    press(page, "Look")
    assert page.error[0].value.startswith("checkpoint") and "holds no SAE" in page.error[0].value
    assert "Import" not in labels(page)


def test_what_was_found_fills_the_form(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path / "layers.2")
    page = opened()
    page.text_area[0].set_value(f"{folder}")
    press(page, "Look")
    assert "A sparsify TopK SAE, 24 latents on 10-wide vectors" in text_of(page)
    values = {field.label: field.value for field in page.text_input}
    assert values == {"Hook point": "blocks.2.hook_out", "Language model": "", "Corpus": ""}
    press(page, "Import")
    assert "576 wide" in page.error[0].value and "hook" in page.error[0].value
    assert "Look" in labels(page), "the dialog stays open"


def test_text_of_files_is_text(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path / "a_b_*c*[x](http:evil)<i>")
    page = opened()
    page.text_area[0].set_value(str(folder))
    press(page, "Look")
    assert any(r"\*c\*\[x\](http\:evil)\<i\>" in caption.value for caption in page.caption)
