"""The page's way to the engine: one client, cached reads, and what to show when it is down."""

import time
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.sign_in import current_role
from engine.client import Client, EngineDown, EngineError, connect

CHECKED_FOR = 1.0  # seconds an answer of the engine is trusted
DOWN = "The engine is not running. Start it in a terminal with `concordance up`; this page goes on by itself."


def client() -> Client:
    """A client of the running engine in the session's role; ends the page with what to do when there is none."""
    try:
        return _connected(current_role())
    except EngineError:
        engine_down()
        st.stop()


ONLY_VIEW = (
    "You may look but not change anything here; ask whoever runs this Concordance for the launch role."
)


def may_launch(disabled: bool = False, help: str | None = None) -> dict[str, Any]:
    """`disabled` and `help` of a button that launches, writes or deletes: off, with the reason, for who may only look."""
    if current_role() == "launch":
        return {"disabled": disabled, "help": help}
    return {"disabled": True, "help": ONLY_VIEW}


def engine_down() -> None:
    """Say that no engine answers, and run the page again when one does."""
    st.error(DOWN, icon=":material/power_off:")
    _wait_for_engine()


def stay_connected() -> None:
    """First line of every part that refreshes itself: the whole page runs again when the engine is gone."""
    try:
        _connected(current_role()).health()
    except EngineError:
        st.rerun()


@st.fragment(run_every=2)
def _wait_for_engine() -> None:
    try:
        _connected(current_role())
    except EngineError:
        return
    st.rerun()


@st.cache_resource(validate=lambda found: _answers(found))
def _connected(role: str) -> Client:
    return connect(start=False, role=role, session=_session)


def _session() -> str:
    """The browser's session, whose share of the engine's limits a call counts against."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context else ""


def _answers(found: Client) -> bool:
    last = _CHECKED.get(found.address, 0.0)
    if time.monotonic() - last < CHECKED_FOR:
        return True
    try:
        found.health()
    except EngineDown:
        return False
    _CHECKED[found.address] = time.monotonic()
    return True


_CHECKED: dict[str, float] = {}


@st.cache_data(ttl=3600, show_spinner=False)
def studies() -> dict[str, dict[str, Any]]:
    """Studies by name."""
    return {study["name"]: study for study in client().studies()}


@st.cache_data(ttl=3600, show_spinner=False)
def has_browser() -> bool:
    """Whether the engine can render figures to files."""
    return bool(client().system()["browser"])


@st.cache_data(max_entries=1000, show_spinner=False)
def table(
    run_id: str,
    name: str,
    where: dict[str, Any] | None = None,
    order: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> pd.DataFrame:
    """Rows of a finished run's table."""
    return client().table(run_id, name, where=where, order=order, limit=limit, offset=offset).to_pandas()


@st.cache_data(max_entries=400, show_spinner=False)
def cross_match(a: tuple[str, int], b: tuple[str, int], subset: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Summary and matched features of two SAEs of different runs."""
    found = client().match(a, b, subset)
    return found["summary"], found["matches"].to_pandas()
