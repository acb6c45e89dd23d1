"""Explore's ground: the runs, cached answers of the engine, the opened features, and runs without cards."""

from typing import Any

import pandas as pd
import streamlit as st

from app.bring import bring_button
from app.connection import client, may_launch, stay_connected
from app.consistency_parts import STUDY
from app.launches import LISTED
from app.widgets import ACTIVE, PAGES, attempt, describe, literal, show_progress
from engine.client import EngineError

Run = dict[str, Any]
Feature = tuple[str, int, int]  # run, seed, index
KEPT_FOR = 60  # seconds an answer that other people can change is trusted
TEXTS = ["label", "label_source", "tokens", "lists", "note"]
BESIDE = 3  # other runs whose twins a card shows
SAME_VECTORS = ("source", "model", "hook_point")


@st.cache_data(max_entries=300, ttl=KEPT_FOR, show_spinner=False)
def feature_page(query: dict[str, Any], limit: int, offset: int) -> tuple[pd.DataFrame, int]:
    """Rows of the feature table, texts empty where missing, and how many pass the filters."""
    found, total = client().features(**query, limit=limit, offset=offset)
    frame = found.to_pandas()
    return frame.assign(**{name: frame[name].fillna("") for name in TEXTS}), total


@st.cache_data(max_entries=300, ttl=KEPT_FOR, show_spinner="Reading the card")
def card_of(run: str, seed: int, feature: int, beside: tuple[str, ...]) -> dict[str, Any]:
    """A feature's card, with its twins in the runs `beside`."""
    return client().card(run, seed, feature, list(beside))


@st.cache_data(ttl=KEPT_FOR, show_spinner=False)
def list_names() -> list[str]:
    """The lists that features have been put in."""
    return sorted({row["name"] for row in client().library()["lists"]})


def forget() -> None:
    """Ask the engine anew: labels, lists or cards have changed."""
    feature_page.clear()
    card_of.clear()
    list_names.clear()


def finished_runs() -> dict[str, Run]:
    """Finished runs whose features can be browsed, newest first, by id."""
    return {run["id"]: run for run in client().runs(study=STUDY, state="done", limit=LISTED)}


def _default(known: dict[str, Run]) -> str:
    """The newest run with cards, or else the newest of a language model, or else the newest."""
    carded = [run["config"]["of"] for run in client().runs(study="feature_cards", state="done", limit=20)]
    models = [run["id"] for run in known.values() if run["config"]["source"] == "language_model"]
    return next((run for run in [*carded, *models, *known] if run in known), "")


def choose_runs(known: dict[str, Run], key: str = "explore_runs") -> list[Run]:
    """The run set, kept in the URL as ?runs=id,id and for the rest of the session."""
    link = st.query_params.get("runs", "")
    asked = [
        run for run in dict.fromkeys((link or st.session_state.get("run_set_url", "")).split(",")) if run
    ]
    missing = [run for run in asked if not find(run, known)] if key not in st.session_state else []
    if missing and link:
        st.warning(
            f"No finished run is called {literal(', '.join(missing)[:200])}; choose from those below.",
            icon=":material/search_off:",
        )
    if key not in st.session_state or (link and link != st.session_state.get(f"{key}_url")):
        st.session_state[key] = [run for run in asked if run in known] or [_default(known)]
    chosen = st.multiselect("Runs", list(known), key=key, format_func=lambda run: describe(known[run]))
    st.query_params["runs"] = st.session_state[f"{key}_url"] = ",".join(chosen)
    if chosen:
        st.session_state["run_set_url"] = ",".join(chosen)
    return [known[run] for run in chosen]


def find(run_id: str, known: dict[str, Run]) -> bool:
    """Whether the run is finished; one older than those listed is asked for and added."""
    if run_id not in known and run_id.isalnum():
        try:
            run = client().run(run_id)
        except EngineError:
            return False
        if run["study"] == STUDY and run["state"] == "done":
            known[run_id] = run
    return run_id in known


def beside(run_id: str, runs: list[Run]) -> tuple[str, ...]:
    """The other chosen runs that learnt the same vectors, whose features can be twins."""
    own = next((run["config"] for run in runs if run["id"] == run_id), None)
    same = [
        run["id"]
        for run in runs
        if own
        and run["id"] != run_id
        and all(run["config"].get(name) == own.get(name) for name in SAME_VECTORS)
        and (own["source"] != "synthetic" or run["config"]["d_in"] == own["d_in"])
    ]
    return tuple(same[:BESIDE])


