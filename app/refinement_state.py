"""The page Refinement without results: the tour, the training under way with its curves, or why it ended."""

import streamlit as st

from analyses.figures import PLOTLY_CONFIG
from analyses.sr2_figures import LIVE, training_figure
from app.connection import client, stay_connected
from app.refinement_parts import STUDY
from app.study_runs import (
    Run,
    choose_run,
    continue_button,
    ended_early,
    known_runs,
    nothing_yet,
    stop_button,
)
from app.widgets import ACTIVE, describe, literal, new_events, show_progress, show_refusal, state_badge

EMPTY = (
    "No reasoner has been trained yet. The tour trains a small recurrent one on 4×4 Sudokus with three seeds, keeps every board it "
    "passes through, and shows what it changes its mind about, how far its state still moves, and whether two seeds think alike."
)
TRAINING = (
    "Every seed applies one transformer block again and again to the puzzle's state and compares after each alignment block. "
    "Boards, curves and the comparison of seeds appear here when all seeds are done."
)


def finished_run() -> tuple[Run, dict[str, Run]]:
    """The chosen run, if it is done, and all that are known; ends the page with what to do when it is not."""
    known = known_runs(STUDY)
    if not known:
        nothing_yet(STUDY, EMPTY, "Train a first reasoner")
        st.stop()
    run = choose_run(STUDY, known)
    if run["state"] in ACTIVE:
        training(run["id"])
        st.stop()
    if run["state"] != "done":
        ended_early(run)
        continue_button(run)
        _curves(run["id"])
        st.stop()
    return run, known


@st.fragment(run_every=1)
def training(run_id: str) -> None:
    """Progress, a button that stops with a checkpoint, and live curves of a queued or running run."""
    stay_connected()
    run = client().run(run_id)
    st.markdown(f"{state_badge(run['state'])} {literal(describe(run))}")
    show_progress(run)
    show_refusal()
    stop_button(run)
    st.caption(TRAINING)
    _curves(run_id)
    if run["state"] not in ACTIVE:
        st.rerun()


def _curves(run_id: str) -> None:
    """Loss of every seed, and what it solves of the validation puzzles so far."""
    rows = [row for row in new_events(run_id) if row["kind"] == "log"]
    shown = [name for name in LIVE if any(name in row for row in rows)]
    for column, name in zip(st.columns(len(LIVE)), shown, strict=False):
        figure = training_figure(rows, name)
        column.plotly_chart(
            figure, theme=None, key=f"live-{name}", alt=figure.layout.meta["alt"], config=PLOTLY_CONFIG
        )  # fmt: skip
