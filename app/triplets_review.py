"""Looking through triplets: the grid, the open one with its lineage, verdicts by key, undo and the log."""

import time
from typing import Any

import pandas as pd
import streamlit as st

from analyses.srf_html import card_html, legend_html
from app.connection import client, may_launch
from app.triplets_state import PAGE, View, go_to, open_triplet, opened, rows_of
from app.widgets import ago, attempt, literal

Row = dict[str, Any]
BIG, SMALL = 176, 84  # pixels
LINEAGE = 50
VERDICTS = (("keep", "Keep", "K", ":material/check:"), ("reject", "Reject", "X", ":material/close:"))


def review_area(view: View) -> None:
    """Grid at the left, the open triplet at the right."""
    left, right = st.columns([7, 5], gap="medium")
    with left:
        rows, total, page = _page(view)
        current = _current(view, rows)
        _grid(rows, current)
        _pager(total)
    with right:
        if current is None:
            st.info("No triplet passes these filters.", icon=":material/filter_alt_off:")
        else:
            _open(view, rows, current, total, page)
        _reviewers(view)


def _page(view: View) -> tuple[list[Row], int, int]:
    """Rows of the chosen page, or of the one with the triplet to follow; a page beyond the last is the last."""
    page = max(int(st.session_state.get("page", st.query_params.get("page", 1)) or 1), 1)
    followed = st.session_state.pop("follow", None)
    frame, total, place = _rows(view, page, followed)
    pages = max(-(-total // PAGE), 1)
    wanted = page if place is None else place // PAGE + 1
    if wanted != page or page > pages:
        page = min(wanted, pages)
        st.session_state["page"] = page
        frame, total, _ = _rows(view, page)
    return records(frame), total, page


def _rows(view: View, page: int, followed: int | None = None) -> tuple[pd.DataFrame, int, int | None]:
    asked = {"limit": PAGE, "offset": (page - 1) * PAGE}
    return rows_of(
        view.id,
        view.version,
        {**view.query, **asked, **({"place_of": followed} if followed is not None else {})},
    )


def records(frame: pd.DataFrame) -> list[Row]:
    """Rows as plain dictionaries, None for what is missing."""
    found: list[Row] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return found


def _current(view: View, rows: list[Row]) -> Row | None:
    """The open triplet: of the link, else the first of the page."""
    number = opened()
    mine = next((row for row in rows if row["triplet"] == number), None)
    if mine is None and number is not None:
        only = {"cut": view.cut, "only": [number], "limit": 1}
        mine = next(iter(records(rows_of(view.id, view.version, only)[0])), None)
    return mine or next(iter(rows), None)


def _grid(rows: list[Row], current: Row | None) -> None:
    st.html(legend_html())
    for first in range(0, len(rows), 2):
        for column, row in zip(st.columns(2, gap="small"), rows[first : first + 2], strict=False):
            with column:
                is_current = current is not None and row["triplet"] == current["triplet"]
                st.html(card_html(row, is_current, SMALL, whole=False))
                st.button(
                    f"Open no. {row['triplet']}", key=f"open-{row['triplet']}", type="tertiary", disabled=is_current,
                    on_click=open_triplet, args=(row["triplet"],),
                )  # fmt: skip


def _pager(total: int) -> None:
    pages = max(-(-total // PAGE), 1)
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.pagination(pages, key="page", bind="query-params", max_visible_pages=5)
        st.caption(f"{total:,} triplet{'' if total == 1 else 's'}, {PAGE} a page")


def _open(view: View, rows: list[Row], row: Row, total: int, page: int) -> None:
    """The open triplet with its buttons; every button has a key."""
    place = next((i for i, one in enumerate(rows) if one["triplet"] == row["triplet"]), None)
    at = None if place is None else (page - 1) * PAGE + place
    following = rows[place + 1]["triplet"] if place is not None and place + 1 < len(rows) else None
    with st.container(horizontal=True, gap="small"):
        for verdict, label, key, icon in VERDICTS:
            st.button(
                label, key=f"judge-{verdict}", shortcut=key, icon=icon, type="primary" if verdict == "keep" else "secondary",
                on_click=judge, args=(view, row["triplet"], at, following, verdict), **may_launch(),
            )  # fmt: skip
        st.button(
            "Edit",
            key="edit",
            shortcut="E",
            icon=":material/edit:",
            on_click=_edit,
            args=(row["triplet"],),
            **may_launch(),
        )
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            "Undo",
            key="undo",
            shortcut="U",
            icon=":material/undo:",
            on_click=_undo,
            args=(view,),
            **may_launch(),
        )
        st.button(
            "Previous", key="previous", shortcut="Left", icon=":material/arrow_back:", disabled=at is None or at == 0,
            on_click=_step, args=(view, (at or 0) - 1),
        )  # fmt: skip
        st.button(
            "Next", key="next", shortcut="Right", icon=":material/arrow_forward:", icon_position="right",
            disabled=at is None or at + 1 >= total, on_click=_step, args=(view, (at or 0) + 1),
        )  # fmt: skip
        st.caption(f"{at + 1:,} of {total:,}" if at is not None else "not in this list")
    if said := st.session_state.pop("review_said", None):
        st.toast(said)
    st.html(card_html(row, True, BIG))
    if st.session_state.get("editing") == row["triplet"]:
        _edit_form(view, row, at, following)
    own = "kept it" if row["run_kept"] else "left it out"
    st.caption(f"The run {own}: {literal(str(row['run_reason']))}")
    if row["factors"]:
        st.caption(f"Factors of the scene: {literal(str(row['factors'])[:400])}")
    _lineage(view, row)


def judge(
    view: View, triplet: int, at: int | None, following: int | None, verdict: str, **texts: str
) -> None:
    """Record a verdict of the reviewer and open the next of the list, `following` where the page has it; for callbacks."""
    turned_to = None
    if following is None and at is not None:
        following, turned_to = _at(view, at + 1), (at + 1) // PAGE + 1
    act = {"who": view.who, "triplet": triplet, "verdict": verdict, **texts}
    if attempt(lambda: client().review(view.id, [act])) is None:
        return
    st.session_state.pop("editing", None)
    go_to(following if following is not None else triplet)
    if following is not None and turned_to is not None:
        st.session_state["page"] = turned_to


def _at(view: View, place: int) -> int | None:
    """The triplet at a place of the list."""
    frame, _, _ = _rows(view, place // PAGE + 1)
    return int(frame["triplet"].iloc[place % PAGE]) if place % PAGE < len(frame) else None


def _step(view: View, place: int) -> None:
    found = _at(view, place)
    if found is not None:
        open_triplet(found)
        st.session_state["page"] = place // PAGE + 1


def _edit(triplet: int) -> None:
    st.session_state["editing"] = None if st.session_state.get("editing") == triplet else triplet
    st.query_params["triplet"] = str(triplet)


def _edit_form(view: View, row: Row, at: int | None, following: int | None) -> None:
    """Another question and answer; what is saved is used wherever this triplet is exported or trained on."""
    keys = {name: f"edit-{name}-{row['triplet']}" for name in ("question", "answer")}
    with st.form(f"edit-{row['triplet']}"):
        for name, key in keys.items():
            st.text_input(name.capitalize(), row[f"edited_{name}"] or row[name], max_chars=4000, key=key)
        st.form_submit_button(
            "Save the edit",
            type="primary",
            on_click=_save_edit,
            args=(view, row["triplet"], at, following, keys),
            **may_launch(),
        )
    if said := st.session_state.pop("edit_refused", None):
        st.error(said)


def _save_edit(view: View, triplet: int, at: int | None, following: int | None, keys: dict[str, str]) -> None:
    texts = {name: str(st.session_state[key]).strip() for name, key in keys.items()}
    if all(texts.values()):
        judge(view, triplet, at, following, "edit", **texts)
    else:
        st.session_state["edit_refused"] = "Question and answer: both need a text."


def _undo(view: View) -> None:
    """Take back the reviewer's last act and show the triplet it was about."""
    found = attempt(lambda: client().undo_review(view.id, view.who))
    if not found:
        st.session_state["review_said"] = "Nothing of yours is left to take back."
        return
    of = f"{found['count']:,} triplets" if found["count"] > 1 else f"no. {found['triplet']}"
    st.session_state["review_said"] = f"Taken back: {found['verdict']} of {of}."
    go_to(found["triplet"])


def _lineage(view: View, row: Row) -> None:
    """What was made of the same image in other rounds and seeds; asked for once it is opened."""
    panel = st.expander("The same image over rounds and seeds", key="lineage", on_change="rerun")
    if not panel.open:
        return
    query = {"cut": view.cut, "image": row["image"], "order": "triplet", "limit": LINEAGE}
    frame, total, _ = rows_of(view.id, view.version, query)
    shown = frame[
        ["round", "seed", "triplet", "type", "question", "answer", "score", "share", "kept", "truth"]
    ]
    with panel:
        st.dataframe(
            shown.sort_values(["round", "seed", "triplet"]), hide_index=True, alt="Triplets of the same image, by round and seed",
            column_config={
                "score": st.column_config.NumberColumn("S", format="%.3f"),
                "share": st.column_config.NumberColumn("place", format="percent"),
                "kept": st.column_config.CheckboxColumn("kept"),
            },
        )  # fmt: skip
        more = f" The first {LINEAGE} of {total:,}." if total > LINEAGE else ""
        st.caption(f"Round k is written by a model that was trained on what round k − 1 kept.{more}")


def _reviewers(view: View) -> None:
    """Who judged how many, how far they agree, and the log."""
    found = client().reviews(view.id)
    with st.expander(f"Reviewers and log: {found['version']:,} acts"):
        if not found["acts"]:
            st.caption("Nobody has judged a triplet of this run yet.")
            return
        st.dataframe(pd.DataFrame(found["reviewers"]), hide_index=True, alt="Verdicts by reviewer")
        for pair in found["agreement"]:
            st.caption(literal(agreement_words(pair)))
        now = time.time()
        log = pd.DataFrame(
            [
                {
                    "when": ago(act["when"]) if now - act["when"] < 86400 else time.strftime("%Y-%m-%d %H:%M", time.localtime(act["when"])),
                    "who": act["who"], "act": act.get("verdict", "undo"), "triplet": act.get("triplet"),
                    "text": f"{act['question']} → {act['answer']}" if act.get("verdict") == "edit" else "",
                    "taken back": act["undone"],
                }
                for act in found["acts"]
            ]
        )  # fmt: skip
        st.dataframe(log, hide_index=True, alt="The newest acts first", placeholder="")


def agreement_words(pair: dict[str, Any]) -> str:
    """Two reviewers' agreement in a sentence."""
    names = f"{pair['first']} and {pair['second']}"
    if not pair["n"]:
        return f"{names} have judged no triplet in common."
    kappa = "not defined, as both always said the same" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
    return f"{names} agree on {pair['share']:.0%} of {pair['n']:,} judged by both (Cohen's κ {kappa})."
