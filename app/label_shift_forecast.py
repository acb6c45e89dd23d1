"""Forecasts of class shares: all rounds at once, one round by class, and the mechanism behind them."""

import pandas as pd
import streamlit as st

from analyses.label_shift_figures import kl_curve, round_bars, share_heat
from analyses.label_shift_frames import ADAPTER, mechanism, round_of, share_map
from analyses.label_shift_maps import mechanism_figure
from app.causal_parts import choice, seed_choice
from app.connection import table
from app.label_shift_parts import arm_choice, interval, names_of, rounds_of, swap_of
from app.study_runs import Run
from app.widgets import picture


@st.fragment
def forecast_section(run: Run) -> None:
    """True and believed class shares of one arm and seed, with a round that can be moved."""
    st.subheader("Class shares, true and forecast")
    first, second, third, fourth = st.columns([3, 2, 4, 5], vertical_alignment="bottom")
    with first:
        arm = arm_choice(
            run, "arm", ADAPTER, "Each arm lives in a world of its own, which answers its accuracies."
        )
    with second:
        seed = seed_choice(run)
    with third:
        what = choice("Show", ["true", "forecast", "difference"], "show")
    last = int(rounds_of(run)["round"].max())
    with fourth:
        if int(st.session_state.get("round", 0) or 0) > last:
            del st.session_state["round"]
        at = int(st.slider("Round", 0, last, min(last, 10), key="round", bind="query-params"))
    classes = table(run["id"], "shift_classes", {"arm": arm, "seed": seed})
    names = names_of(run)
    left, right = st.columns([3, 2])
    with left:
        frame = share_map(classes, what)
        long = frame.reset_index().melt("class", var_name="round", value_name=what)
        picture(share_heat(frame, what, names, at, arm), long, "shares")
        mine = rounds_of(run)
        mine = mine[(mine["arm"] == arm) & (mine["seed"] == seed)]
        picture(kl_curve(mine, at, swap_of(run), arm), mine[["round", "kl", "shift"]], "forecast-error")
    with right:
        now = round_of(classes, at)
        picture(round_bars(now, names, arm), now, "round")
        _in_words(now, names)


def _in_words(now: pd.DataFrame, names: list[str]) -> None:
    top = now.loc[now["p_true"].idxmax()]
    before = (
        "" if pd.isna(top["answered"]) else f" after an accuracy of {top['answered']:.0%} in the round before"
    )
    st.caption(
        f"Met most: class {int(top['class']) + 1} of {len(names)} with {top['p_true']:.1%} of the rows{before}; believed "
        f"{top['p_forecast']:.1%}."
    )


@st.fragment
def mechanism_section(run: Run) -> None:
    """The adapter's Jacobian beside the true one, and how sure it is."""
    st.subheader("The mechanism it learnt")
    recovery = table(run["id"], "shift_recovery")
    usual = choice("Effect of", ["a usual change of S", "S from 0 to 1"], "effect") == "a usual change of S"
    learnt, truth = mechanism(table(run["id"], "shift_mechanism"), usual)
    known = recovery["correlation"].dropna()
    words = f"mean of {len(recovery)} seed{'s' if len(recovery) > 1 else ''}"
    if len(known):
        words += f"; correlation {known.mean():.3f}, chance {recovery['null'].mean():.3f}"
    names = names_of(run)
    frame = pd.concat(
        [part.reset_index().melt("target", var_name="source", value_name="effect").assign(of=of)
         for of, part in (("learnt", learnt), ("true", truth))]
    )  # fmt: skip
    picture(mechanism_figure(learnt, truth, names, usual, words), frame, "mechanism")
    slope = recovery["slope"].dropna()
    parts = [
        "Both are centred over the classes that are met, which normalisation leaves free. What never varied cannot be learnt: "
        "columns of classes whose accuracy stayed still say nothing."
    ]
    if len(slope):
        parts.append(f"Size: learnt is {slope.mean():.2f} times the true one (least squares).")
    if run["config"]["mechanism"] == "adversarial" and recovery["fitted_tau"].notna().any():
        fitted = recovery["fitted_tau"].dropna()
        ends = interval((float(fitted.mean()), float(fitted.min()), float(fitted.max())), ".3g").replace(
            "95 %", "seeds"
        )
        parts.append(f"The one-parameter fit puts τ at {fitted.mean():.3g} ({ends}).")
    st.caption(" ".join(parts))
