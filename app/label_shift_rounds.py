"""Trajectories of the arms, round by round, and the table of arms."""

import streamlit as st

from analyses.label_shift_figures import deployments, trajectories
from analyses.label_shift_frames import (
    ADAPTER,
    EM,
    FINE_TUNE,
    MEASURES,
    NONE,
    ORACLE,
    TAU,
    arm_scores,
    late,
    running,
    steps,
)
from app.causal_parts import choice, forget_unless
from app.label_shift_parts import arms_of, rounds_of, swap_of
from app.study_runs import Run
from app.widgets import picture

SHOWN = (NONE, TAU, ADAPTER, EM, ORACLE, FINE_TUNE)
WINDOW = 12
LATE, SWAPPED = "late rounds", "after the swap"
NATS, SHARE = "%.4f", "percent"
COLUMNS = {
    "arm": ("arm", None, None),
    "needs": (
        "needs",
        None,
        "What it must know; this round's inputs or labels are not there before a forecast is due",
    ),
    "excess_nll": (
        "excess loss",
        NATS,
        "Over the correction with the true class shares on the same rows, nats",
    ),
    "interval": ("95 % interval", None, "Of the mean excess loss over seeds"),
    "kl": ("forecast error", NATS, "KL(p ‖ believed shares), nats"),
    "accuracy": ("accuracy", SHARE, "In the arm's own world: an arm's corrections change what it meets next"),
    "nll": ("log loss", NATS, "In the arm's own world, nats"),
    "shift": ("shift", NATS, "KL(p ‖ uniform): how far its own world has moved, nats"),
    "seeds": ("seeds", None, None),
}


@st.fragment
def rounds_section(run: Run) -> None:
    """The running mean of a measure, a few rounds in full, and every arm in a row."""
    st.subheader("Deployments")
    arms = arms_of(run)
    left, middle, right = st.columns([4, 6, 2], vertical_alignment="bottom")
    with left:
        words = choice("Measure", [_short(name) for name in MEASURES], "measure")
        measure = next(name for name in MEASURES if _short(name) == words)
    with middle:
        start = [arm for arm in SHOWN if arm in arms]
        chosen = st.multiselect("Arms", arms, start, key="arms", bind="query-params", placeholder="none")
    with right:
        window = int(
            str(
                st.select_slider(
                    "Running mean over", [1, 5, 10, 25], 10, key="window", bind="query-params",
                    help="Rounds; of each seed, before seeds are averaged.",
                )
            )
        )  # fmt: skip
    rounds = rounds_of(run)
    one, two = st.columns(2)
    with one:
        frame = running(rounds, measure, chosen, window)
        picture(trajectories(frame, measure, window, swap_of(run)), frame, "trajectories")
    last = int(rounds["round"].max())
    with two:
        slot = st.empty()
        first = _first_round(last)
        frame = steps(rounds, measure, chosen, first, min(last, first + WINDOW - 1))
        with slot.container():
            picture(deployments(frame, measure, rounds["seed"].nunique()), frame, "deployments")
    st.caption(
        "Excess is over the correction with the true class shares on the same rows, so it compares arms whose worlds have drifted "
        "apart; accuracies do not. Dotted arms know something of the round itself. Fine-tuning may beat 0: it learns from labels."
    )
    _table(run, swap_of(run) is not None)


def _short(measure: str) -> str:
    return MEASURES[measure].partition(" (")[0]


def _first_round(last: int) -> int:
    """Where the rounds that are shown in full begin."""
    most = max(0, last - WINDOW + 1)
    if most == 0:
        return 0
    if int(st.session_state.get("from", 0) or 0) > most:
        del st.session_state["from"]
    return int(st.slider("Rounds shown in full from", 0, most, 0, key="from", bind="query-params"))


def _table(run: Run, swapped: bool) -> None:
    offered = [LATE, SWAPPED] if swapped else [LATE]
    forget_unless("part", offered)
    part = choice("Means over", offered, "part") if swapped else LATE
    rounds = rounds_of(run)
    scores = arm_scores(rounds[rounds["swapped"]] if part == SWAPPED else late(rounds))
    ends = zip(scores["low"], scores["high"], strict=True)
    scores["interval"] = ["one seed" if low != low else f"{low:.4f} to {high:.4f}" for low, high in ends]
    config = {
        name: st.column_config.Column(title, help=help)
        if format is None
        else st.column_config.NumberColumn(title, help=help, format=format)
        for name, (title, format, help) in COLUMNS.items()
    }
    figures = ["excess_nll", "kl", "accuracy", "nll", "shift"]
    scores[figures] = scores[figures].round(4) + 0.0
    st.dataframe(
        scores[list(COLUMNS)],
        hide_index=True,
        alt=f"Arms with their losses, {part}",
        column_config=config,
        height="content",
    )
