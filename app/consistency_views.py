"""The views "Codes", "Training" and "Truth"."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from analyses.sae_curves import trajectory
from analyses.sae_frames import summary as summarise
from analyses.sae_stability import code_figure, stabilisation_figure
from analyses.sae_worlds import allocation_figure, cosine_decay, recovery_by_frequency, truth_table
from app import run_set
from app.connection import may_launch
from app.consistency_parts import STRIPS, train
from app.functional_checks import checks_section
from app.run_set import Group
from app.widgets import VARIES, picture

AT_CHANCE = 0.1
AGAIN = {
    "init": "other random starts on data in one order",
    "order": "one random start on data in other orders",
    "both": "other starts and other orders",
}
TRUTH_TITLES = {  # columns of `truth_table`, shortened for a narrow place
    "GT-MCC (|cosine|)": "GT-MCC",
    "GT-MCC (signed cosine)": "signed",
    "F1 (mean over true features)": "F1",
    "Uniqueness (true features per latent)": "unique",
}
PAIR_COLUMNS = {
    "name": "Pair",
    "pw_mcc_abs": "PW-MCC (decoders)",
    "encoder_cosine": "Encoder cosine",
    "code_correlation": "Code correlation",
    "support_jaccard": "Support Jaccard",
    "shared_share": "Shared features (share)",
}


def codes_view(focus: Group, subset: str) -> None:
    """Do the codes agree, and not only the dictionaries? And what are they good for?"""
    agreement(focus, subset)
    if not focus.is_world:
        checks_section(focus.id)


def agreement(focus: Group, subset: str) -> None:
    """How far the codes of two seeds agree."""
    pairs = run_set.own_pairs(focus.saes, subset)
    matches = run_set.pair_matches(pairs, subset)
    if matches.empty:
        st.info("Codes are compared between two seeds of one run; train a run with two or more.")
        return
    st.markdown(
        f"Matched decoders agree by {pairs['pw_mcc_abs'].mean():.3f} (mean |cosine|); on the same held-out vectors their "
        f"codes correlate by {pairs['code_correlation'].mean():.3f} and fire together by "
        f"{pairs['support_jaccard'].mean():.3f} (Jaccard)."
    )
    picture(code_figure(matches, subset), matches, "codes")
    st.dataframe(
        pairs[list(PAIR_COLUMNS)].rename(columns=PAIR_COLUMNS),
        hide_index=True,
        alt="Every pair with the agreement of its decoders, encoders and codes",
        column_config={
            name: st.column_config.NumberColumn(format="%.3f") for name in list(PAIR_COLUMNS.values())[1:]
        },
    )


def training_view(groups: list[Group], focus: Group, subset: str) -> None:
    """How consistency came about, and whether it depends on the start or on the order of the data."""
    for index, group in enumerate(groups if len(groups) <= STRIPS else [focus]):
        pairs, truth = run_set.rows_of(group, "trajectory"), run_set.rows_of(group, "gt_trajectory")
        if group.words:
            st.text(group.words)
        if pairs.empty:
            st.caption(
                "PW-MCC was not measured during training: it needs two seeds and n_match_points above 0."
            )
            continue
        figure = trajectory(pairs, null_of(group, subset), truth if len(truth) else None)
        picture(figure, pairs, f"trajectory-{index}" if group.words else "trajectory")
    st.subheader("The start or the order?")
    varied = {other.config.get("seed_varies", "init"): other for other in same_but_order(groups, focus)}
    if len(varied) > 1:
        curves = {VARIES[kind]: run_set.rows_of(group, "trajectory") for kind, group in varied.items()}
        frame = pd.concat([rows.assign(varies=name) for name, rows in curves.items()])
        picture(stabilisation_figure(curves, null_of(focus, subset)), frame, "stabilisation")
    vary_order(focus, set(varied))


def null_of(group: Group, subset: str) -> float | None:
    pairs = run_set.own_pairs(group.saes, subset)
    return float(pairs["null_mean"].mean()) if len(pairs) else None


def same_but_order(groups: list[Group], focus: Group) -> list[Group]:
    """The groups whose settings differ from those in focus at most in what varies between seeds."""

    def key(group: Group) -> str:
        rest = {name: value for name, value in group.config.items() if name != "seed_varies"}
        return json.dumps([rest, group.runs[0]["data_seed"]], sort_keys=True)

    return [group for group in groups if key(group) == key(focus)]


def vary_order(focus: Group, known: set[str]) -> None:
    """Train the settings in focus with other sources of difference between the seeds."""
    missing = [kind for kind in VARIES if kind not in known]
    if not missing or focus.config.get("start_from") or len(focus.runs[0]["seeds"]) < 2:
        return
    button, note = st.columns([1, 2], vertical_alignment="center")
    run = focus.runs[0]
    kinds = [kind for kind in missing if kind != "init"]
    button.button(
        "Vary the data order instead" if kinds else "Vary the random start instead",
        on_click=train,
        args=(run, [{"seed_varies": kind} for kind in missing], run["seeds"]),
        icon=":material/shuffle:",
        key="vary",
        width="stretch",
        **may_launch(),
    )
    note.caption(
        f"Trains the same settings again, seeds {', '.join(map(str, run['seeds']))}: "
        + ", then ".join(AGAIN[kind] for kind in missing)
        + ". They join this page. Equal starts that drift apart show what the data's order decides."
    )


def truth_view(groups: list[Group], focus: Group, subset: str) -> None:
    """Worlds alone: what of the true dictionary was found."""
    if not focus.is_world:
        st.info(
            "These settings read a language model, whose true features are unknown. Choose a world's above."
        )
        return
    regime(focus, subset)
    features, truth = run_set.rows_of(focus, "features"), run_set.rows_of(focus, "gt_features")
    left, right = st.columns(2)
    with left:
        picture(cosine_decay(features, focus.config["n_true_features"]), features, "cosine-decay")
    with right:
        picture(recovery_by_frequency(truth), truth, "recovery")
    left, right = st.columns(2)
    with left:
        picture(allocation_figure(truth), truth, "allocation")
    with right:
        worlds = [group for group in groups if group.is_world]
        recovery(worlds if len(worlds) <= STRIPS else [focus])


def recovery(worlds: list[Group]) -> None:
    """Every seed's recovery of the truth."""
    st.markdown("**Recovery of the truth, seed by seed**")
    tables = [truth_table(run_set.rows_of(group, "saes")).assign(Settings=group.words) for group in worlds]
    found = pd.concat(tables, ignore_index=True)
    numbers = {
        name: st.column_config.NumberColumn(short, format="%.3f", help=name)
        for name, short in TRUTH_TITLES.items()
    }
    st.dataframe(
        found[[*(["Settings"] if len(worlds) > 1 else []), "Seed", *TRUTH_TITLES]],
        hide_index=True,
        alt="Recovery of every seed",
        column_config=numbers,
    )