def opened(runs: list[Run]) -> Feature | None:
    """The feature of the link: ?seed=&feature=, of ?run= or of the first chosen run."""
    asked = st.query_params
    return _feature(asked.get("run") or runs[0]["id"], asked.get("seed", ""), asked.get("feature", ""))


def compared() -> Feature | None:
    """The feature beside it: ?compare=run:seed:feature."""
    parts = st.query_params.get("compare", "").split(":")
    return _feature(*parts) if len(parts) == 3 else None


def _feature(run: str, seed: str, feature: str) -> Feature | None:
    is_named = run.isalnum() and all(
        part.isascii() and part.isdigit() and len(part) < 10 for part in (seed, feature)
    )
    return (run, int(seed), int(feature)) if is_named else None


def open_feature(run: str, seed: int, feature: int) -> None:
    """Open a card; for callbacks. The link follows."""
    named = {"seed": str(seed), "feature": str(feature)}
    if st.query_params.get("runs") == run:
        st.query_params.pop("run", None)
    else:
        named["run"] = run
    st.query_params.update(named)


def key_of(card: dict[str, Any]) -> Feature:
    """The feature a card is of."""
    return card["run"], card["seed"], card["feature"]


def compare_with(run: str, seed: int, feature: int) -> None:
    """Put a second card beside the open one; for callbacks."""
    st.query_params["compare"] = f"{run}:{seed}:{feature}"


def close_comparison() -> None:
    st.query_params.pop("compare", None)


def nothing_trained() -> None:
    """What to do where there is no finished run."""
    st.info("Nothing to explore yet: features come from a finished run, or from an SAE you already have.")
    with st.container(horizontal=True):
        st.page_link(PAGES["home"], label="Start the tour on Home", icon=":material/play_arrow:")
        st.page_link(PAGES["new"], label="Set up a run", icon=":material/add_circle:")
        bring_button()


def cards_missing(runs: list[Run]) -> bool:
    """For chosen runs without cards: what is missing, a button that makes them, and how far they are.

    Returns whether any of the runs has cards.
    """
    worlds = [run for run in runs if run["config"]["source"] == "synthetic"]
    jobs = {run["id"]: client().cards_job(run["id"]) for run in runs if run not in worlds}
    made = sorted(job["id"] for job in jobs.values() if job and job["state"] == "done")
    if st.session_state.get("cards_made") != made:
        st.session_state["cards_made"] = made
        forget()
    active = [job["id"] for job in jobs.values() if job and job["state"] in ACTIVE]
    if active:
        _watch(active)
    failed = [job for job in jobs.values() if job and job["state"] not in (*ACTIVE, "done")]
    for job in failed:
        st.warning(f"Making feature cards stopped: {job['error'] or job['state']}.")
    without = [run for run, job in jobs.items() if job is None or job in failed]
    if without:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            many = "This run has" if len(runs) == 1 else f"{len(without)} of these runs have"
            st.markdown(
                f"{many} no feature cards yet: no text, logits or nearest features. Numbers and twins are here already.",
                width="stretch",
            )
            st.button(
                "Make feature cards",
                type="primary",
                icon=":material/style:",
                on_click=_make_cards,
                args=(without,),
                key="make-cards",
                **may_launch(
                    help="One pass over the training text, in the background; resumes where it stopped."
                ),
            )
    if worlds:
        st.caption(
            "A synthetic world has no text and no logits: its features are known directions. Numbers, true features and "
            "twins in other seeds are shown."
        )
    return bool(made)


def _make_cards(runs: list[str]) -> None:
    for run in runs:
        job = client().cards_job(run)
        attempt(lambda run=run, job=job: client().resume(job["id"]) if job else client().make_cards(run))


@st.fragment(run_every=1)
def _watch(jobs: list[str]) -> None:
    stay_connected()
    found = [client().run(job) for job in jobs]
    for job in found:
        if job["state"] in ACTIVE:
            st.caption(f"Feature cards of run {job['config']['of'][:6]} are being made.")
            show_progress(job)
    if any(job["state"] not in ACTIVE for job in found):
        forget()
        st.rerun()
