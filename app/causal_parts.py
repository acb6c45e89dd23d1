"""What the pages of multimodal causal learning share: the run, its tables, the first strip."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from analyses.multimodal_causal import OURS, methods_of, summary
from app import study_runs
from app.connection import table
from app.study_runs import Run
from app.widgets import number

STUDY = "multimodal_causal"
KNOWN = ("world", "digits")
TIERS = {
    "world": "a synthetic world whose latents and graph are known",
    "digits": "rendered digits whose latents and graph are known",
    "nhanes": "real people, NHANES 2017–2018 (public domain); nobody knows the true latents",
    "nhefs": "real people, NHEFS follow-up; nobody knows the true latents",
    "cells": "real cells in four channels; nobody knows the true latents",
    "table": "your own table",
}
Figure = tuple[float | None, float | None, float | None]


def is_known(run: Run) -> bool:
    """Whether the run's data come from a world whose latents are known."""
    return run["config"]["source"] in KNOWN


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    run = study_runs.finished_run(
        STUDY,
        "No causal graph has been learnt yet. The tour makes a world of three modalities whose causes are known, learns its "
        "latents from the observations alone, with three seeds, and draws what acts on what beside the truth.",
        "Learn a first causal graph",
        "First every modality's subspace is learnt by contrasting it with the others, then its components with a sparse "
        "graph between them. Graph and recovery appear here when all seeds are done.",
    )
    st.caption(f"Data: {TIERS[run['config']['source']]}.")
    return run


@st.cache_data(max_entries=50, show_spinner=False)
def _summary(run_id: str) -> dict[str, Figure]:
    return summary(
        table(run_id, "latent_values", {"method": OURS}),
        table(run_id, "latents"),
        table(run_id, "latent_scores"),
        table(run_id, "graph_scores"),
    )


def first_strip(run: Run) -> None:
    """Consistency across seeds · recovery of the truth · null."""
    figures = _summary(run["id"])
    cells = [
        ("MCC between seeds", figures["seeds"], _between(figures)),
        ("Chance, seeds", figures["seeds_turned"], _chance(figures)),
    ]
    if is_known(run):
        cells += [
            ("MCC with the truth", figures["mcc"], _interval(figures["mcc"])),
            (
                "Chance, truth",
                figures["mcc_floor"],
                f"blocks turned at random; unrelated {number(figures['mcc_null'][0])}",
            ),
            (
                "Block R²",
                figures["r2"],
                f"{_interval(figures['r2'])}; chance {number(figures['r2_null'][0])}",
            ),
            (
                "Edge F1",
                figures["edge_f1"],
                f"{_interval(figures['edge_f1'])}; chance {number(figures['edge_f1_null'][0])}",
            ),
        ]
    else:
        cells.append(("Cross-modal R²", figures["cross_r2"], f"held-out; {_interval(figures['cross_r2'])}"))
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, number(value[0]))
        column.caption(note)


def _interval(figure: Figure) -> str:
    """The interval in words; its upper end is cut at 1, which none of these figures can exceed."""
    if figure[0] is None or figure[1] is None or figure[2] is None:
        return "no interval from one seed"
    return f"95 % {figure[1]:.3f} to {min(figure[2], 1.0):.3f}"


def _between(figures: dict[str, Figure]) -> str:
    if figures["seeds"][0] is None:
        return "needs two seeds"
    return _interval(figures["seeds"]) if figures["seeds"][1] is not None else "no interval below three seeds"


def _chance(figures: dict[str, Figure]) -> str:
    return f"blocks turned at random; unrelated {number(figures['seeds_unrelated'][0])}"


def method_choice(frame: pd.DataFrame, help: str) -> str:
    """The learning method, kept in the URL as ?method=."""
    methods = methods_of(frame)
    forget_unless("method", methods)
    return str(st.selectbox("Method", methods, key="method", bind="query-params", help=help))


def seed_choice(run: Run, label: str = "Seed", key: str = "seed", first: int = 0) -> int:
    """One of the run's seeds, kept in the URL under `key`."""
    seeds = run["seeds"]
    forget_unless(key, seeds)
    start = min(first, len(seeds) - 1)
    return int(str(st.selectbox(label, seeds, index=start, key=key, bind="query-params")))


def choice(label: str, options: list[str], key: str, default: str | None = None, **more: Any) -> str:
    """One of a few options in a row, kept in the URL under `key`."""
    forget_unless(key, options)
    return str(
        st.segmented_control(
            label, options, default=default or options[0], required=True, key=key, bind="query-params", **more
        )
    )


def forget_unless(key: str, options: Sequence[Any]) -> None:
    """Let a control start anew where what it held is no longer on offer."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]


def latent_rows(latents: pd.DataFrame, seed: int, method: str) -> pd.DataFrame:
    """The latents of one seed and method."""
    return latents[(latents["seed"] == seed) & (latents["method"] == method)]
