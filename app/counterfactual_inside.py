"""What was learnt: recovery of a known world, one true counterfactual, influence of latents, what each block carries."""

import streamlit as st

from analyses.counterfactual_figures import by_arm_figure, divergence_figure, example_figure, influence_figure
from analyses.counterfactual_frames import (
    ERRORS,
    RECOVERY,
    arm_name,
    by_arm,
    collapsed,
    divergences,
    influence_map,
)
from app.causal_parts import forget_unless
from app.connection import table
from app.counterfactual_parts import Chosen
from app.study_runs import Run
from app.widgets import literal, picture


def recovery_section(run: Run) -> None:
    """R² and counterfactual errors of every arm where the truth is known."""
    st.subheader("Recovery and counterfactuals")
    rows = table(run["id"], "cf_bench")
    left, right = st.columns(2)
    with left:
        frame = by_arm(rows, RECOVERY)
        picture(by_arm_figure(frame, "recovery", float(rows["null"].mean())), frame, "recovery")
    with right:
        frame = by_arm(rows, ERRORS)
        picture(by_arm_figure(frame, "errors"), frame, "errors")
    st.caption(
        "Every row gets another row's style noise; content and domain stay. The true answer is known. Through s̃: abduct the noise, act "
        "on it, predict. Swapping s takes the donor's style as it is, although style depends on content and domain."
    )


def example_section(chosen: Chosen) -> None:
    """One row and its true and predicted counterfactuals (?pair=)."""
    rows = chosen.rows("cf_examples")
    if rows.empty:
        return
    pairs = sorted(int(pair) for pair in set(rows["pair"]))
    forget_unless("pair", pairs)
    pair = st.selectbox("Row whose counterfactual is drawn", pairs, key="pair", bind="query-params")
    mine = rows[rows["pair"] == pair]
    picture(example_figure(mine), mine, "example")


def influence_section(chosen: Chosen) -> None:
    """Does the assumption hold: fewer outputs for each style than for each content?"""
    st.subheader("The assumption: style touches less")
    outputs = "Hidden units of the decoder" if chosen.is_text else "Outputs"
    rows = chosen.rows("cf_influence")
    frame, found = influence_map(rows)
    left, right = st.columns([3, 2])
    with left:
        picture(influence_figure(frame, found, outputs), rows, "influence")
    with right:
        arms = table(chosen.run["id"], "cf_arms")
        shown = arms[["arm", "seed", "support_style", "support_content", "relative", "style_only", "masked"]]
        shown = shown.assign(arm=[arm_name(str(arm)) for arm in shown["arm"]])
        config = {
            "arm": st.column_config.Column("arm", width=120),
            "support_style": st.column_config.NumberColumn("style touches", format="percent"),
            "support_content": st.column_config.NumberColumn("content touches", format="percent"),
            "relative": st.column_config.Column("relative sparsity"),
            "style_only": st.column_config.NumberColumn("style-only outputs"),
            "masked": st.column_config.NumberColumn("content masked off"),
        }
        st.dataframe(
            shown,
            hide_index=True,
            alt="Supports of every arm and seed",
            column_config=config,
            height="content",
        )
    proxy = (
        " Of texts these are hidden states of the decoder, summed over time: a proxy of a proxy."
        if chosen.is_text
        else ""
    )
    st.caption(
        "The theorem needs every style to touch fewer outputs than every content, and some outputs that style touches and some content "
        f"does not (partial overlap). What is drawn is what the model learnt, not what is true.{proxy}"
    )


def divergence_section(chosen: Chosen) -> None:
    """KL of both blocks while training, with an alarm."""
    st.subheader("What each block carries")
    curve = table(chosen.run["id"], "cf_curve")
    frame = divergences(curve, chosen.arm)
    picture(divergence_figure(frame, chosen.arm), frame, "divergence")
    arms = table(chosen.run["id"], "cf_arms")
    empty = collapsed(arms)
    if empty:
        st.warning(f"Collapsed: {literal('; '.join(empty))}.")
    else:
        st.caption("No block of any arm and seed has collapsed.")


def data_section(run: Run) -> None:
    """Rows of each domain and split, what was left out, and how good the judge of styles is."""
    with st.expander("The data"):
        data = table(run["id"], "cf_data")
        rows = data[data["name"].str.startswith("rows ")]
        wide = rows.assign(split=rows["name"].str.removeprefix("rows "), n=rows["value"].astype(int))
        counts = wide.pivot(index="key", columns="split", values="n").reindex(
            columns=["train", "validation", "test"], index=list(dict.fromkeys(wide["key"]))
        )
        judge = data[data["name"] == "judge"].set_index("key")["value"].astype(float)
        if len(judge):
            counts["judge's accuracy"] = judge.reindex(counts.index)
        st.dataframe(counts.reset_index(names="domain"), hide_index=True, alt="Rows by domain and split")
        notes = [
            f"{row.value} rows {row.key} were left out."
            for row in data[data["name"] == "left out"].itertuples()
        ]
        licence = data.loc[data["name"].isin(["tier", "licence"]), "value"]
        st.caption(literal(" ".join([f"{' · '.join(reversed(list(licence)))}.", *notes])))
        if len(judge):
            st.caption(
                f"The judge (logistic regression on words and word pairs of training texts) is right on {judge['all']:.1%} of the "
                "labelled test texts: the ceiling of style accuracy."
            )
