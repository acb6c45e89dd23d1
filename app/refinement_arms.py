"""Arms beside each other: what is solved after how many iterations, by how many parameters and operations; and between seeds."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.sr2_figures import accuracy_curves, arms_figure, likeness_figure
from analyses.sr2_frames import MEASURES, accuracy, arm_scores, likeness_by_block
from app.connection import client, may_launch, studies, table
from app.refinement_parts import STUDY, n_blocks
from app.refinement_words import DATA
from app.study_runs import Run
from app.widgets import attempt, duration, picture, show_refusal
from engine.client import EngineError

SWEEP = "ablations"
SHARED = (
    *DATA, "d_model", "heads", "d_inner", "positions", "loss", "budget", "teraflops", "n_steps", "batch_size",
    "learning_rate", "warmup_steps", "weight_decay", "ema", "precision", "evaluations", "test_factor", "kept_puzzles",
)  # fmt: skip
SHARE = "%.1f"
COLUMNS = {
    "arm": ("arm", None, None),
    "exact": ("exact, %", SHARE, "Test puzzles with every cell right, mean over seeds"),
    "interval": ("95 % interval", None, "Of the mean over seeds"),
    "cell": ("cell, %", SHARE, "Open cells right; never to be read as puzzles solved"),
    "valid": ("valid, %", SHARE, "No rule is broken, whatever the solution"),
    "first_block": ("1 block, %", SHARE, "Solved exactly after the first alignment block"),
    "longest": ("most, %", SHARE, "Solved exactly after the most iterations tested, beyond those trained"),
    "seeds": ("seeds", None, None),
    "parameters": ("parameters", "localized", None),
    "teraflops": ("TFLOP", "%.2f", "Training compute of a seed, counted from the shapes"),
    "steps": ("steps", "localized", "Optimiser steps of a seed"),
    "iterations": ("iterations", None, "Iterations trained"),
}
PAIRS = {
    "seed_a": ("seed", None),
    "seed_b": ("and seed", None),
    "mcc_pearson": ("MCC", "Principal components of pooled states, matched one to one"),
    "mcc_null": ("MCC by chance", "One seed's puzzles shuffled"),
    "cka": ("CKA", "Linear CKA of pooled states"),
    "cka_null": ("CKA by chance", "One seed's puzzles shuffled"),
    "cell_cka": ("CKA of cells", "Linear CKA of the states of single cells"),
    "agreement": ("answers alike", "Share of open cells with the same answer"),
    "agreement_on_errors": ("alike where wrong", "The same, over cells that at least one gets wrong"),
}
SHARES = [name for name, (_, format, _) in COLUMNS.items() if format == SHARE]


def accuracy_section(runs: dict[str, Run]) -> None:
    """Exact and cell accuracy against iterations, the table of arms."""
    st.subheader("Accuracy against iterations")
    rows = {name: table(run["id"], "sr2_iterations") for name, run in runs.items()}
    models = {name: table(run["id"], "sr2_models") for name, run in runs.items()}
    trained = {name: int(part["trained_iterations"].iloc[0]) for name, part in models.items()}
    for column, measure in zip(st.columns(2), MEASURES, strict=True):
        frame = accuracy(rows, measure)
        with column:
            picture(accuracy_curves(frame, measure, trained), frame, f"accuracy-{measure}")
    _arms(models)
    _grades(runs)


def _grades(runs: dict[str, Run]) -> None:
    """Exact and cell accuracy by how hard a puzzle is."""
    parts = [table(run["id"], "sr2_grades").assign(arm=name) for name, run in runs.items()]
    rows = (
        pd.concat(parts)
        .groupby(["arm", "grade"], as_index=False, sort=False)[["puzzles", "exact", "cell"]]
        .mean()
    )
    st.dataframe(
        rows,
        hide_index=True,
        alt="Accuracy of every arm by the difficulty of the puzzles",
        column_config={
            "grade": st.column_config.Column(
                "difficulty",
                help="A Sudoku: what solves it, naked or hidden single candidates, or search. A maze: its path's length.",
            ),
            "puzzles": st.column_config.NumberColumn("test puzzles", format="localized"),
            "exact": st.column_config.NumberColumn(
                "exact", format="percent", help="Mean over seeds, after the last trained block"
            ),
            "cell": st.column_config.NumberColumn(
                "cell", format="percent", help="Open cells right; never to be read as puzzles solved"
            ),
        },
    )


def _arms(models: dict[str, pd.DataFrame]) -> None:
    """Every arm in a row, and as a picture once there are several."""
    scores = arm_scores(models)
    st.subheader("Arms" if len(models) > 1 else "Scores")
    if len(models) > 1:
        dots = pd.concat([part.assign(arm=name) for name, part in models.items()])
        picture(arms_figure(scores, dots), scores, "arms")
    ends = zip(scores["low"], scores["high"], strict=True)
    shown = scores.assign(
        interval=["one seed" if pd.isna(low) else f"{low:.1%} to {high:.1%}" for low, high in ends]
    )
    shown[SHARES] *= 100
    config = {
        name: st.column_config.Column(title, help=help)
        if format is None
        else st.column_config.NumberColumn(title, help=help, format=format)
        for name, (title, format, help) in COLUMNS.items()
    }
    st.dataframe(
        shown[list(COLUMNS)], hide_index=True, alt="Arms with accuracy, parameters and compute", column_config=config
    )  # fmt: skip


def seeds_section(run: Run) -> None:
    """Whether two seeds' states are the same, block by block."""
    st.subheader("Between seeds")
    alike = table(run["id"], "sr2_consistency")
    frame = likeness_by_block(alike)
    if frame.empty:
        st.info("One seed has nothing to be compared with; add seeds under Train it again below.")
        return
    picture(likeness_figure(frame, n_blocks(run)), frame, "likeness")
    last = alike[alike["block"] == n_blocks(run) - 1]
    st.dataframe(
        last[list(PAIRS)],
        hide_index=True,
        alt="Every pair of seeds after the last trained block",
        column_config={
            name: st.column_config.NumberColumn(title, help=help, format="%.3f" if help else None)
            for name, (title, help) in PAIRS.items()
        },
    )
    st.caption(
        "After the last trained block. Pooled: the mean of the state over cells, test puzzles as rows; chance: the same when one "
        "seed's puzzles are shuffled. A high CKA with a low MCC is the same space in other axes."
    )


