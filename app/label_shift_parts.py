"""What the parts of the page Label shift share: the run, its arms and classes, the first strip."""

import pandas as pd
import streamlit as st

from analyses.label_shift_frames import class_names, in_order, summary
from app import study_runs
from app.causal_parts import forget_unless
from app.connection import table
from app.label_shift_words import TIERS, reaction
from app.study_runs import Run
from app.widgets import number

STUDY = "label_shift"
Figure = tuple[float, float, float]
EMPTY = (
    "Nothing has been deployed yet. The tour deploys a frozen classifier of noisy digits sixty times; each time the world shows more "
    "of what it fails at. A small network learns to forecast that, with three seeds, and the classifier is corrected by Bayes' rule."
)
TRAINING = (
    "Every arm lives through its own rounds: the world answers its accuracies, it corrects, it is measured. Trajectories, forecasts "
    "and the comparison of seeds appear here when all seeds are done."
)


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    run = study_runs.finished_run(STUDY, EMPTY, "Deploy a first classifier", TRAINING)
    config = run["config"]
    st.caption(
        f"Data: {TIERS[config['source']]}. The world's reaction is simulated and known: {reaction(config)}."
    )
    return run


def rounds_of(run: Run) -> pd.DataFrame:
    """Every arm's rounds of all seeds."""
    return table(run["id"], "shift_rounds")


def arms_of(run: Run) -> list[str]:
    """The arms of a run, in order."""
    return in_order(list(rounds_of(run)["arm"]))


def names_of(run: Run) -> list[str]:
    """The classes' names, in order."""
    return class_names(table(run["id"], "shift_data"))


def swap_of(run: Run) -> int | None:
    """The first round with the second backbone; None where none was swapped."""
    return int(run["config"]["rounds"]) if run["config"]["swap_rounds"] else None


def arm_choice(run: Run, key: str, start: str, help: str = "") -> str:
    """One of the run's arms, kept in the URL under `key`."""
    arms = arms_of(run)
    forget_unless(key, arms)
    return str(st.selectbox("Arm", arms, arms.index(start), key=key, bind="query-params", help=help or None))


@st.cache_data(max_entries=50, show_spinner=False)
def _summary(run_id: str) -> dict[str, Figure]:
    return summary(
        table(run_id, "shift_rounds"), table(run_id, "shift_recovery"), table(run_id, "shift_agreement")
    )


def first_strip(run: Run) -> None:
    """Consistency across seeds · recovery of the truth · null · how far from the oracle prior."""
    found = _summary(run["id"])
    reacts = run["config"]["mechanism"] in ("adversarial", "mixed")
    pairs = "needs two seeds" if pd.isna(found["seeds"][0]) else f"pairs {_range(found['seeds'])}"
    truth = interval(found["truth"], most=1.0) if reacts else "shares do not react"
    cells = [
        ("Between seeds", number(found["seeds"][0]), pairs),
        ("Chance, seeds", number(found["seeds_null"][0]), _chance(found["seeds_null"])),
        ("With the truth", number(found["truth"][0]), truth),
        ("Chance, truth", number(found["truth_null"][0]), _chance(found["truth_null"])),
        ("Forecast error", number(found["kl"][0]), f"KL, nats; without correction {found['kl_none'][0]:.3f}"),
        (
            "Excess loss",
            number(found["excess"][0]),
            f"nats over the oracle prior; {interval(found['excess'])}; without correction {found['excess_none'][0]:.3f}",
        ),
    ]
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, value)
        column.caption(note)
    st.caption(
        "Of the adapter, in the second half of the rounds with the first backbone. Between seeds and with the truth: correlation of "
        "the mechanism, d log p / dS at the mean S, for one standard deviation of each class accuracy."
    )


def _range(figure: Figure) -> str:
    return f"{figure[1]:.3f} to {figure[2]:.3f}"


def _chance(figure: Figure) -> str:
    return "–" if pd.isna(figure[0]) else f"classes permuted; 97.5 % below {figure[2]:.3f}"


def interval(figure: Figure, format: str = ".3f", most: float = float("inf")) -> str:
    """The 95 % interval over seeds in words."""
    if pd.isna(figure[1]):
        return "no interval from one seed"
    return f"95 % {figure[1]:{format}} to {min(figure[2], most):{format}}"
