"""The page Denoising without results: the tour, the training under way with its reward curves, or why it ended."""

from typing import Any

import streamlit as st

from analyses.figures import PLOTLY_CONFIG
from analyses.sapo_figures import reinforcement
from analyses.sapo_frames import MEASURES, curve, curve_from_log, smoothed
from app.connection import client, stay_connected
from app.denoising_live import bundled_section
from app.denoising_parts import STUDY
from app.study_runs import (
    Run,
    choose_run,
    continue_button,
    ended_early,
    known_runs,
    nothing_yet,
    stop_button,
)
from app.widgets import (
    ACTIVE,
    describe,
    literal,
    live_curves,
    new_events,
    show_progress,
    show_refusal,
    state_badge,
)

EMPTY = (
    "No denoiser has been reinforced yet. The tour starts from a bundled base model of 0.1 million parameters that solves two in "
    "five chains of three digit operations, mostly with a filler trace; reinforces it by outcome (diffu-GRPO) and by step-aware "
    "reward (SAPO) for a minute or two; and keeps every denoising step of its test rollouts."
)
TRAINING = "Rollouts of each iteration, as a running mean of five; V(t), trajectories and spans appear when all seeds are evaluated."
SHOWN = ("reward", "exact", "junk", "trace_valid", "informative")
WINDOW = 5


def finished_run() -> tuple[Run, dict[str, Run]]:
    """The chosen run, if it is done, and all that are known; ends the page with what to do when it is not."""
    known = known_runs(STUDY)
    if not known:
        nothing_yet(STUDY, EMPTY, "Reinforce a first denoiser")
        bundled_section()
        st.stop()
    run = choose_run(STUDY, known)
    if run["state"] in ACTIVE:
        training(run["id"])
        bundled_section()
        st.stop()
    if run["state"] != "done":
        _ended(run)
        st.stop()
    return run, known


def _ended(run: Run) -> None:
    """Why it ended, the curves so far, and a button that goes on from the last checkpoint."""
    ended_early(run)
    continue_button(run)
    _curves(run["id"])


@st.fragment(run_every=1)
def training(run_id: str) -> None:
    """Progress, a button that stops with a checkpoint, and live reward curves of a queued or running run."""
    stay_connected()
    run = client().run(run_id)
    st.markdown(f"{state_badge(run['state'])} {literal(describe(run))}")
    show_progress(run)
    show_refusal()
    stop_button(run)
    _curves(run_id)
    if run["state"] not in ACTIVE:
        st.rerun()


def _curves(run_id: str) -> None:
    """Reward, accuracy, junk and share of groups with an advantage by arm; of a base under training its loss."""
    rows: list[dict[str, Any]] = [row for row in new_events(run_id) if row["kind"] == "log"]
    found = {measure: curve_from_log(rows, measure) for measure in SHOWN}
    if found["exact"]["exact"].equals(found["reward"]["reward"]):
        del found["exact"]
    drawn = {measure: frame for measure, frame in found.items() if len(frame)}
    measures = list(drawn)
    for first in range(0, len(measures), 2):
        for column, measure in zip(st.columns(2), measures[first : first + 2], strict=False):
            mean = curve(smoothed(drawn[measure], measure, WINDOW), measure, "training")
            figure = reinforcement(mean, measure, MEASURES[measure], "training")
            column.plotly_chart(
                figure, theme=None, key=f"live-{measure}", alt=figure.layout.meta["alt"], config=PLOTLY_CONFIG
            )  # fmt: skip
    if drawn:
        st.caption(TRAINING)
    else:
        live_curves(run_id, ("base_loss",), f"live-{run_id}")
