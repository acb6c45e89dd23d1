"""Explore › Features: every feature of the chosen runs, and the card of the open one."""

import streamlit as st

from app.bring import bring_button
from app.explore_card import comparison_bar, read_card, show_card
from app.explore_labels import library_panel
from app.explore_parts import (
    Feature,
    Run,
    beside,
    cards_missing,
    choose_runs,
    close_comparison,
    compared,
    finished_runs,
    nothing_trained,
)
from app.explore_table import feature_table, filters, table_exports
from app.widgets import show_refusal

TALL, LOW = 1060, 250  # pixels: the table beside a card, and above two


@st.fragment
def browse(runs: list[Run], have_cards: bool) -> None:
    """Filters, table and cards; choosing a feature runs only this part again."""
    show_refusal()
    query = filters(runs, have_cards)
    second = compared()
    left, right = st.columns([9, 11], gap="medium") if second is None else (st.container(), st.container())
    with left:
        current = feature_table(runs, query, TALL if second is None else LOW)
        with st.expander("Files of this table, and a notebook cell", icon=":material/download:"):
            table_exports(query, beside(current[0], runs) if current else (), current)
    with right:
        if current is not None and second is None:
            if card := read_card(current, runs):
                show_card(card, "a")
        elif current is not None and second is not None:
            side_by_side(current, second, runs)


def side_by_side(first: Feature, second: Feature, runs: list[Run]) -> None:
    """Two cards, and how alike they are."""
    cards = [read_card(feature, runs) for feature in (first, second)]
    if cards[0] and cards[1]:
        comparison_bar(cards[0], cards[1])
    else:
        st.button("Close comparison", on_click=close_comparison, key="close-broken")
    for slot, column, card in zip("ab", st.columns(2, gap="medium"), cards, strict=True):
        if card:
            with column, st.container(border=True):
                show_card(card, slot, is_compared=True)


st.title("Features")
known = finished_runs()
if not known:
    show_refusal()
    nothing_trained()
    st.stop()
with st.container(horizontal=True, vertical_alignment="bottom"):
    with st.container():
        chosen = choose_runs(known)
    with st.popover("Labels & lists", icon=":material/import_export:", key="library"):
        library_panel()
    bring_button()
if not chosen:
    st.info("Choose at least one run above.")
    st.stop()
browse(chosen, cards_missing(chosen))
