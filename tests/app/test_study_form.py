"""Inputs made from fields of any type: what an empty text, a list and a null become."""

from typing import Any

import pytest
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from app.study_form import parse_seeds, resolved


class Sample(BaseModel):
    limit: int | None = None
    name: str | None = None
    kind: str = "x"
    weights: tuple[float, ...] = (0.5,)
    names: list[str] = []


SCHEMA = Sample.model_json_schema()


def page(field: str, value: Any) -> AppTest:
    def script(field: str, value: object, schema: dict) -> None:  # type: ignore[type-arg]
        import streamlit as st

        from app.study_form import widget

        described = {**schema["properties"][field], "unit": None, "description": "A field."}
        st.session_state["got"] = widget(field, described, value, "k", schema.get("$defs", {}))

    return AppTest.from_function(script, default_timeout=180, args=(field, value, SCHEMA)).run()


@pytest.mark.parametrize(
    ("field", "optional"), [("limit", True), ("name", True), ("kind", False), ("weights", False)]
)
def test_null_is_offered_where_the_field_allows_it(field: str, optional: bool) -> None:
    assert resolved(SCHEMA["properties"][field], {})[1] is optional


def test_an_empty_number_is_null_and_a_given_one_is_kept() -> None:
    assert page("limit", None).session_state["got"] is None
    assert page("limit", 3).session_state["got"] == 3


def test_an_empty_text_is_null_only_where_allowed() -> None:
    assert page("name", None).session_state["got"] is None
    assert page("kind", "").session_state["got"] == ""


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("weights", "0.1, .2,", [0.1, 0.2]),
        ("weights", "0.1 and 0.2", "0.1 and 0.2"),
        ("names", "a, b c", ["a", "b c"]),
        ("names", "", []),
    ],
)
def test_lists_are_written_with_commas(field: str, text: str, value: Any) -> None:
    shown = page(field, [1.5] if field == "weights" else ["z"])
    assert shown.text_input[0].value == ("1.5" if field == "weights" else "z")
    shown.text_input[0].set_value(text).run()
    assert shown.session_state["got"] == value


def test_seeds_are_numbers_or_nothing() -> None:
    assert parse_seeds("3, 4,5") == [3, 4, 5]
    assert parse_seeds("one") == []
