"""Functional checks of a run, from its feature cards: columns for tables of runs, and a section of a page."""

from typing import Any

import streamlit as st

from analyses.functional_checks import LOSS, check_columns, checks_table, probe_figure
from app.connection import client, may_launch, table
from app.launches import LISTED
from app.widgets import ACTIVE, PAGES, attempt, picture, show_progress
from engine.client import EngineError

CARDS = "feature_cards"
HELP = {
    LOSS: "Mean over seeds: share of the model's loss, between zeros and its own activations, that the SAE keeps. "
    "From the run's feature cards.",
    "probe": "Mean over seeds: accuracy on test texts of a probe on 5 features. From the run's feature cards.",
}


def finished_cards() -> dict[str, str]:
    """The newest finished feature_cards job of every run that has one."""
    jobs = client().runs(study=CARDS, state="done", limit=LISTED)
    return {job["config"]["of"]: job["id"] for job in reversed(jobs)}


def figures_of(run_id: str, cards: dict[str, str]) -> dict[str, float]:
    """A run's columns for a table of runs; none where it has no feature cards. `cards` as `finished_cards` gives it."""
    job = cards.get(run_id)
    return check_columns(table(job, "checks"), table(job, "probes")) if job else {}


def column_config(names: Any) -> dict[str, Any]:
    """How a table of runs shows those of its columns `names` that come from here."""
    return {
        name: st.column_config.NumberColumn(format="%.3f", help=HELP[LOSS if name == LOSS else "probe"])
        for name in names
        if name == LOSS or str(name).startswith("probe: ")
    }


def checks_section(run_id: str) -> None:
    """What the SAEs of a run are good for, or how to have it measured."""
    st.subheader("Functional checks")
    try:
        job = client().cards_job(run_id)
    except EngineError as error:
        st.info(error.message)
        return
    if job is None or job["state"] != "done":
        _not_yet(run_id, job)
        return
    checks, probes = table(job["id"], "checks"), table(job["id"], "probes")
    if len(checks):
        _loss_recovered(checks)
    else:
        st.info(
            "Loss recovered was not measured: that needs a language model and feature cards with checks_tokens above 0."
        )
    if len(probes):
        picture(probe_figure(probes), probes, f"probes-{run_id}")
        st.caption(
            "Logistic regression on the k features whose means differ most between the labels; features, pooling over "
            "tokens and regularisation are chosen without the test texts. Sentiment: snippets of four domains rated −1 or "
            "less against 1 or more. The bundled mix holds these texts too, so the SAEs have read them, without labels."
        )
    else:
        st.info(
            "Nothing was probed: that needs a language model, probe_documents above 0 and a labelled corpus that is installed."
        )


def _loss_recovered(checks: Any) -> None:
    shown = checks_table(checks)
    st.markdown(
        f"With the SAE in the model **{checks['loss_recovered'].mean():.1%}** of the loss is recovered, mean of "
        f"{len(checks)} seed{'s' if len(checks) > 1 else ''}: 100 % is the model itself, 0 % zeros in place of its activations."
    )
    st.dataframe(
        shown,
        hide_index=True,
        alt="Cross-entropy and KL of every seed, with the SAE and with zeros in the model",
        placeholder="–",
        column_config={name: st.column_config.NumberColumn(format="%.4f") for name in shown.columns[1:-1]},
    )


def _not_yet(run_id: str, job: dict[str, Any] | None) -> None:
    if job is not None and job["state"] in ACTIVE:
        st.info("Loss recovered and sparse probing appear here when the run's feature cards are made.")
        show_progress(job)
        return
    st.info("Loss recovered and sparse probing come with the run's feature cards, which are not made yet.")
    st.button(
        "Make feature cards",
        on_click=lambda: attempt(lambda: client().make_cards(run_id)),
        icon=":material/style:",
        key=f"cards-{run_id}",
        **may_launch(),
    )
    if job is not None:
        st.page_link(
            PAGES["jobs"], label="What became of the last try", query_params={"run": job["id"]},
            icon=":material/error:",
        )  # fmt: skip
