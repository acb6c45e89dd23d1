"""Scope × severity on pictures, one picture with its patches, and how settings were chosen."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.extrapolation import FEW, SOURCE, TENT
from analyses.extrapolation_frames import answers_table, corruption_map, in_order, map_table
from analyses.extrapolation_pictures import choices_figure, map_figure, sample_figure, severity_figure
from app.causal_parts import choice, forget_unless, seed_choice
from app.connection import client, may_launch, table
from app.extrapolation_parts import STUDY, class_names, labelled
from app.study_runs import Run, open_run
from app.widgets import attempt, literal, picture
from engine.client import EngineError

ALONE, LESS_SOURCE, LESS_TENT = "as it is", f"less {SOURCE}", f"less {TENT}"
KEPT, OWN = "one that was met", "one of your own"


def offer_pictures() -> None:
    """On a run on worlds: where the map of scope and severity is, or a button that makes one."""
    st.subheader("Scope and severity")
    st.caption(
        "How much of a sample is corrupted (scope) and how strongly (severity) can be set apart on pictures: noise in a block of "
        "handwritten digits or of emoji. That is a run of its own."
    )
    st.button("Corrupt digits by blocks", on_click=_start, icon=":material/grid_view:", **may_launch())


def _start() -> None:
    run = attempt(lambda: client().submit(STUDY, {}, [0, 1, 2], preset="digits_tour"))
    if run:
        open_run(STUDY, run["id"])


@st.fragment
def map_section(run: Run) -> None:
    """The map of one arm, against severity by scope, and every arm in a row."""
    st.subheader("Scope and severity")
    cells = table(run["id"], "extra_map")
    words = "Accuracy" if labelled(run) else "Answers moved"
    arms = in_order(list(cells["arm"]))
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        forget_unless("arm", arms)
        arm = str(st.selectbox("Arm", arms, arms.index(SOURCE), key="arm", bind="query-params"))
    with right:
        shown = choice("Shown", [ALONE, LESS_SOURCE, LESS_TENT], "shown")
    against = {ALONE: None, LESS_SOURCE: SOURCE, LESS_TENT: TENT}[shown]
    left, right = st.columns(2)
    with left:
        frame = corruption_map(cells, arm, against)
        label = words if against is None else f"{words} less that of {against}"
        picture(map_figure(frame, label, arm, against is not None), frame, "scope-severity")
    with right:
        frame = corruption_map(cells, arm)
        picture(severity_figure(frame, words, arm), frame, "severity")
    rows = map_table(cells)
    columns = {
        "clean": "as they were",
        "small": "smallest block",
        "large": "larger blocks",
        "all": "all corruptions",
    }
    st.dataframe(
        rows,
        hide_index=True,
        alt=f"Arms with their {words.lower()} by corruption",
        height="content",
        column_config={
            name: st.column_config.NumberColumn(title, format="percent") for name, title in columns.items()
        },
    )
    if not labelled(run):
        st.caption(
            "No picture's class is known here, so this is how often an answer differs from the one for the picture as it was."
        )


@st.fragment
def sample_section(run: Run) -> None:
    """One picture before and after: which patches changed, and what every arm answers."""
    st.subheader("One picture")
    kind = choice("Picture", [KEPT, OWN], "sample")
    found = _kept(run) if kind == KEPT else _asked(run)
    if found is None:
        return
    answers, patches, images, clean = found
    picture(sample_figure(images, patches), patches, "sample")
    names, label = class_names(run), int(answers["label"].iloc[0])
    truth = f"It is {literal(names[label])}." if label >= 0 else "Its class is not known."
    st.caption(f"{truth} As it was, {SOURCE} answers {literal(_named(clean, names))}.")
    st.dataframe(
        answers_table(answers, label, names, "confidence"),
        hide_index=True,
        alt="What every arm answers for this picture",
        height="content",
        column_config={"certainty": st.column_config.NumberColumn("probability", format="percent")},
    )


def _named(number: int, names: list[str]) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


Found = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, int]


def _slider(label: str, options: list[float], key: str, start: float, **more: Any) -> float:
    forget_unless(key, options)
    if len(options) == 1:
        return options[0]
    return float(str(st.select_slider(label, options, start, key=key, bind="query-params", **more)))


def _kept(run: Run) -> Found | None:
    """A picture of the run under one of its corruptions."""
    config = run["config"]
    one, two, three, four = st.columns([1, 2, 3, 3], vertical_alignment="bottom")
    with one:
        seed = seed_choice(run)
    with three:
        scope = _slider(
            "Block, share of the side",
            config["scopes"],
            "scope",
            config["scopes"][len(config["scopes"]) // 2],
        )
    with four:
        severities = config["severities"]
        severity = _slider("Severity", severities, "severity", severities[len(severities) // 2])
    rows = table(run["id"], "extra_pictures", {"seed": seed})
    offered = sorted(int(one) for one in rows["picture"].unique())
    with two:
        forget_unless("picture", offered)
        number = int(str(st.selectbox("Picture", offered, key="picture", bind="query-params")))
    mine = rows[rows["picture"] == number]
    before = mine[(mine["severity"] == 0) & (mine["arm"] == SOURCE)]
    where = {"seed": seed, "scope": scope, "severity": severity, "picture": number}
    parts = [table(run["id"], f"extra_{name}", where) for name in ("pictures", "patches", "images")]
    return parts[0], parts[1], parts[2], int(before["prediction"].iloc[0])


def _asked(run: Run) -> Found | None:
    """Any test picture under any corruption, adapted to now by the engine."""
    data = table(run["id"], "extra_data")
    most = int(data[data["split"] == "test"]["rows"].sum()) or 10_000
    one, two, three, four, five = st.columns([1, 2, 3, 3, 2], vertical_alignment="bottom")
    with one:
        seed = seed_choice(run)
    with two:
        number = int(st.number_input("Test picture", 0, most - 1, 0, key="row", bind="query-params"))
    with three:
        scope = float(
            st.slider("Block, share of the side", 0.05, 1.0, 0.5, 0.05, key="block", bind="query-params")
        )
    with four:
        severity = float(st.slider("Severity", 0.0, 4.0, 1.0, 0.25, key="noise", bind="query-params"))
    with five:
        draw = int(
            st.number_input(
                "Noise", 0, 1_000, 0, key="again", bind="query-params", help="Another place and noise"
            )
        )
    chosen = table(run["id"], "extra_choices", {"seed": seed, "arm": FEW})
    start = float(chosen[chosen["chosen"]]["value"].iloc[0]) if len(chosen) else 0.995
    quantiles = sorted({0.8, 0.9, 0.95, 0.98, 0.99, 0.995, start})
    quantile = _slider(
        "Minimal change: errors above this quantile of source errors count as changed",
        quantiles,
        "quantile",
        start,
    )
    try:
        answer = _ask(run["id"], seed, number, scope, severity, draw, quantile)
    except EngineError as error:
        st.error(error.message)
        return None
    frames = [pd.DataFrame(answer[f"extra_{name}"]) for name in ("pictures", "patches", "images")]
    return frames[0], frames[1], frames[2], int(answer["clean_prediction"])


@st.cache_data(max_entries=100, show_spinner="Adapting to this picture")
def _ask(
    run: str, seed: int, number: int, scope: float, severity: float, draw: int, quantile: float
) -> dict[str, Any]:
    return client().extrapolate_picture(
        run, seed=seed, picture=number, scope=scope, severity=severity, draw=draw, quantile=quantile
    )


@st.fragment
def choices_section(run: Run) -> None:
    """What was tried on validation pictures."""
    with st.expander("How settings were chosen"):
        frame = table(run["id"], "extra_choices")
        picture(choices_figure(frame), frame, "choices")
