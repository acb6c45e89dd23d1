"""A feature's card on the page: numbers, pictures, examples, twins, nearest features, what people say, files."""

import json
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.feature_card import (
    Card,
    bands_of,
    histogram_figure,
    logits_figure,
    provenance,
    warnings,
)
from analyses.feature_html import card_html, examples_html, header_html, scale_html
from analyses.feature_svg import card_svg
from analyses.feature_text import number, visible
from analyses.figures import PLOTLY_CONFIG
from app.explore_labels import label_editor
from app.explore_parts import (
    Feature,
    Run,
    beside,
    card_of,
    close_comparison,
    compare_with,
    key_of,
    open_feature,
)
from app.widgets import PAGES, literal
from engine.client import EngineError

EVERY_BAND = "all"
BANDS = ("top", "75–100 %", "50–75 %", "25–50 %", "0–25 %", EVERY_BAND)
TWINS_AT_ONCE = 12
STACKED = {"histogram": 250, "logits": 340}  # pixels
CHART = {
    **PLOTLY_CONFIG,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoom2d", "pan2d"],
}


def read_card(feature: Feature, runs: list[Run]) -> Card | None:
    """The card, or None after saying in a sentence why there is none."""
    try:
        return card_of(*feature, beside(feature[0], runs))
    except EngineError as error:
        st.error(error.message)
        return None


def show_card(card: Card, slot: str, is_compared: bool = False) -> None:
    """One card, alone or one of two side by side; `slot`, "a" or "b", tells them apart."""
    st.html(header_html(card))
    for text in warnings(card):
        st.caption(f":material/warning: {text}")
    if card.get("note"):
        st.caption(f":material/edit_note: {literal(visible(card['note']))}")
    _actions(card, slot, is_compared)
    if card["histogram"] or card["logits"]["top"]:
        _pictures(card, slot, stacked=is_compared)
    if card["examples"]:
        _examples(card, slot)
    _twins(card, slot)
    _neighbours(card, slot)
    st.caption(literal(provenance(card)))


def _actions(card: Card, slot: str, is_compared: bool) -> None:
    """What can be done with the feature: say something of it, look elsewhere, put another beside it, take it along."""
    own = {"run": card["run"], "seed": str(card["seed"]), "feature": str(card["feature"])}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.popover("Label", icon=":material/sell:", key=f"said-{slot}"):
            label_editor(card, slot)
        with st.popover("Compare", icon=":material/compare:", key=f"compare-{slot}"):
            _compare_any(card, slot)
        with st.popover("Export", icon=":material/download:", key=f"export-{slot}"):
            _exports(card, slot)
        if card.get("is_text"):
            st.page_link(
                PAGES["lab"], label="Prompt lab", icon=":material/science:", query_params=own,
                help="Steer, ablate or patch this feature.",
            )  # fmt: skip
        if not is_compared:
            st.page_link(
                PAGES["map"], label="Map", icon=":material/scatter_plot:",
            query_params={"runs": card["run"], "seed": own["seed"], "feature": own["feature"]},
        )  # fmt: skip


