"""The head of a page about one run of a study: which run, what to do when there is none, how an unfinished one stands."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.connection import client, may_launch, stay_connected
from app.launches import LISTED
from app.widgets import (
    ACTIVE,
    PAGES,
    attempt,
    describe,
    literal,
    live_curves,
    show_progress,
    state_badge,
    worker_output,
)
from engine.client import EngineError

Run = dict[str, Any]
TOUR_SEEDS = (0, 1, 2)


def known_runs(study: str) -> dict[str, Run]:
    """Every run of the study, newest first, by id."""
    return {run["id"]: run for run in client().runs(study=study, limit=LISTED)}


def choose_run(study: str, known: dict[str, Run]) -> Run:
    """The run of the page, kept in the URL as ?run=id and, for the other pages of the study, in the session.

    `known` must not be empty; a run older than those in it is asked for and added.
    """
    key, kept = f"run_of_{study}", f"run_kept_{study}"
    link, last = st.query_params.get("run", ""), st.session_state.get(kept, "")
    if link and link != last and not _find(link, study, known):
        st.warning(f"No run of this study is called {literal(link[:40])}; choose one below.")
    if link != last or key not in st.session_state:
        asked = (run for run in (link, last) if _find(run, study, known))
        st.session_state[key] = next(asked, None) or _newest(known)
    chosen = st.selectbox("Run", list(known), key=key, format_func=lambda run: describe(known[run]))
    st.session_state[kept] = chosen
    if st.query_params.get("run") != chosen:
        st.query_params["run"] = chosen
    return known[chosen]


def _newest(known: dict[str, Run]) -> str:
    """The newest finished run, or the newest."""
    return next((id for id, run in known.items() if run["state"] == "done"), next(iter(known)))


def _find(run_id: str, study: str, known: dict[str, Run]) -> bool:
    if run_id not in known and run_id.isalnum():
        try:
            run = client().run(run_id)
        except EngineError:
            return False
        if run["study"] == study:
            known[run_id] = run
    return run_id in known


def open_run(study: str, run_id: str) -> None:
    """Show another run on the page; for callbacks."""
    st.session_state[f"run_of_{study}"] = st.session_state[f"run_kept_{study}"] = run_id
    st.query_params["run"] = run_id


def start_tour(study: str, seeds: Sequence[int] = TOUR_SEEDS) -> Run | None:
    """Queue the study's tour, or find the one that exists; for callbacks. A refusal is kept for `show_refusal`."""
    run: Run | None = attempt(lambda: client().submit(study, {}, list(seeds), preset="tour"))
    if run:
        open_run(study, run["id"])
    return run


def _start(study: str) -> None:
    start_tour(study)


def nothing_yet(study: str, sentence: str, button: str) -> None:
    """The page of a study without runs: what will stand here, and a button that starts the tour."""
    st.info(sentence)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            button,
            type="primary",
            on_click=_start,
            args=(study,),
            icon=":material/play_arrow:",
            **may_launch(),
        )
        st.page_link(
            PAGES["new"],
            label="Set up a run of your own",
            icon=":material/tune:",
            query_params={"study": study},
        )


def finished_run(study: str, sentence: str, button: str, note: str) -> Run:
    """The chosen run if it is done; ends the page with what to do when it is not, or when there is none.

    `sentence` and `button` offer the tour (`nothing_yet`), `note` says what appears when a run is done (`unfinished`).
    """
    known = known_runs(study)
    if not known:
        nothing_yet(study, sentence, button)
        st.stop()
    run = choose_run(study, known)
    if run["state"] != "done":
        unfinished(run, note)
        st.stop()
    return run


def unfinished(run: Run, note: str = "") -> None:
    """A run without results: its progress and curves, or why it ended and how to go on."""
    if run["state"] in ACTIVE:
        watch(run["id"], note)
    else:
        ended_early(run)


@st.fragment(run_every=1)
def watch(run_id: str, note: str = "", metrics: tuple[str, ...] | None = None) -> None:
    """Progress and live curves of a queued or running run (every metric it logs, or `metrics`)."""
    stay_connected()
    run = client().run(run_id)
    st.markdown(f"{state_badge(run['state'])} {literal(describe(run))}")
    show_progress(run)
    if note:
        st.caption(note)
    live_curves(run_id, metrics, f"live-{run_id}")
    if run["state"] not in ACTIVE:
        st.rerun()


def stop_button(run: Run) -> None:
    """Ends a queued or running run, which keeps a checkpoint."""
    st.button(
        "Stop and keep a checkpoint",
        icon=":material/stop:",
        on_click=_stop,
        args=(run["id"],),
        **may_launch(disabled=run["stopping"]),
    )


def continue_button(run: Run) -> None:
    """Goes on with a run that ended early."""
    st.button(
        "Continue from the last checkpoint",
        icon=":material/play_arrow:",
        on_click=_resume,
        args=(run["id"],),
        **may_launch(),
    )


def _stop(run_id: str) -> None:
    attempt(lambda: client().cancel(run_id))


def _resume(run_id: str) -> None:
    attempt(lambda: client().resume(run_id))


def ended_early(run: Run) -> None:
    """Why a run has no result, and what can be done about it."""
    st.markdown(f"{state_badge(run['state'])} {literal(describe(run))}")
    if run["error"]:
        st.error(run["error"])
    with st.container(horizontal=True):
        st.page_link(
            PAGES["jobs"],
            label="Resume it under Jobs",
            icon=":material/play_arrow:",
            query_params={"run": run["id"]},
        )
        st.page_link(
            PAGES["new"],
            label="Clone it with other settings",
            icon=":material/content_copy:",
            query_params={"clone": run["id"]},
        )
    worker_output(run["id"])
