"""Arms beside each other: figures, the sweep of sparsity, training, agreement of seeds, and the pictures themselves."""

import pandas as pd
import streamlit as st

from analyses.smartclip_figures import agreement_figure, arms_figure, curves_figure, sweep_figure
from analyses.smartclip_frames import (
    EXPLAINED,
    FIGURES,
    MEASURES,
    arm_figures,
    arm_name,
    curve,
    in_order,
    sweep,
    with_gaps,
)
from analyses.smartclip_strips import gallery_figure
from app.causal_parts import choice
from app.connection import table
from app.masks_inside import sizes_section
from app.masks_parts import Chosen, origin_words
from app.study_runs import Run
from app.widgets import literal, picture

CURVES = {
    "validation_recall": "R@1 of whole captions, validation",
    "mask_share": "Share of dimensions kept",
    "align": "Alignment loss",
}


def sweep_section(chosen: Chosen) -> None:
    """λ sweep beside mask size against caption length."""
    st.subheader("How sparse")
    arms = table(chosen.run["id"], "smartclip_arms")
    group = choice("Against λ", list(MEASURES), "group")
    left, right = st.columns(2)
    with left:
        frame = sweep(arms, chosen.d, group)
        title = {"separation": "Separation", "retrieval": "Retrieval", "kept": "What is kept"}[group]
        picture(sweep_figure(frame, f"{title} against λ"), frame, "sweep")
    with right:
        sizes_section(chosen)
    st.caption(
        "Upstream has λ = 2 for 512 dimensions and a pretrained CLIP. λ trades what a mask leaves out against what it finds: read "
        "separation and retrieval together."
    )


def arms_section(run: Run, d: int) -> None:
    """Every figure of every arm, as a picture and a table."""
    st.subheader("Arms")
    arms = table(run["id"], "smartclip_arms")
    frame = arm_figures(arms, d)
    picture(arms_figure(frame, with_gaps(arms, d)), frame, "arms")
    _table(arms, d)
    with st.expander("What the figures are"):
        st.markdown("\n".join(f"- **{FIGURES[name]}**: {text}." for name, text in EXPLAINED.items()))
    alike = table(run["id"], "smartclip_agreement")
    picture(agreement_figure(alike), alike, "agreement")


def curves_section(run: Run) -> None:
    """Training of every arm."""
    with st.expander("Training curves of the arms"):
        measure = choice("Curve", list(CURVES), "curve", format_func=CURVES.__getitem__)
        rows = curve(table(run["id"], "smartclip_curve").query("arm != 'base'"), measure)
        picture(curves_figure(rows, CURVES[measure]), rows, "curves")


def _table(arms: pd.DataFrame, d: int) -> None:
    """Mean over seeds of every figure, with the chance of retrieval and the controls of masks."""
    names = {
        "lambda": "λ",
        **FIGURES,
        "short_1_chance": "One sentence, chance", "own": "own attribute", "other": "other attributes", "control_own": "random, own",
        "control_other": "random, others", "outside": "own, left out", "union_shuffled": "union, other sentences",
        "union_random": "union, random masks", "intersection": "intersection", "information": "information of a bit", "size_single": "size, one sentence", "size_whole": "size, whole",
    }  # fmt: skip
    frame = with_gaps(arms, d).groupby("arm")[list(names)].mean().reindex(in_order(list(arms["arm"])))
    frame.insert(0, "name", [arm_name(str(arm)) for arm in frame.index])
    frame["seeds"] = arms.groupby("arm")["seed"].nunique()
    config = {name: st.column_config.NumberColumn(words, format="%.3f") for name, words in names.items()}
    config |= {
        name: st.column_config.NumberColumn(names[name], format="%.1f")
        for name in ("size_single", "size_whole")
    }
    config["lambda"] = st.column_config.NumberColumn("λ", format="%g")
    st.dataframe(
        frame.dropna(axis=1, how="all"), hide_index=True, alt="Figures of every arm, mean over seeds", placeholder="–",
        column_config={"name": st.column_config.Column("arm", pinned=True), **config},
    )  # fmt: skip


def gallery_section(run: Run) -> None:
    """Some test pictures, and whose they are."""
    with st.expander("The pictures"):
        rows = table(run["id"], "smartclip_pictures", order="picture")
        picture(gallery_figure(rows, origin_words(run)), rows[["picture", "caption"]], "pictures")
        st.caption(f"Pictures: {literal(origin_words(run))}. Their captions show under the pointer.")
