"""What the parts of the page Extrapolation share: the run, its regime, the first strip."""

import pandas as pd
import streamlit as st

from analyses.extrapolation_frames import picture_summary, world_summary
from app import study_runs
from app.causal_parts import choice
from app.connection import table
from app.extrapolation_words import TIERS
from app.label_shift_parts import interval
from app.study_runs import Run
from app.widgets import number

STUDY = "extrapolation"
Figure = tuple[float, float, float]
EMPTY = (
    "Nothing has been extrapolated yet. The tour makes two worlds whose truth is known, learns each from source rows alone, and then "
    "meets targets further and further off, one at a time: which class is it, and what has changed?"
)
TRAINING = (
    "A classifier and a generative model are learnt on the source; then every target or picture is adapted to alone, by every arm. "
    "Accuracies, paths and the comparison of seeds appear here when all seeds are done."
)


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    run = study_runs.finished_run(STUDY, EMPTY, "Extrapolate a first time", TRAINING)
    st.caption(f"Data: {TIERS[run['config']['source']]}.")
    return run


def on_worlds(run: Run) -> bool:
    """Whether the run's targets come from worlds, not from pictures."""
    return bool(run["config"]["source"] == "world")


def labelled(run: Run) -> bool:
    """Whether the classes of a run's pictures are known."""
    return bool(table(run["id"], "extra_map")["accuracy"].notna().any())


def class_names(run: Run) -> list[str]:
    """The names of the classes in order."""
    rows = table(run["id"], "extra_data").drop_duplicates("class").sort_values("class")
    return list(rows["name"])


def regime_choice(run: Run) -> str:
    """The regime the page looks at, kept in the URL as ?regime=."""
    known = list(dict.fromkeys(table(run["id"], "extra_models")["regime"]))
    known = [one for one in ("dense", "sparse") if one in known]
    return choice("Shift", known, "regime") if len(known) > 1 else known[0]


@st.cache_data(max_entries=50, show_spinner=False)
def _world(run_id: str, regime: str) -> dict[str, Figure]:
    return world_summary(
        table(run_id, "extra_accuracy"),
        table(run_id, "extra_recovery"),
        table(run_id, "extra_agreement"),
        regime,
    )


@st.cache_data(max_entries=50, show_spinner=False)
def _pictures(run_id: str) -> dict[str, Figure]:
    return picture_summary(
        table(run_id, "extra_map"), table(run_id, "extra_found"), table(run_id, "extra_picture_agreement")
    )


def first_strip(run: Run, regime: str) -> None:
    """Consistency across seeds · recovery of the truth · null · what it is good for."""
    worlds = on_worlds(run)
    found = _world(run["id"], regime) if worlds else _pictures(run["id"])
    alone = "every seed has a world of its own" if run["config"]["own_world"] else "needs two seeds"
    pairs = (
        alone if pd.isna(found["seeds"][0]) else f"pairs {found['seeds'][1]:.3f} to {found['seeds'][2]:.3f}"
    )
    answers = f"chance {number(found['answers_chance'][0])}" if pd.notna(found["answers"][0]) else alone
    if worlds:
        title, met = f"Class at {found['distance'][0]:g}", f"{interval(found['class'], most=1.0)}"
        chance = 1 / run["config"]["n_classes"]
        last = f"{met}; source only {number(found['class_source'][0])}, chance {chance:.2f}"
        notes = ("rows shuffled", interval(found["truth"], most=1.0), "rows shuffled")
    else:
        title = "Class" if labelled(run) else "Answers moved"
        last = f"minimal change; {interval(found['class'], most=1.0)}; source only {number(found['class_source'][0])}"
        notes = ("patches shuffled", interval(found["truth"], most=1.0), "area under the ROC")
    cells = [
        ("Between seeds", number(found["seeds"][0]), pairs),
        ("Chance, seeds", number(found["seeds_null"][0]), notes[0]),
        ("With the truth", number(found["truth"][0]), notes[1]),
        ("Chance, truth", number(found["truth_null"][0]), notes[2]),
        ("Equal answers", number(found["answers"][0]), answers),
        (title, number(found["class"][0]), last),
    ]
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, value)
        column.caption(note)
    st.caption(
        "Between seeds: held-out R² of one seed's ŝ from another's within each class, on the same rows. With the truth: R² of the true "
        "changing latent s from ŝ. Class: accuracy of the objective that fits the shift, on targets it met alone."
        if worlds
        else "Between seeds: overlap of the patches that two seeds judge changed in the same pictures. With the truth: how well a patch's "
        "error tells that it truly changed. Class: mean over all corruptions."
    )