@st.fragment
def ablations_section(run: Run) -> None:
    """Train the study's ablation arms on this run's puzzles at its budget."""
    if st.session_state.pop("ablations_launched", False):
        st.rerun()
    with st.expander("Train every ablation on these puzzles", icon=":material/science:"):
        show_refusal()
        arms = [{name: value for name, value in one.items() if name != "preset"} for one in _sweep()]
        shared = {name: run["config"][name] for name in SHARED}
        count = int(
            st.number_input("Seeds of each arm", 1, 20, max(3, len(run["seeds"])), key="ablation_seeds")
        )
        try:
            seconds = _cost([{**shared, **arm} for arm in arms], count)
        except EngineError as error:
            st.error(error.message)
            return
        st.button(
            f"Train {len(arms)} arms", icon=":material/science:", key="ablations-go", on_click=_launch,
            args=(shared, count), **may_launch(),
        )  # fmt: skip
        st.caption(
            f"About {duration(seconds)} on this machine at equal {run['config']['budget']}: no alignment, reflection only, other "
            "injections, other shapes, unshared layers, feed-forward, HRM- and TRM-like. They can then be chosen beside this run."
        )


def _sweep() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = studies()[STUDY]["sweeps"][SWEEP]
    return found


@st.cache_data(ttl=3600, show_spinner=False)
def _cost(configs: list[dict[str, Any]], n_seeds: int) -> float:
    """Seconds of all arms, one after the other."""
    return sum(client().estimate(STUDY, one, list(range(n_seeds)), "standard")["seconds"] for one in configs)


def _launch(shared: dict[str, Any], n_seeds: int) -> None:
    queued = attempt(lambda: client().launch(STUDY, [shared], list(range(n_seeds)), 0, sweep=SWEEP))
    st.session_state["ablations_launched"] = bool(queued)
