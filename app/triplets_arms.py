"""What retraining brought: arms beside the base, rounds, the toy of appendix E, generators."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analyses.srf_figures import deltas_figure, fractions_figure, noise_figure, rounds_figure
from analyses.srf_frames import arm_name, deltas, fractions, gains, in_order, rounds_table, type_deltas
from app.causal_parts import forget_unless
from app.connection import table
from app.denoising_parts import linked_choice
from app.map_parts import kept
from app.study_runs import Run
from app.triplets_parts import KINDS, generators_of, kept_share, own_arm
from app.widgets import literal, picture

GENERATORS = {
    "kind": ("generator", None),
    "vqa": ("held-out VQA", "%.3f"),
    "precision": ("right of all", "%.3f"),
    "distinct2": ("Distinct-2", "%.3f"),
    "ttr": ("type-token ratio", "%.3f"),
    "tied_share": ("tied at 1", "%.3f"),
    "score_auc": ("AUC of S", "%.3f"),
    "score_mean": ("mean S", "%.3f"),
    "shuffled_score": ("mean S, wrong image", "%.3f"),
    "seeds": ("seeds", "%d"),
}
ROUNDS = {
    "round": ("round", "%d"), "vqa": ("generator's VQA", "%.3f"), "auc": ("AUC of S", "%.3f"), "tied": ("tied at 1", "%.3f"),
    "precision": ("right of all", "%.3f"), "precision_kept": ("right of kept", "%.3f"), "base": ("base", "%.3f"),
    "retrained": ("retrained", "%.3f"),
}  # fmt: skip


def arms_section(run: Run) -> None:
    """Accuracy of every retrained arm less a control's, by test set and by type."""
    st.subheader("Retrained models")
    arms = table(run["id"], "srf_arms")
    if arms["arm"].nunique() < 2:
        st.caption("This run retrained fewer than two models; name more arms under Learn it again.")
        return
    cells = st.columns([2, 3, 3], vertical_alignment="bottom")
    rounds = sorted(int(number) for number in arms["round"].unique())
    forget_unless("arms_round", rounds)
    number = cells[0].selectbox("Round", rounds, key="arms_round", bind="query-params")
    arms = arms[arms["round"] == number]
    names = {arm: arm_name(arm) for arm in in_order(list(arms["arm"]))}
    with cells[1]:
        against = linked_choice("Less", names, "against", "base" if "base" in names else next(iter(names)))
    others = {arm: words for arm, words in names.items() if arm != against}
    start = next((arm for arm in ("selection", own_arm(run)) if arm in others), next(iter(others)))
    with cells[2]:
        arm = linked_choice("By type", others, "arm", start)
    types = table(run["id"], "srf_arm_types")
    of_round = types[types["round"] == number]
    drawn = {
        "arms": (lambda: deltas(arms, against), "Arms"),
        "arm-types": (lambda: type_deltas(of_round, arm, against), f"By type: {others[arm]}"),
    }
    for column, (key, (make, title)) in zip(st.columns(2, gap="medium"), drawn.items(), strict=True):
        with column:
            frame, figure = kept(
                f"srf_{key}", (run["id"], number, against, arm), partial(_drawn, make, title, names[against])
            )
            picture(figure, frame.drop(columns="each"), key)
    added = arms[arms["added"] > 0].groupby("arm")["added"].mean()
    told = ", ".join(f"{arm_name(str(arm))} {int(count):,}" for arm, count in added.items())
    _fractions(run, arms, number, against)
    if told:
        st.caption(
            literal(f"Triplets added: {told}. All arms start from the same weights and take as many steps.")
        )


def _fractions(run: Run, arms: pd.DataFrame, number: int, against: str) -> None:
    """Gain by the share kept, where several were retrained."""
    frame = fractions(arms, own_arm(run), float(run["config"]["keep"]), against)
    if frame["share"].nunique() > 2:
        figure = kept(
            "srf_fractions", (run["id"], number, against), lambda: fractions_figure(frame, arm_name(against))
        )
        picture(figure, frame.drop(columns="each"), "fractions")


def _drawn(make: Callable[[], pd.DataFrame], title: str, against: str) -> tuple[pd.DataFrame, go.Figure]:
    frame = make()
    return frame, deltas_figure(frame, title, against)


def rounds_section(run: Run) -> None:
    """The lineage of models, and what a further round adds."""
    arms, made = table(run["id"], "srf_arms"), generators_of(run)
    kind = made["kind"].iloc[0] if len(made) else KINDS[0]
    arm = "selection" if "selection" in set(arms["arm"]) else own_arm(run)
    keep = kept_share(run)
    rows = rounds_table(arms, made, table(run["id"], "srf_filters"), kind, arm, keep)
    st.subheader("Rounds")
    if len(rows) > 1:
        frame = gains(
            arms,
            only=[
                name for name in ("random", "triangle", "triangle_tied", "oracle") if name in set(arms["arm"])
            ],
        )
        picture(kept("srf_rounds", run["id"], lambda: rounds_figure(frame)), frame, "rounds")
    st.dataframe(
        rows.dropna(axis=1, how="all"),
        hide_index=True,
        alt="The models of every round",
        column_config=_config(ROUNDS),
    )
    st.caption(
        f"Round k's generator is tuned from the model that round k − 1 left. Kept: {literal(arm_name(arm))}, best {keep:.0%}; means over seeds."
        + ("" if len(rows) > 1 else " This run has one round; add rounds under Learn it again.")
    )


def generators_section(run: Run) -> None:
    """Generators beside each other: accuracy, diversity, and whether their S is about the image."""
    with st.expander("Generators, and the regression of appendix E"):
        made = table(run["id"], "srf_generators")
        rows = made.groupby(["round", "kind"], as_index=False).mean(numeric_only=True)
        rows["seeds"] = made.groupby(["round", "kind"])["seed"].nunique().to_numpy()
        rows["kind"] = rows["kind"].str.replace("_", " ")
        st.dataframe(
            rows[["round", *GENERATORS]],
            hide_index=True,
            alt="Generators, mean over seeds",
            placeholder="–",
            column_config=_config(GENERATORS),
        )
        noise = table(run["id"], "srf_noise")
        picture(kept("srf_noise", run["id"], lambda: noise_figure(noise)), noise, "appendix-e")


def _config(columns: Mapping[str, tuple[str, str | None]]) -> dict[str, Any]:
    return {
        name: st.column_config.Column(title)
        if format is None
        else st.column_config.NumberColumn(title, format=format)
        for name, (title, format) in columns.items()
    }
