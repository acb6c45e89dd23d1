"""Identify › Consistency: do the features of one seed come back in the others?"""

from typing import Any

import pandas as pd
import streamlit as st

from analyses import sae_consistency as pictures
from analyses.sae_frames import summary as summarise
from app import run_set
from app.connection import client, stay_connected, table
from app.consistency_parts import claims_section, data_note, next_steps, strip
from app.widgets import (
    ACTIVE,
    PAGES,
    describe,
    live_curves,
    picture,
    show_progress,
    show_refusal,
    state_badge,
    worker_output,
)
from engine.client import EngineError

STUDY = "sae_consistency"


def find(run_id: str, known: dict[str, dict[str, Any]]) -> bool:
    """Whether the run is known; one older than those listed is asked for and added."""
    if run_id not in known:
        try:
            run = client().run(run_id)
        except EngineError:
            return False
        if run["study"] == STUDY:
            known[run_id] = run
    return run_id in known


def choose_runs(known: dict[str, dict[str, Any]]) -> list[str]:
    """The run set, kept in the URL as ?runs=id,id and for the rest of the session."""
    link = st.query_params.get("runs", "")
    wanted = link or st.session_state.get("run_set_url", "")
    asked = [run for run in dict.fromkeys(wanted.split(",")) if run]
    if missing := [run for run in asked if not find(run, known)]:
        st.warning(f"No run of this study is called {', '.join(missing)}; choose from those below.")
    if "run_set" not in st.session_state or st.session_state.get("run_set_url") != link:
        fallback = next((run["id"] for run in known.values() if run["state"] == "done"), next(iter(known)))
        st.session_state["run_set"] = [run for run in asked if run in known] or [fallback]
    chosen = st.multiselect(
        "Runs",
        list(known),
        key="run_set",
        format_func=lambda run: describe(known[run]),
    )
    st.query_params["runs"] = st.session_state["run_set_url"] = ",".join(chosen)
    return chosen


@st.fragment(run_every=1)
def watch(run_id: str) -> None:
    stay_connected()
    run = client().run(run_id)
    st.markdown(f"{state_badge(run)} {describe(run)}")
    show_progress(run)
    if len(run["seeds"]) > 1:
        st.caption(
            f"{len(run['seeds'])} sparse autoencoders learn side by side: same data in the same order, different random "
            "starts. How far they agree appears here when they are done."
        )
    live_curves(run_id, ("fvu", "pw_mcc_abs"), f"live-{run_id}")
    if run["state"] not in ACTIVE:
        st.rerun()


def unfinished(run: dict[str, Any]) -> None:
    """What to show of a run that has no result."""
    if run["state"] in ACTIVE:
        watch(run["id"])
        return
    st.markdown(f"{state_badge(run)} {describe(run)}")
    if run["error"]:
        st.error(run["error"])
    with st.container(horizontal=True):
        st.page_link(
            PAGES["jobs"],
            label="Resume it under Jobs",
            icon=":material/play_arrow:",
            query_params={"run": run["id"]},
        )
        st.page_link(
            PAGES["new"],
            label="Clone it with other settings",
            icon=":material/content_copy:",
            query_params={"clone": run["id"]},
        )
    worker_output(run["id"])


def on_cell() -> None:
    points = st.session_state["chart-heatmap"]["selection"]["points"]
    if points and points[0].get("customdata"):
        a, b = points[0]["customdata"][:2]
        names = st.session_state["pair_names"]
        st.session_state["pair"] = next(
            n for n in names if n in (run_set.pair_name(a, b), run_set.pair_name(b, a))
        )


def result(runs: list[dict[str, Any]]) -> None:
    groups = run_set.by_settings(runs)
    saes = run_set.label_saes(groups)
    if len(saes) < 2:
        st.info("Consistency needs at least two seeds and this run has one. Train more below.")
        return
    subset = st.segmented_control(
        "Latents",
        ["alive", "all"],
        default="alive",
        required=True,
        key="latents",
        bind="query-params",
        help="Alive: fires on a held-out token, or fired within the last dead_after training vectors.",
    )
    with st.spinner("Matching features"):
        pairs = run_set.all_pairs(saes, subset)
    if pairs.empty:
        st.warning(
            "No latent is alive in one of these SAEs, so there is nothing to match; choose all latents."
        )
        return
    labels = [sae.label for sae in saes]
    null = float(pairs["null_mean"].mean())
    first_strips(groups, saes, pairs, subset)
    st.session_state["pair_names"] = list(pairs["name"])
    left, right = st.columns(2)
    with left:
        picture(
            pictures.consistency_heatmap(pairs, labels, subset=subset),
            pairs,
            "heatmap",
            on_select=on_cell,
            selection_mode="points",
        )
        st.caption("Click a cell to see its matched features below.")
        if not pairs["same_settings"].all():
            st.caption(
                "SAEs of different settings but the same seed can start from the same dictionary; part of their agreement is "
                "that start."
            )
    sae_of = {sae.label: sae for sae in saes}
    frames = {
        row["name"]: run_set.matches(sae_of[row["label_a"]], sae_of[row["label_b"]], subset)
        for row in pairs.to_dict("records")
    }
    with right:
        together = pd.concat(frames.values())
        picture(pictures.matched_cosine_curve(together, null, subset), together, "cosine-curves")
    features(pairs, frames, sae_of, null)
    development(groups, null)