def regime(focus: Group, subset: str) -> None:
    """Which regime of identifiability the world and the dictionary are in, and whether consistency means anything."""
    config: dict[str, Any] = focus.config
    d_sae, d_gt = config["d_sae"], config["n_true_features"]
    if d_sae > d_gt:
        words = (
            "**Redundant**: more latents than true features. Several latents can stand for one feature and each seed may pick "
            "another, so recovery can be high while seeds disagree."
        )
    elif d_sae < d_gt:
        words = (
            "**Compressive**: fewer latents than true features. Not every feature can be found; expect both recovery and "
            "consistency below 1."
        )
    else:
        words = "**Matched**: as many latents as true features. A solution every seed can agree on exists."
    st.info(f"{words} ({d_sae:,} latents, {d_gt:,} true features in {config['d_in']} dimensions.)")
    pairs = run_set.own_pairs(focus.saes, subset)
    if pairs.empty:
        return
    found = summarise(pairs, run_set.rows_of(focus, "saes"), subset)
    if found["pw_mcc_abs"] - found["null"] < AT_CHANCE:
        st.warning(
            f"At chance: PW-MCC {found['pw_mcc_abs']:.3f} is within {AT_CHANCE} of what random directions reach "
            f"({found['null']:.3f}), so agreement and recovery say nothing here. Train longer, or change sparsity or size."
        )
