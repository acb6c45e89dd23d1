"""How few rounds teach, errors by size of shift, and whether the backbones are calibrated."""

import streamlit as st

from analyses.label_shift_figures import error_by_shift_figure, few_shot_figure, reliability
from analyses.label_shift_frames import OTHER, OWN, error_by_shift, few_shot
from app.connection import table
from app.label_shift_parts import arms_of, rounds_of
from app.study_runs import Run
from app.widgets import picture

BACKBONES = {
    "backbone": ("backbone", None, None),
    "role": ("role", None, "first: deployed; second: swapped in; candidate: only to choose from"),
    "accuracy": ("accuracy", "percent", "Test rows, classes alike"),
    "temperature": ("temperature", "%.2f", "What logits are divided by, chosen on validation rows"),
    "nll": ("log loss", "%.3f", "Nats, temperature-scaled"),
    "nll_unscaled": ("log loss as fitted", "%.3f", "Nats"),
    "ece": ("calibration error", "%.3f", "Expected calibration error, temperature-scaled"),
    "ece_unscaled": ("as fitted", "%.3f", "Expected calibration error as fitted"),
}


def few_section(run: Run) -> None:
    """Forecast error against pairs seen, on own and on foreign rounds."""
    st.subheader("How few rounds teach it?")
    frame = few_shot(rounds_of(run), table(run["id"], "shift_few"))
    for column, of in zip(st.columns(2), (OWN, OTHER), strict=True):
        with column:
            mine = frame[frame["of"] == of]
            picture(few_shot_figure(frame, of), mine, "few-own" if of == OWN else "few-other")
    st.caption(
        "Left, the rounds that follow in its own world. Right, rounds of the oracle prior's world, which no forecaster caused: what it "
        "knows of the mechanism away from where it has been."
    )


@st.fragment
def backbones_section(run: Run) -> None:
    """Error by size of shift, reliability, and every backbone in a row."""
    st.subheader("Shift and backbones")
    left, right = st.columns(2)
    with left:
        frame = error_by_shift(rounds_of(run), arms_of(run))
        frame = frame[frame["arm"] != "oracle prior"]
        picture(error_by_shift_figure(frame), frame, "error-by-shift")
    with right:
        curves = table(run["id"], "shift_calibration")
        picture(reliability(curves), curves, "calibration")
    found = table(run["id"], "shift_backbones")
    means = found.groupby(["backbone", "role"], sort=False).mean(numeric_only=True).reset_index().round(4)
    config = {
        name: st.column_config.Column(title, help=help)
        if format is None
        else st.column_config.NumberColumn(title, help=help, format=format)
        for name, (title, format, help) in BACKBONES.items()
    }
    st.dataframe(
        means[list(BACKBONES)],
        hide_index=True,
        alt="Backbones, mean over seeds",
        column_config=config,
        height="content",
    )
