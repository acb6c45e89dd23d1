"""Accuracy against distance, the curve over the number of changed coordinates, and one target in full."""

import pandas as pd
import streamlit as st

from analyses.extrapolation import FITTED, RIGHT, WORLD_ARMS
from analyses.extrapolation_figures import changed_figure, coordinates_figure, distance_figure, plane_figure
from analyses.extrapolation_frames import answers_table, by_changed, by_distance
from app.causal_parts import choice, forget_unless, seed_choice
from app.connection import client, table
from app.extrapolation_parts import class_names
from app.study_runs import Run
from app.widgets import picture
from engine.client import EngineError

KEPT_TARGET, OWN_TARGET = "one that was met", "one of your own"
MARGIN = "Distance to the second best: of probabilities for the classifier, of scores for the two objectives"


@st.fragment
def distance_section(run: Run, regime: str) -> None:
    """Accuracy of the chosen arms at every distance, and what the number of changed coordinates does."""
    st.subheader("How far does it reach?")
    chosen = st.multiselect(
        "Arms", list(WORLD_ARMS), list(WORLD_ARMS), key="arms", bind="query-params", placeholder="none"
    )
    left, right = st.columns([3, 2])
    with left:
        frame = by_distance(table(run["id"], "extra_accuracy"), regime, chosen)
        picture(distance_figure(frame, regime, run["config"]["n_classes"]), frame, "distance")
    with right:
        frame = by_changed(table(run["id"], "extra_curve"), regime)
        affected = run["config"]["n_affected"] if regime == "sparse" else None
        picture(changed_figure(frame, run["config"]["changed"], affected), frame, "changed")
    st.caption(
        f"The objective for this shift is {RIGHT[regime]}; the other one is the wrong one here. Under dense shift every coordinate "
        "depends on s, so nothing can be left out; under sparse shift what is left out may lie anywhere."
    )


@st.fragment
def target_section(run: Run, regime: str) -> None:
    """One target on the plane, its way to an explanation, its coordinates, and every arm's answer."""
    st.subheader("One target")
    kind = choice("Target", [KEPT_TARGET, OWN_TARGET], "target")
    found = _kept(run, regime) if kind == KEPT_TARGET else _asked(run, regime)
    if found is None:
        return
    seed, arm, targets, coordinates, paths = found
    where = {"seed": seed, "regime": regime}
    points = table(run["id"], "extra_points", where)
    left, right = st.columns([3, 2])
    with left:
        figure = plane_figure(points, targets, paths[paths["arm"] == arm], arm)
        picture(figure, paths, "plane")
    with right:
        mine = coordinates[coordinates["arm"] == arm]
        picture(coordinates_figure(mine, arm), mine, "coordinates")
        answers = answers_table(targets, int(targets["label"].iloc[0]), class_names(run), "margin")
        st.dataframe(
            answers,
            hide_index=True,
            alt="What every arm answers for this target",
            height="content",
            column_config={
                "right": st.column_config.CheckboxColumn("right"),
                "certainty": st.column_config.NumberColumn("margin", format="%.3f", help=MARGIN),
            },
        )
    st.caption(
        "The plane holds the two directions in which source rows vary most; the rest of x is not drawn, so a way may end off the "
        "target though it fits. Minimal distance lets ŝ leave the support, minimal change keeps it there and leaves out what does not fit."
    )


Found = tuple[int, str, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _arm_choice(regime: str) -> str:
    return choice("Explained by", list(FITTED), "by", RIGHT[regime])


def _kept(run: Run, regime: str) -> Found | None:
    """A target of the run: its seed, the arm that explains it, and its rows of three tables."""
    one, two, three, four = st.columns([1, 3, 1, 3], vertical_alignment="bottom")
    with one:
        seed = seed_choice(run)
    rows = table(run["id"], "extra_targets", {"seed": seed, "regime": regime})
    distances = sorted(float(one) for one in rows["distance"].unique())
    with two:
        forget_unless("distance", distances)
        start = distances[len(distances) // 2]
        at = float(
            str(
                st.select_slider("Distance", distances, start, key="distance", bind="query-params")
                if len(distances) > 1
                else start
            )
        )
    offered = sorted(int(one) for one in rows[rows["distance"] == at]["target"].unique())
    numbers = {place: target for place, target in enumerate(offered)}
    with three:
        forget_unless("number", list(numbers))
        number = int(str(st.selectbox("Number", list(numbers), key="number", bind="query-params")))
    with four:
        arm = _arm_choice(regime)
    where = {"seed": seed, "regime": regime, "target": numbers[number]}
    parts = [table(run["id"], f"extra_{name}", where) for name in ("coordinates", "paths")]
    return seed, arm, rows[rows["target"] == numbers[number]], parts[0], parts[1]


def _asked(run: Run, regime: str) -> Found | None:
    """A target at a place of the reader's choice, adapted to now by the engine."""
    config = run["config"]
    one, two, three, four = st.columns([1, 1, 3, 3], vertical_alignment="bottom")
    with one:
        seed = seed_choice(run)
    with two:
        classes = list(range(config["n_classes"]))
        forget_unless("class", classes)
        label = int(str(st.selectbox("Class", classes, key="class", bind="query-params")))
    with three:
        at = float(st.slider("Distance beyond the rim", 0.0, 32.0, 4.0, 0.5, key="at", bind="query-params"))
    with four:
        angle = float(st.slider("Direction (degrees)", 0, 360, 45, 5, key="angle", bind="query-params"))
    one, two, three, four = st.columns([2, 2, 3, 1], vertical_alignment="bottom")
    with one:
        changed = int(
            st.slider(
                "q, may have changed",
                0,
                config["n_coordinates"] - 1,
                config["changed"],
                key="q",
                bind="query-params",
            )
        )
    with two:
        pulls = sorted({0.0, 0.01, 0.1, 1.0, 10.0, float(config["pull"])})
        forget_unless("pull", pulls)
        pull = float(
            str(
                st.select_slider(
                    "λ, pull to the support", pulls, float(config["pull"]), key="pull", bind="query-params"
                )
            )
        )
    with three:
        arm = _arm_choice(regime)
    with four:
        draw = int(
            st.number_input(
                "Noise", 0, 1_000, 0, key="draw", bind="query-params", help="Another draw of the noise"
            )
        )
    try:
        answer = _ask(run["id"], seed, regime, label, at, angle, draw, changed, pull)
    except EngineError as error:
        st.error(error.message)
        return None
    return seed, arm, answer["extra_targets"], answer["extra_coordinates"], answer["extra_paths"]


@st.cache_data(max_entries=100, show_spinner="Adapting to this target")
def _ask(
    run: str,
    seed: int,
    regime: str,
    label: int,
    distance: float,
    angle: float,
    draw: int,
    changed: int,
    pull: float,
) -> dict[str, pd.DataFrame]:
    found = client().extrapolate_target(
        run,
        seed=seed,
        regime=regime,
        label=label,
        distance=distance,
        angle=angle,
        draw=draw,
        changed=changed,
        pull=pull,
    )
    return {name: pd.DataFrame(rows) for name, rows in found.items()}
