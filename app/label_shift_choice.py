"""What-if: candidates before one is deployed, the forecast of what each would bring about, and what it came to."""

import pandas as pd
import streamlit as st

from analyses.label_shift_frames import regrets
from analyses.label_shift_maps import answer_figure, candidates_figure, regret_figure
from app.causal_parts import forget_unless, seed_choice
from app.connection import table
from app.label_shift_parts import names_of
from app.study_runs import Run
from app.widgets import literal, picture

COLUMNS = {
    "candidate": ("candidate", None),
    "present": ("accuracy now", "On this round's rows, corrected with the deployed forecast"),
    "by_adapter": ("forecast", "Accuracy after deployment as the adapter forecasts it"),
    "by_fit": ("forecast of the fit", "The same by the one-parameter fit"),
    "revealed": (
        "after deployment",
        "Accuracy in the round that follows, once the world has answered this candidate",
    ),
}


@st.fragment
def choice_section(run: Run) -> None:
    """One decision with its candidates, a button that deploys one, and the regret over all decisions."""
    st.subheader("Which model to deploy?")
    choices = table(run["id"], "shift_choices")
    if choices.empty:
        st.info("This run compared no candidates; set decisions above 0 under Play it again below.")
        return
    candidates = list(dict.fromkeys(choices["candidate"]))
    first, second, third, fourth = st.columns([2, 3, 5, 3], vertical_alignment="bottom")
    with first:
        seed = seed_choice(run, key="choice_seed")
    offered = sorted(int(one) for one in choices["round"].unique())
    with second:
        forget_unless("decision", offered)
        number = int(
            str(st.select_slider("Decision after round", offered, key="decision", bind="query-params"))
        )
    rows = choices[(choices["seed"] == seed) & (choices["round"] == number)].reset_index(drop=True)
    with third:
        forget_unless("candidate", candidates)
        picked = str(rows.loc[rows["by_adapter"].idxmax(), "candidate"])
        candidate = str(
            st.selectbox(
                "Candidate", candidates, candidates.index(picked), key="candidate", bind="query-params"
            )
        )
    with fourth:
        shown = bool(st.toggle("Deploy and reveal", key="reveal", bind="query-params"))
    left, right = st.columns(2)
    with left:
        visible = rows if shown else rows.drop(columns=["revealed", "revealed_nll"])
        picture(candidates_figure(rows, shown), visible, "candidates")
    with right:
        where = {"seed": seed, "round": number, "candidate": candidate}
        classes = table(run["id"], "shift_choice_classes", where)
        picture(answer_figure(classes, names_of(run), candidate, shown), classes, "answer")
    _table(rows, shown)
    if shown:
        _verdict(rows, candidate)
    frame = regrets(choices)
    picture(regret_figure(frame), frame, "regret")
    st.caption(
        f"{len(offered)} decisions of each seed in the second half of the rounds. Accuracy now is measured on what the world shows "
        "in answer to the deployed model, so it flatters models that fail elsewhere. The forecast takes P(X | Y) to stay."
    )


def _table(rows: pd.DataFrame, shown: bool) -> None:
    names = [name for name in COLUMNS if shown or name != "revealed"]
    config = {
        name: st.column_config.Column(title, width="large")
        if help is None
        else st.column_config.NumberColumn(title, help=help, format="percent")
        for name, (title, help) in COLUMNS.items()
    }
    st.dataframe(
        rows[names].round(4),
        hide_index=True,
        alt="Candidates of this decision",
        column_config=config,
        height="content",
    )


def _verdict(rows: pd.DataFrame, candidate: str) -> None:
    best = rows.loc[rows["revealed"].idxmax()]
    lost = best["revealed"] - rows.set_index("candidate").loc[candidate, "revealed"]
    now, forecast = (rows.loc[rows[column].idxmax(), "candidate"] for column in ("present", "by_adapter"))
    reached = "the best" if lost <= 0 else f"{lost:.1%} below the best, {best['candidate']}"
    words = f"Deployed: {candidate}, {reached} ({best['revealed']:.1%}). By accuracy now: {now}. By forecast: {forecast}."
    st.markdown(literal(words))