def first_strips(
    groups: list[list[dict[str, Any]]], saes: list[run_set.Sae], pairs: pd.DataFrame, subset: str
) -> None:
    """The strip of figures, once for every settings; pairs across settings stand in the heat map alone."""
    for index, (group, words) in enumerate(zip(groups, run_set.differences(groups), strict=True)):
        inside = {sae.label for sae in saes if sae.settings == index}
        own = pairs[pairs["label_a"].isin(inside) & pairs["label_b"].isin(inside)]
        if words:
            st.text(words)
        if own.empty:
            st.caption(
                "One SAE of these settings, or none with alive latents: no pair to compare within them."
            )
            continue
        figures = pd.concat([table(run["id"], "saes") for run in group]).drop_duplicates("seed")
        strip(summarise(own, figures, subset), group[0]["config"]["d_sae"])


def features(
    pairs: pd.DataFrame, frames: dict[str, pd.DataFrame], sae_of: dict[str, run_set.Sae], null: float
) -> None:
    st.subheader("Matched features")
    name = st.selectbox("Pair", list(pairs["name"]), key="pair", bind="query-params")
    row = pairs[pairs["name"] == name].iloc[0]
    a, b, frame = sae_of[row["label_a"]], sae_of[row["label_b"]], frames[name]
    pages = -(-len(frame) // run_set.MAX_ROWS)
    page = st.pagination(pages, key="feature_page") if pages > 1 else 1
    part = frame.iloc[(page - 1) * run_set.MAX_ROWS : page * run_set.MAX_ROWS]
    shown = part[["rank", "feature_a", "feature_b", "cosine", "frequency_a", "frequency_b"]]
    left, right = st.columns(2)
    with left:
        st.dataframe(
            shown,
            hide_index=True,
            key="match_table",
            on_select="rerun",
            selection_mode="single-row",
            height=420,
            alt=f"Matched features of {name}, most similar first",
            column_config={
                "rank": st.column_config.NumberColumn(width=45),
                "feature_a": st.column_config.NumberColumn("feature a", width=75, help=a.label),
                "feature_b": st.column_config.NumberColumn("feature b", width=75, help=b.label),
                "cosine": st.column_config.NumberColumn(format="%.3f", width=65),
                "frequency_a": st.column_config.NumberColumn(
                    "fires a", format="percent", width=70, help="Share of held-out vectors it fires on"
                ),
                "frequency_b": st.column_config.NumberColumn(
                    "fires b", format="percent", width=70, help="Share of held-out vectors it fires on"
                ),
            },
        )
        picked = st.session_state["match_table"]["selection"]["rows"]
        st.caption(f"a: {a.label}; b: {b.label}. Select a row to compare the two features' contexts.")
    with right:
        figure = pictures.frequency_scatter(frame, null, frame["subset"].iloc[0])
        picture(figure, frame, "frequency")
    if len(part):
        compare(a, b, part.iloc[picked[0] if picked and picked[0] < len(part) else 0])


def compare(a: run_set.Sae, b: run_set.Sae, match: pd.Series) -> None:
    st.markdown(f"**Held-out contexts of the matched pair, cosine {match['cosine']:.3f}**")
    for column, sae, feature in zip(
        st.columns(2), (a, b), (match["feature_a"], match["feature_b"]), strict=True
    ):
        found = run_set.contexts(sae, int(feature))
        column.caption(f"{sae.label}, feature {int(feature)}")
        if found.empty:
            column.caption(
                "No text: the vectors come from a synthetic world, or the feature never fires on held-out tokens."
            )
            continue
        column.dataframe(
            found,
            hide_index=True,
            alt=f"Contexts of feature {int(feature)}",
            row_height=72,
            column_config={
                "value": st.column_config.NumberColumn("activation", format="%.1f", width=80),
                "context": st.column_config.TextColumn(width=360),
            },
        )


def development(groups: list[list[dict[str, Any]]], null: float) -> None:
    st.subheader("How it came about")
    for index, (group, words) in enumerate(zip(groups, run_set.differences(groups), strict=True)):
        pairs = pd.concat([table(run["id"], "trajectory") for run in group])
        truth = pd.concat([table(run["id"], "gt_trajectory") for run in group])
        if words:
            st.text(words)
        if pairs.empty:
            st.caption(
                "PW-MCC was not measured during training: it needs two seeds and n_match_points above 0."
            )
            continue
        picture(
            pictures.trajectory(pairs, null, truth if len(truth) else None),
            pairs,
            f"trajectory-{index}" if words else "trajectory",
        )


st.title("Consistency")
st.caption(
    "Do the features learnt from one random start come back from another? PW-MCC: mean |cosine| of decoder directions after the best one-to-one matching (arXiv 2505.20254)."
)
show_refusal()
known = {run["id"]: run for run in client().runs(study=STUDY, limit=200)}
if not known:
    st.info("Nothing trained yet. Start the tour on Home, or set up a run of your own.")
    st.page_link(PAGES["home"], label="Home", icon=":material/home:")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
    st.stop()
chosen = [known[run] for run in choose_runs(known)]
if not chosen:
    st.info("Choose at least one run above.")
    st.stop()
for run in chosen:
    if run["state"] != "done":
        unfinished(run)
done = [run for run in chosen if run["state"] == "done"]
if done:
    data_note(done)
    result(done)
    next_steps(done[0], list(known.values()))
    claims_section(STUDY)