def comparison_bar(first: Card, second: Card) -> None:
    """How alike two cards side by side are; buttons that exchange them and close the second."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(compared_words(first, second), width="stretch")
        st.button(
            "Swap", key="swap", type="tertiary", icon=":material/swap_horiz:", on_click=_swap,
            args=(key_of(first), key_of(second)),
        )  # fmt: skip
        st.button(
            "Close comparison", key="close-comparison", type="tertiary", icon=":material/close:",
            on_click=close_comparison,
        )  # fmt: skip


def _swap(first: Feature, second: Feature) -> None:
    open_feature(*second)
    compare_with(*first)


def _compare_any(card: Card, slot: str) -> None:
    """Any feature of this SAE by its number; twins have their own buttons."""
    d_sae = (card.get("recipe") or {}).get("d_sae") or 1
    with st.form(f"any-{slot}", border=False):
        index = st.number_input(
            f"Feature of seed {card['seed']}, 0 to {d_sae - 1:,}", 0, d_sae - 1, 0, key=f"any-number-{slot}"
        )
        if st.form_submit_button("Compare with it", icon=":material/compare:"):
            compare_with(card["run"], card["seed"], int(index))
            st.rerun()
    st.caption("To compare with the same feature in another seed, use the buttons beside its twins.")


def _exports(card: Card, slot: str) -> None:
    name = f"feature-{card['run'][:6]}-{card['seed']}-{card['feature']}"
    files = {
        "html": ("Card as HTML", partial(card_html, card), "text/html"),
        "svg": ("Card as SVG", partial(card_svg, card), "image/svg+xml"),
        "json": ("Card as JSON", partial(json.dumps, card, ensure_ascii=False, indent=1), "application/json"),
    }
    for ending, (words, render, mime) in files.items():
        st.download_button(
            words, render, file_name=f"{name}.{ending}", mime=mime, key=f"{ending}-{slot}", on_click="ignore",
            icon=":material/download:", width="stretch",
        )  # fmt: skip


def _pictures(card: Card, slot: str, stacked: bool) -> None:
    places = (st.container(), st.container()) if stacked else st.columns(2)
    figures = {
        "histogram": histogram_figure(card),
        **({"logits": logits_figure(card)} if card.get("is_text") else {}),
    }
    for place, (name, figure) in zip(places, figures.items(), strict=False):
        if stacked:
            figure.update_layout(height=STACKED[name])
        config = {**CHART, "toImageButtonOptions": {"format": "svg", "filename": f"{name}-{card['feature']}"}}
        place.plotly_chart(
            figure, theme=None, key=f"{name}-{slot}", alt=figure.layout.meta["alt"], config=config
        )


def _examples(card: Card, slot: str) -> None:
    """Examples of one band, chosen once for both cards of a page."""
    if slot == "a":
        st.segmented_control(
            "Examples",
            BANDS,
            default="top",
            required=True,
            key="band",
            bind="query-params",
            help="The largest activations, or drawn from a quarter of all tokens on which the feature is active, ranked by "
            "activation. Hover a token for its value.",
        )
    band = st.session_state.get("band", "top")
    shown = bands_of(card) if band == EVERY_BAND else [band]
    st.html(scale_html(card))
    st.html(examples_html(card, shown))


def _twins(card: Card, slot: str) -> None:
    """The one-to-one matched feature of every other seed, each with a button that puts it beside this one."""
    twins = card["twins"]
    st.markdown("**The same feature in other seeds**")
    if not twins:
        st.caption("No other seed to look in: train more seeds of this run, or choose a second run above.")
        return
    st.caption("One-to-one matching of all decoder directions; the correlation is that of the activations.")
    elsewhere = any(twin["run"] != card["run"] for twin in twins)
    with st.container(gap=None):
        for place, twin in enumerate(twins[:TWINS_AT_ONCE]):
            _twin(twin, f"{slot}-{place}", elsewhere)
    if len(twins) > TWINS_AT_ONCE:
        with st.expander(f"{len(twins) - TWINS_AT_ONCE} more"):
            for place, twin in enumerate(twins[TWINS_AT_ONCE:], TWINS_AT_ONCE):
                _twin(twin, f"{slot}-{place}", elsewhere)


def _twin(twin: dict[str, Any], key: str, elsewhere: bool) -> None:
    feature = (twin["run"], twin["seed"], twin["feature"])
    where = f"{twin['run'][:6]} · " if elsewhere else ""
    compare, name, words = st.columns(
        [5, 8 if elsewhere else 6, 18], vertical_alignment="center", gap="xsmall"
    )
    compare.button(
        "Compare",
        key=f"twin-{key}",
        on_click=compare_with,
        args=feature,
        icon=":material/compare:",
        type="tertiary",
    )
    name.button(
        f"{where}seed {twin['seed']} · {twin['feature']}", key=f"open-{key}", on_click=open_feature, args=feature,
        type="tertiary",
    )  # fmt: skip
    words.caption(f"{relation(twin)} · {literal(visible(twin['label'])) or 'no label'}")


def relation(twin: dict[str, Any]) -> str:
    """How alike two features are, in words."""
    correlation = twin.get("code_correlation")
    known = f", correlation {number(correlation)}" if correlation is not None else ""
    return f"cosine {number(twin['cosine'])}{known}"


def compared_words(first: Card, second: Card) -> str:
    """What is known of the two compared features."""
    for twin in first["twins"]:
        if (twin["run"], twin["seed"], twin["feature"]) == key_of(second):
            return f"Matched one to one: {relation(twin)}."
    if key_of(first)[:2] == key_of(second)[:2]:
        for near in first["neighbours"]:
            if near["feature"] == second["feature"]:
                return f"Neighbours in one SAE: decoder {relation(near)}."
    return "Neither twins nor near neighbours."


def _neighbours(card: Card, slot: str) -> None:
    """The features of the same SAE whose decoder directions are nearest; a click opens one."""
    rows = card["neighbours"]
    if not rows:
        return
    st.markdown("**Nearest features of this SAE**")
    key = f"nearest-{slot}-{card['run']}-{card['seed']}-{card['feature']}"
    frame = pd.DataFrame(rows)[["feature", "cosine", "label"]]
    st.dataframe(
        frame.assign(label=[visible(text or "") for text in frame["label"]]),
        key=key,
        on_select=partial(_on_neighbour, key, card),
        selection_mode=["single-row", "single-cell"],
        hide_index=True,
        height=35 * (len(rows) + 1) + 3,
        alt=f"Nearest features of feature {card['feature']}",
        placeholder="–",
        column_config={
            "feature": st.column_config.NumberColumn("Feature", width=70, format="%d"),
            "cosine": st.column_config.NumberColumn("Cosine", width=80, format="%.3f"),
            "label": st.column_config.TextColumn("Label", width=300),
        },
    )


def _on_neighbour(key: str, card: Card) -> None:
    chosen = st.session_state[key]["selection"]
    row = chosen["cells"][0][0] if chosen.get("cells") else next(iter(chosen.get("rows") or []), None)
    if row is not None and row < len(card["neighbours"]):
        open_feature(card["run"], card["seed"], card["neighbours"][row]["feature"])
