"""The view "Levels" of the hierarchy page: concept levels by diffusion timestep."""

import pandas as pd
import streamlit as st

from analyses.hierarchy_diffusion import (
    EFFECTIVE,
    ENERGIES,
    jacobian_figure,
    last_effective,
    level_gap,
    levels_figure,
    orders_figure,
    samples_figure,
    shown_energies,
)
from analyses.matching import mean_interval
from app.hierarchy_parts import Result, choose, pick
from app.widgets import picture


def levels_strip(levels: pd.DataFrame) -> None:
    """Seeds agree · gap between the levels · the same at equal energies · chance."""
    gaps = {kind: rows["gap"] for kind, rows in level_gap(levels).groupby("energies")}
    spread = levels.groupby(["energies", "concept", "start"])["match"].std().mean()
    cells = [
        ("Seeds differ by", spread, "standard deviation of a match between seeds, mean over the curves"),
        *(
            (
                f"Gap, {kind} energies",
                gaps[kind].mean(),
                f"area between the curves of low and high concept{interval(gaps[kind])}",
            )
            for kind in ENERGIES
            if kind in gaps
        ),
        ("Chance", levels["chance"].mean(), "match of images that know nothing of the concept"),
    ]
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, "–" if pd.isna(value) else f"{value:.3f}")
        column.caption(note)
    st.markdown(energy_sentence(gaps))


def interval(gap: pd.Series) -> str:
    if len(gap) < 2:
        return ""
    low, high = mean_interval(gap)
    return f", 95 % interval {low:.3f} to {high:.3f} over {len(gap)} seeds"


def energy_sentence(gaps: dict[str, pd.Series]) -> str:
    """How much of the gap between the levels is a matter of energy; nothing is said of a gap that may be 0."""
    if not {"natural", "equal"} <= set(gaps):
        return "Without the control of equal energies the levels cannot be told from the energies of their patterns."
    words = "Noise hides weak patterns before strong ones, so a high concept of large energy must come early for that reason alone."
    if len(gaps["natural"]) < 2 or mean_interval(gaps["natural"])[0] <= 0:
        return f"{words} The gap at natural energies is not clearly above 0 here, so there is nothing to divide; use more seeds."
    natural, equal = gaps["natural"].mean(), gaps["equal"].mean()
    if equal <= 0:
        return f"{words} With equal energies nothing of the gap of {natural:.3f} is left ({equal:.3f}): here it is energy, not hierarchy."
    return f"{words} With equal energies {equal:.3f} of the gap of {natural:.3f} is left: {1 - equal / natural:.0%} of it is energy, not hierarchy."


def levels_view(result: Result) -> None:
    """Match by injection, order of injection, Jacobian sparsity."""
    levels = result.rows("diffusion_levels")
    if levels.empty:
        st.info("This run stored no curves; launch it again.")
        return
    levels_strip(levels)
    st.subheader("How late can a concept be given?")
    picture(levels_figure(levels), levels, "concept-levels")
    st.caption(_ends(levels))
    st.subheader("Does the order matter?")
    orders(result)
    st.subheader("How many inputs does the denoiser listen to?")
    sparsity = result.rows("jacobian_sparsity")
    picture(jacobian_figure(sparsity), sparsity, "jacobian-sparsity")
    st.caption(
        "Share of the entries of |∂ε̂/∂x| below a fixed threshold: a stand-in for the sparsity of attention, which the paper "
        "measured on a text-to-image model that cannot be run here."
    )


def _ends(levels: pd.DataFrame) -> str:
    ends = last_effective(levels).dropna()
    rest = "mean and 95 % band over seeds; dashed: chance."
    if ends.empty:
        return f"No concept reaches a match of {EFFECTIVE} even when given from the start, so there is no last effective step; {rest}"
    return (
        f"Upright ticks: the last injection after which the mean match is still at least {EFFECTIVE}; {rest}"
    )


@st.fragment
def orders(result: Result) -> None:
    """Bars of both orders, and images of one seed in two rows."""
    rows = result.rows("diffusion_orders")
    picture(orders_figure(rows), rows, "concept-orders")
    samples = result.rows("diffusion_samples")
    if samples.empty:
        return
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        kind = pick("Energies of the images", shown_energies(samples), "energies")
    with right:
        seed = int(choose("Seed", [str(s) for s in sorted(samples["seed"].unique())], "image_seed"))
    part = samples[(samples["seed"] == seed) & (samples["energies"] == kind)]
    picture(samples_figure(part), part, "concept-samples")
    st.caption(
        "The first images that were generated, not chosen; above, the high-level concept was given first."
    )
