"""What the parts of the page Triplets share: the run, the first strip, the warning of a weak generator."""

import pandas as pd
import streamlit as st

from analyses.srf import SHARES, weaknesses
from app import study_runs
from app.connection import table
from app.denoising_parts import over_seeds as percent_over_seeds
from app.masks_parts import over_seeds
from app.study_runs import Run
from app.widgets import literal, number

STUDY = "srf"
KINDS = ("multi_task", "weak", "prompted")
EMPTY = (
    "No triplets have been generated yet. The tour takes a small vision-language model that comes with Concordance, lets it write "
    "questions and answers about images nobody labelled, predict each side again from the other, and keeps what comes back the same; "
    "here you see what that filter keeps, what it gets wrong, and can overrule it."
)
TRAINING = (
    "Every seed tunes a model on three tasks, writes a question and an answer about every unlabelled image, predicts both again, ranks "
    "what it wrote and trains models on what is kept. Triplets and figures appear here when all seeds are done."
)


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    return study_runs.finished_run(STUDY, EMPTY, "Generate first triplets", TRAINING)


def generators_of(run: Run) -> pd.DataFrame:
    """Rows of the generator that wrote the run's triplets: the tuned one, or the one there is."""
    rows = table(run["id"], "srf_generators")
    kinds = set(rows["kind"])
    return rows[rows["kind"] == next((kind for kind in KINDS if kind in kinds), "")]


def own_arm(run: Run) -> str:
    """The filter the run itself used."""
    return "triangle_tied" if run["config"].get("tie_break") == "log_probability" else "triangle"


def kept_share(run: Run) -> float:
    """The share of SHARES nearest to what the run keeps of every type."""
    keep = float(run["config"]["keep"])
    return min(SHARES, key=lambda share: abs(share - keep))


def first_strip(run: Run) -> None:
    """Consistency across seeds · chance · precision of what is kept and of the rest · S against the truth · S without the image."""
    alike, made = table(run["id"], "srf_consistency"), generators_of(run)
    first = made[made["round"] == made["round"].min()]
    filters = table(run["id"], "srf_filters")
    filters = filters[filters["round"] == filters["round"].min()] if len(filters) else filters
    share = kept_share(run)
    kept = _at(filters, own_arm(run), share)
    pairs = (
        f"IoU of images and types kept, {len(alike)} pair{'' if len(alike) == 1 else 's'}"
        if len(alike)
        else "needs two seeds"
    )
    shown = [
        ("Kept by both seeds", number(alike["kept_overlap"].mean() if len(alike) else None), pairs),
        ("Chance", number(alike["chance"].mean() if len(alike) else None), "as many drawn at random"),
        (f"Right of kept, best {share:.0%}", _percent(kept), _unless_known(kept)),
        ("Right of all", _percent(_at(filters, "random", 1.0)), "what random keeps"),
        ("S tells right from wrong", number(first["score_auc"].mean()), f"AUC, 0.5 is chance; {over_seeds(first['score_auc'])}"),
        ("S, wrong image", number(first["shuffled_score"].mean()), f"own image {number(first['score_mean'].mean())}"),
    ]  # fmt: skip
    for column, (title, value, note) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(title, value)
        column.caption(note)


def _at(filters: pd.DataFrame, name: str, share: float) -> pd.Series:
    """Precision of a filter at a share, a value a seed."""
    rows = filters[(filters["filter"] == name) & ((filters["kept_share"] - share).abs() < 1e-6)]
    return rows["precision"].dropna().astype(float)


def _percent(values: pd.Series) -> str:
    return f"{values.mean():.1%}" if len(values) else "–"


def _unless_known(values: pd.Series) -> str:
    return percent_over_seeds(values) if len(values) else "no oracle for these images"


def weakness_warning(run: Run) -> None:
    """Say that the filter may mean nothing, and why, where the generator is too weak."""
    if found := weaknesses(generators_of(run)):
        sentences = "\n".join(f"- {literal(text)}" for text in found)
        st.warning(
            f"The generator is too weak for the filter to mean much.\n{sentences}\n\nA model that ignores the image predicts the same "
            "guess twice and passes. Train it longer or on more labelled images before you trust what is kept.",
            icon=":material/warning:",
        )
