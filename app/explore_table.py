"""The feature table: filters in the URL, a page at a time, sorted by the engine, stepped through with two keys."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.feature_export import notebook_cell, to_parquet
from analyses.feature_text import one_line, visible
from analyses.figures import to_csv
from analyses.latex import latex_table
from app.connection import client
from app.explore_parts import TEXTS, Feature, Run, compared, feature_page, list_names, open_feature, opened

ROWS = 100
EXPORTED_AT_ONCE = 1000
TABLE = "feature_table"
PLACE = "feature_place"
LINKED = "feature_linked"
DENSITIES = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
DENSITY_NAMES = {f"{100 * value:g} %": value for value in DENSITIES}
EVERY_DENSITY = ("0 %", "100 %")
EVERY_STABILITY = (0.0, 1.0)
ORDERS = {
    "density": "Density",
    "frequency": "Held-out frequency",
    "stability": "Stability",
    "max_cosine": "Nearest cosine",
    "max_activation": "Largest activation",
    "mean_activation": "Mean activation",
    "feature": "Feature",
    "seed": "Seed",
    "label": "Label",
    "label_source": "Label source",
    "lists": "Lists",
    "alive": "Alive",
    "near_duplicate": "Near duplicate",
}
RISING = ("feature", "seed", "label", "label_source")  # columns whose first order is upwards
SHOWN = (
    "feature", "seed", "run_id", "label", "density", "stability", "tokens", "max_cosine", "max_activation",
    "mean_activation", "frequency", "lists", "note", "label_source", "alive", "near_duplicate",
)  # fmt: skip


def back_to_first_page() -> None:
    """The filters have changed: the list starts anew."""
    st.session_state["page"] = 1
    st.session_state.pop(PLACE, None)


def filters(runs: list[Run], have_cards: bool) -> dict[str, Any]:
    """Draw the filters, each kept in the URL, and return what they ask of `client.features`.

    Density is known once a run has cards; the held-out frequency stands in for it before.
    """
    bound: dict[str, Any] = {"bind": "query-params", "on_change": back_to_first_page}
    seeds = sorted({seed for run in runs for seed in run["seeds"]})
    first = st.columns([3, 2, 2, 2, 2])
    text = first[0].text_input(
        "Text in the examples", key="text", icon=":material/search:", placeholder="any text", **bound
    )
    tokens = first[1].text_input("Token", key="tokens", placeholder="any token", **bound)
    label = first[2].text_input("Label", key="label", placeholder="any label", **bound)
    chosen_list = first[3].selectbox(
        "List", ["", *list_names()], key="list", format_func=lambda name: name or "any list", **bound
    )
    chosen = first[4].multiselect("Seeds", seeds, key="seeds", placeholder="all seeds", **bound)
    second = st.columns([3, 3, 2.4, 2, 1.8], vertical_alignment="bottom")
    density = second[0].select_slider(
        "Density", list(DENSITY_NAMES), EVERY_DENSITY, key="density", **bound,
        help="Share of the card's tokens on which the feature is active; of held-out tokens where there are no cards.",
    )  # fmt: skip
    stability = second[1].slider(
        "Stability", 0.0, 1.0, EVERY_STABILITY, 0.05, key="stability", **bound,
        help="Share of the run's other seeds that have the feature too (one-to-one, |decoder cosine| ≥ 0.7).",
    )  # fmt: skip
    dead = second[2].segmented_control(
        "Latents", ["all", "alive", "dead"], default="all", required=True, key="show", **bound
    )
    order = second[3].selectbox("Sort by", list(ORDERS), key="order", format_func=ORDERS.__getitem__, **bound)
    descending = second[4].toggle("Descending", value=True, key="down", **bound)
    return {
        "runs": [run["id"] for run in runs],
        "seeds": chosen or None,
        "text": text or "",
        "tokens": tokens or "",
        "label": label or "",
        "list": chosen_list or "",
        "dead": dead,
        "density": None
        if tuple(density) == EVERY_DENSITY
        else tuple(DENSITY_NAMES[name] for name in density),
        "stability": None if tuple(stability) == EVERY_STABILITY else tuple(stability),
        "order": "frequency" if order == "density" and not have_cards else order,
        "descending": descending,
    }


def feature_table(runs: list[Run], query: dict[str, Any], height: int) -> Feature | None:
    """The chosen page of the table with its pager; the open feature, or else the page's first."""
    head = st.container(horizontal=True, vertical_alignment="center")
    place = st.container()
    pages_place = st.container(horizontal=True, horizontal_alignment="center")
    _go_to_the_linked(runs, query)
    total = feature_page(query, ROWS, 0)[1]
    pages = max(-(-total // ROWS), 1)
    if not 1 <= st.session_state.get("page", 1) <= pages:
        st.session_state["page"] = pages
    with pages_place:
        page = (
            int(st.pagination(pages, key="page", bind="query-params", max_visible_pages=5))
            if pages > 1
            else 1
        )
    frame = feature_page(query, ROWS, (page - 1) * ROWS)[0]
    current = opened(runs) or (_named(frame.iloc[0]) if len(frame) else None)
    row = _row_of(frame, current)
    if row is not None:
        st.session_state[PLACE] = (page - 1) * ROWS + row
    with head:
        _steps(query, total, row is not None)
    with place:
        _table(runs, frame, query, row, height) if total else _nothing(query)
    return current


def _go_to_the_linked(runs: list[Run], query: dict[str, Any]) -> None:
    """A link that names a feature and no page opens the table where the feature stands; once a session."""
    linked = opened(runs)
    if LINKED in st.session_state:
        return
    st.session_state[LINKED] = True
    if linked is not None and "page" not in st.query_params:
        place = client().feature_place(**{**query, "feature": linked})
        if place is not None:
            st.session_state["page"] = place // ROWS + 1


def _steps(query: dict[str, Any], total: int, is_listed: bool) -> None:
    """Previous and next of the filtered, sorted list, across the borders of its pages."""
    at = st.session_state.get(PLACE, -1)
    st.button(
        "Previous", key="previous", shortcut="K", icon=":material/arrow_back:", on_click=_step, args=(query, at - 1),
        disabled=not 0 < at <= total,
    )  # fmt: skip
    st.button(
        "Next", key="next", shortcut="J", icon=":material/arrow_forward:", icon_position="right", on_click=_step,
        args=(query, at + 1), disabled=at + 1 >= total,
    )  # fmt: skip
    where = f"{at + 1:,} of {total:,}" if is_listed else f"{total:,}"
    st.caption(f"{where} feature{'' if total == 1 else 's'}", width="stretch")


def _step(query: dict[str, Any], at: int) -> None:
    frame, total = feature_page(query, ROWS, at // ROWS * ROWS)
    if 0 <= at < total:
        st.session_state["page"] = at // ROWS + 1
        open_feature(*_named(frame.iloc[at % ROWS]))


def _named(row: "pd.Series[Any]") -> Feature:
    return str(row["run_id"]), int(row["seed"]), int(row["feature"])


def _row_of(frame: pd.DataFrame, feature: Feature | None) -> int | None:
    if feature is None or frame.empty:
        return None
    run, seed, index = feature
    same = (frame["run_id"] == run) & (frame["seed"] == seed) & (frame["feature"] == index)
    return int(same.to_numpy().argmax()) if same.any() else None


def _nothing(query: dict[str, Any]) -> None:
    st.info("No feature passes these filters.", icon=":material/filter_alt_off:")
    st.button("Clear the filters", on_click=clear_filters, icon=":material/restart_alt:", key="clear-filters")


def clear_filters() -> None:
    """Every filter back to letting all pass; for callbacks."""
    every = {
        "text": "", "tokens": "", "label": "", "list": "", "seeds": [], "show": "all", "density": EVERY_DENSITY,
        "stability": EVERY_STABILITY,
    }  # fmt: skip
    st.session_state.update(every)
    back_to_first_page()


def _table(runs: list[Run], frame: pd.DataFrame, query: dict[str, Any], row: int | None, height: int) -> None:
    wanted = {"rows": [] if row is None else [row], "columns": [], "cells": []}
    if {what: _selected(TABLE, what) for what in wanted} != wanted:
        st.session_state[TABLE] = {"selection": wanted}
    shown = _readable(frame, runs)
    st.dataframe(
        shown,
        key=TABLE,
        on_select=partial(_on_select, frame, query["order"]),
        selection_mode=["single-row", "single-column", "single-cell"],
        hide_index=True,
        height=height,
        alt="Features that pass the filters",
        placeholder="–",
        column_config=_columns(),
    )


def _readable(frame: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    """The columns worth showing, tokens and labels as visible text, shares in per cent."""
    several = len({seed for run in runs for seed in run["seeds"]}) > 1
    hidden = {"run_id"} if len(runs) == 1 else set()
    hidden |= set() if several else {"seed"}
    hidden |= {name for name in TEXTS if not frame[name].astype(bool).any()}
    hidden |= {name for name in ("density", "max_activation") if frame[name].isna().all()}
    return frame.assign(
        run_id=frame["run_id"].str[:6],
        tokens=[_tokens(text) for text in frame["tokens"]],
        label=[visible(text) for text in frame["label"]],
        density=100 * frame["density"].astype(float),
        frequency=100 * frame["frequency"].astype(float),
    )[[name for name in SHOWN if name not in hidden]]


def _tokens(text: str) -> str:
    return "  ".join(one_line(token) for token in json.loads(text)) if text else ""


def _columns() -> dict[str, Any]:
    number = partial(st.column_config.NumberColumn, width=72)
    return {
        "feature": st.column_config.NumberColumn("Feature", width=64, format="%d", pinned=True),
        "seed": st.column_config.NumberColumn("Seed", width=44, format="%d"),
        "run_id": st.column_config.TextColumn("Run", width=70),
        "label": st.column_config.TextColumn("Label", width=165),
        "density": number("Density %", format="%.3g"),
        "stability": number("Stability", format="%.2f"),
        "tokens": st.column_config.TextColumn("Tokens", width=200, help="Those with most of its activation."),
        "max_cosine": number(
            "Nearest",
            format="%.3f",
            help="Largest |decoder cosine| to a feature of another seed, mean over the seeds.",
        ),
        "max_activation": number("Max", format="%.2f"),
        "mean_activation": number("Mean", format="%.2f"),
        "frequency": number("Held-out %", format="%.3g"),
        "lists": st.column_config.TextColumn("Lists"),
        "note": st.column_config.TextColumn("Note"),
        "label_source": st.column_config.TextColumn("Label by"),
        "alive": st.column_config.CheckboxColumn("Alive", width=60),
        "near_duplicate": st.column_config.CheckboxColumn("Duplicate", width=70),
    }


def _selected(key: str, what: str) -> list[Any]:
    state = st.session_state.get(key) or {}
    return list((state.get("selection") or {}).get(what) or [])


def _on_select(frame: pd.DataFrame, order: str) -> None:
    """A click on a header sorts the whole list by it, a second click turns it round; one on a row opens the card."""
    columns, cells, rows = (_selected(TABLE, what) for what in ("columns", "cells", "rows"))
    if columns and columns[0] in ORDERS:
        falls = columns[0] not in RISING
        same = columns[0] == order
        st.session_state["down"] = not st.session_state.get("down", True) if same else falls
        st.session_state["order"] = columns[0]
        back_to_first_page()
    elif cells or rows:
        row = int(cells[0][0] if cells else rows[0])
        if row < len(frame):
            open_feature(*_named(frame.iloc[row]))


def table_exports(query: dict[str, Any], beside: tuple[str, ...], current: Feature | None) -> None:
    """The whole filtered table as files, and the notebook cell that asks for this view."""
    renderers: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
        "CSV": (to_csv, "features.csv"),
        "Parquet": (to_parquet, "features.parquet"),
        "LaTeX": (_latex, "features.tex"),
    }
    with st.container(horizontal=True):
        for name, (render, file) in renderers.items():
            st.download_button(
                name, partial(_file, render, query), file_name=file, key=f"table-{name}", on_click="ignore",
                type="tertiary", icon=":material/download:",
            )  # fmt: skip
    second = compared()
    cards = [feature for feature in (current, second) if feature]
    page = int(st.session_state.get("page", 1))
    asked = {**query, "limit": ROWS, "offset": (page - 1) * ROWS}
    st.caption("This view in a notebook:")
    st.code(notebook_cell(asked, cards, beside), language="python")


def _latex(frame: pd.DataFrame) -> bytes:
    columns = ["run_id", "seed", "feature", "label", "density", "stability", "max_cosine", "max_activation"]
    return latex_table(frame[columns]).encode()


def _file(render: Callable[[pd.DataFrame], bytes], query: dict[str, Any]) -> bytes:
    return render(every_row(query))


def every_row(query: dict[str, Any]) -> pd.DataFrame:
    """All rows that pass the filters, tokens as visible text."""
    parts, offset, total = [], 0, 1
    while offset < total:
        part, total = feature_page(query, EXPORTED_AT_ONCE, offset)
        parts.append(part)
        offset += EXPORTED_AT_ONCE
    return pd.concat(parts, ignore_index=True)
