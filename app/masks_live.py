"""Type one or two captions: what they keep, how they overlap, and the nearest test pictures under the mask and without."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.smartclip_frames import dimension_order, mask_rows, nearest_rows
from analyses.smartclip_strips import nearest_figure, strip_figure
from app.connection import client, table
from app.masks_parts import Chosen, origin_words
from app.widgets import literal, picture
from engine.client import EngineError

Answer = dict[str, Any]
EXAMPLES = {
    "scenes": (
        "the left object is red",
        "the left object is a red circle",
        "Words of the scenes in any order: left or right, then circle, square, triangle, cross, red, orange, green, blue, purple, white, "
        "small, large; background grey, dark, stripes, dots.",
    ),
    "emoji": (
        "woman, dark skin tone",
        "woman, health worker",
        "Who (woman, man, person …), what (health worker, running …) and tone (dark skin tone …), with commas between.",
    ),
    "folder": ("", "", "Words of the folder's captions; sentences with commas between."),
}


@st.fragment
def captions_section(chosen: Chosen) -> None:
    """The strip, the overlap and the nearest pictures of the typed captions (?first=, ?second=)."""
    st.subheader("What a caption selects")
    kind = chosen.run["config"]["pictures"]
    first, second, words = EXAMPLES[kind]
    if kind == "folder":
        first, second = _own_examples(chosen)
    left, right = st.columns(2)
    texts = [
        place.text_input(label, start, key=key, max_chars=2_000, bind="query-params", placeholder=hint)
        for place, label, start, key, hint in (
            (left, "Caption", first, "first", "a caption"),
            (right, "Second caption, to compare with", second, "second", "none"),
        )
    ]
    st.caption(words)
    asked = [text for text in texts if text.strip()]
    if not asked:
        st.info("Write a caption to see which dimensions it selects.")
        return
    answer = _answer(chosen, asked)
    if answer is None:
        return
    _strip(chosen, answer, asked)
    if "overlap" in answer and chosen.masked:
        _overlap(answer["overlap"])
    _nearest(chosen, answer)


def _own_examples(chosen: Chosen) -> tuple[str, str]:
    captions = list(table(chosen.run["id"], "smartclip_pictures")["caption"])
    parts = [caption.split(", ")[0] for caption in captions[:2]] or [""]
    return parts[0], parts[-1] if len(parts) > 1 else ""


def _answer(chosen: Chosen, captions: list[str]) -> Answer | None:
    try:
        return _ask(chosen.run["id"], chosen.seed, chosen.arm, captions)
    except EngineError as error:
        st.error(literal(error.message))
        return None


@st.cache_data(max_entries=100, show_spinner="Asking the model")
def _ask(run: str, seed: int, arm: str, captions: list[str]) -> Answer:
    return client().caption_mask(run, captions, seed, arm)


def _strip(chosen: Chosen, answer: Answer, asked: list[str]) -> None:
    if not chosen.masked:
        st.caption(
            "This arm reads the whole embedding, whatever the caption; choose one with masks to see them."
        )
        return
    rows = chosen.rows("smartclip_dimensions")
    if len(rows):
        order = dimension_order(rows)
    else:
        order = pd.DataFrame({"dimension": range(answer["d"]), "attribute": "", "place": range(answer["d"])})
    said = [", ".join(one["sentences"]) for one in answer["captions"]]
    frame = mask_rows(answer, list(order["dimension"]))
    picture(strip_figure(frame, said, order), frame, "mask-strip")
    empty = [text for text, one in zip(said, answer["captions"], strict=True) if not any(one["mask"])]
    if empty:
        st.warning(
            f"The mask of {literal(empty[0])} is empty: this caption selects nothing, and its masked readout says nothing."
        )
    if len(rows):
        groups = ", ".join(dict.fromkeys(order["attribute"]))
        st.caption(
            f"Dimensions in groups of the attribute they belong to most, from the left: {literal(groups)}."
        )


def _overlap(overlap: dict[str, Any]) -> None:
    cells = (
        ("In both", f"{overlap['both']}", "intersection"),
        ("First only", f"{overlap['first']}", "difference"),
        ("Second only", f"{overlap['second']}", "difference"),
        ("In either", f"{overlap['either']}", "union"),
        ("Overlap", f"{overlap['iou']:.3f}", "intersection over union"),
    )
    for column, (title, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(title, value)
        column.caption(note)


def _nearest(chosen: Chosen, answer: Answer) -> None:
    origin = origin_words(chosen.run)
    frame = nearest_rows(answer)
    for place, (column, one) in enumerate(
        zip(st.columns(len(answer["captions"])), answer["captions"], strict=True), 1
    ):
        with column:
            mine = frame[frame["caption"] == place]
            picture(nearest_figure(one, origin), mine, f"nearest-{place}")
            share = (
                ""
                if one["prevalence"] is None
                else f" It is true of {one['prevalence']:.1%} of the test pictures."
            )
            st.caption(f"Nearest test pictures; green frame: the caption is true, red: it is not.{share}")
    st.caption(f"Pictures: {literal(origin)}.")
