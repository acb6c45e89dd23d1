"""The view of the triplets: cut, filters, queue and open triplet, all in the link, and the engine's answers to it, cached."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from analyses.srf import SCORES, TIES
from app.causal_parts import choice
from app.connection import client
from app.denoising_parts import linked_choice
from app.study_runs import Run

PAGE = 8
WHO = "reviewer 1"
QUEUES = {
    "all": "All",
    "consistent_wrong": "Consistent but wrong",
    "inconsistent_right": "Inconsistent but right",
    "sample": "A random 100 + 100",
    "not_reviewed": "Not reviewed",
    "reviewed": "Reviewed",
    "edited": "Edited",
    "disputed": "Disputed",
    "tied": "Tied at S = 1",
}
ORDERS = {
    "share": "Place in its type",
    "score": "Score",
    "sim_question": "Similarity of questions",
    "sim_answer": "Similarity of answers",
    "logp_generation": "Confidence, generated pair",
    "logp_answer": "Confidence, answer again",
    "triplet": "Number",
    "random": "Random",
}
Query = dict[str, Any]


@dataclass(frozen=True)
class View:
    """What the page looks at: a run, what there is to choose from, the query without its page, the reviewer."""

    run: Run
    overview: dict[str, Any]
    query: Query
    who: str
    version: int

    @property
    def id(self) -> str:
        return str(self.run["id"])

    @property
    def cut(self) -> Query:
        cut: Query = self.query["cut"]
        return cut


@st.cache_data(max_entries=50, show_spinner=False)
def overview(run_id: str, finished: float) -> dict[str, Any]:
    return client().triplet_overview(run_id)


@st.cache_data(max_entries=200, show_spinner=False)
def summary_of(run_id: str, version: int, query: Query) -> dict[str, Any]:
    """The engine's summary; `version` is that of the reviews."""
    return client().triplet_summary(run_id, **query)


@st.cache_data(max_entries=200, show_spinner=False)
def rows_of(run_id: str, version: int, query: Query) -> tuple[pd.DataFrame, int, int | None]:
    """A page of triplets, how many pass, and the place of the one asked for in `place_of`."""
    found, total, place = client().triplets(run_id, **query)
    return found.to_pandas(), total, place


def back_to_first_page() -> None:
    """The filters have changed: the list starts anew."""
    st.session_state["page"] = 1
    st.query_params.pop("triplet", None)


BOUND: dict[str, Any] = {"bind": "query-params", "on_change": back_to_first_page}


def cut_controls(known: dict[str, Any]) -> Query:
    """Score, ties, and the share (or value) that is kept."""
    cells = st.columns([3, 3.2, 2, 4.4], vertical_alignment="bottom")
    with cells[0]:
        score = linked_choice("Rank by", SCORES, "score", "run")
    with cells[1]:
        ties = choice(
            "Ties", list(TIES), "ties", format_func=TIES.__getitem__, on_change=back_to_first_page,
            disabled=score in ("run", "random"),
            help="Most triplets of short answers have S = 1 exactly; the paper does not say how it chooses among them.",
        )  # fmt: skip
    with cells[2]:
        by = choice("Keep by", ["share", "value"], "by", on_change=back_to_first_page)
    with cells[3]:
        cut = _by_value(score) if by == "value" else _by_share(known)
    return {"score": score, "ties": ties, **cut}


def _by_share(known: dict[str, Any]) -> Query:
    keep = st.slider(
        "Keep the best … of every type", 1, 100, round(100 * known["keep"]), format="%d %%", key="keep", **BOUND,
        help="The paper keeps the best 20 % of each type, never a threshold over all types.",
    )  # fmt: skip
    return {
        "keep": keep / 100,
        "keeps": {name: share / 100 for name, share in own_cuts(known["types"]).items()},
    }


def _by_value(score: str) -> Query:
    low, high = (-6.0, 0.0) if score.startswith("confidence") else (0.0, 1.0)
    key = "least_logp" if low < 0 else "least"
    start = round(low + 0.8 * (high - low), 2)
    least = st.slider("Keep all from this value on", low, high, start, 0.01, key=key, **BOUND)
    return {"least": float(least)}


def own_cuts(types: list[str]) -> dict[str, int]:
    """Shares in per cent of types with a cut of their own: ?cuts=colour:35,shape:10."""
    found = {}
    for part in st.query_params.get("cuts", "").split(","):
        name, _, share = part.rpartition(":")
        if name in types and share.isdecimal() and 0 <= int(share) <= 100:
            found[name] = int(share)
    return found


def set_own_cut(types: list[str], name: str, share: int | None) -> None:
    """Give a type its own cut, or take it away; for callbacks."""
    cuts = own_cuts(types)
    cuts.pop(name, None)
    if share is not None:
        cuts[name] = share
    text = ",".join(f"{one}:{cut}" for one, cut in sorted(cuts.items()))
    if text:
        st.query_params["cuts"] = text
    else:
        st.query_params.pop("cuts", None)
    back_to_first_page()


def filters(known: dict[str, Any]) -> Query:
    """Which triplets are listed, and in which order."""
    cells = st.columns([3, 1.6, 1.4, 3], vertical_alignment="bottom")
    types = cells[0].multiselect("Types", known["types"], key="types", placeholder="all types", **BOUND)
    seeds = cells[1].multiselect("Seeds", known["seeds"], key="seeds", placeholder="all seeds", **BOUND)
    rounds = cells[2].multiselect("Rounds", known["rounds"], key="rounds", placeholder="all", **BOUND)
    text = cells[3].text_input(
        "Text in Q, A, Q′ or A′", key="text", placeholder="any text", icon=":material/search:", **BOUND
    )
    return {
        "types": types or None,
        "seeds": seeds or None,
        "rounds": rounds or None,
        "text": (text or "")[:200],
    }


def listing() -> Query:
    """Queue, side of the cut and order of the grid."""
    cells = st.columns([3, 3, 3, 2], vertical_alignment="bottom")
    with cells[0]:
        queue = linked_choice("Queue", QUEUES, "queue", "all")
    with cells[1]:
        shown = choice("Show", ["all", "kept", "rejected"], "shown", on_change=back_to_first_page)
    with cells[2]:
        order = linked_choice("Sort by", ORDERS, "order", "share")
    descending = cells[3].toggle("Descending", key="down", **BOUND)
    return {"queue": queue, "shown": shown, "order": order, "descending": descending}


def reviewer() -> str:
    """The name under which verdicts are kept (?who=)."""
    name = st.text_input(
        "Reviewer", WHO, key="who", bind="query-params", max_chars=60,
        help="Everyone's verdicts are kept apart under their own name; use another name for another person.",
    )  # fmt: skip
    return (name or "").strip() or WHO


def opened() -> int | None:
    """The triplet of the link."""
    text = st.query_params.get("triplet", "")
    return int(text) if text.isdecimal() and len(text) < 16 else None


def open_triplet(number: int) -> None:
    """Show a triplet beside the grid; for callbacks."""
    st.query_params["triplet"] = str(number)
    st.session_state.pop("editing", None)


def go_to(number: int) -> None:
    """Open a triplet, and then the page of the grid on which it stands; for callbacks."""
    open_triplet(number)
    st.session_state["follow"] = number
