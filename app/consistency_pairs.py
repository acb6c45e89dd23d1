"""The view "Pairs": how alike every two SAEs are, and the matched features of a pair."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses import sae_consistency as pictures
from analyses.figures import legend_below
from app import run_set
from app.run_set import Group, Sae
from app.widgets import picture

WITH_MOST = 3
LONG_LABEL = 24  # characters, beyond which the pictures need the whole width


def pairs_view(groups: list[Group], focus: Group, subset: str) -> None:
    saes = compared(groups, focus)
    if len(saes) < 2:
        st.info("Consistency needs at least two seeds and this run has one. Train more above.")
        return
    many = len(saes) > run_set.CROSS_UP_TO
    pairs = run_set.own_pairs(saes, subset) if many else run_set.all_pairs(saes, subset)
    if pairs.empty:
        st.warning(
            "No latent is alive in one of these SAEs, so there is nothing to match; choose all latents."
        )
        return
    null = float(pairs["null_mean"].mean())
    st.session_state["pair_names"] = list(pairs["name"])
    longest = max(len(sae.label) for sae in saes)
    wide = longest > LONG_LABEL
    left, right = (st.container(), st.container()) if wide else st.columns(2)
    with left:
        heat_map(pairs, saes, subset, room=6 * longest if wide else 0)
    with right:
        together = run_set.pair_matches(pairs, subset)
        figure = pictures.matched_cosine_curve(together, null, subset)
        picture(legend_below(figure) if wide else figure, together, "cosine-curves")
    features(pairs, null, subset)


def heat_map(pairs: pd.DataFrame, saes: tuple[Sae, ...], subset: str, room: int) -> None:
    """The matrix of every two SAEs, with `room` pixels more for long labels below it."""
    figure = pictures.consistency_heatmap(pairs, [sae.label for sae in saes], subset=subset)
    figure.update_layout(height=figure.layout.height + room)
    picture(figure, pairs, "heatmap", on_select=on_cell, selection_mode="points")
    st.caption("Click a cell to see its matched features below.")
    if not pairs["same_settings"].all():
        st.caption(
            "SAEs of different settings but the same seed can start from the same dictionary; part of their agreement is "
            "that start."
        )


def compared(groups: list[Group], focus: Group) -> tuple[Sae, ...]:
    """Every SAE of the set, or those in focus and of a few other settings when there are many."""
    saes = tuple(sae for group in groups for sae in group.saes)
    if len(saes) <= run_set.CROSS_UP_TO or len(groups) == 1:
        return saes
    others = {group.id: group for group in groups if group is not focus}
    asked = st.query_params.get("with", "").split(",")
    kept = st.session_state.get("with", [run for run in asked if run in others][:WITH_MOST])
    st.session_state["with"] = [run for run in kept if run in others]
    chosen = st.multiselect(
        "Compared with",
        list(others),
        key="with",
        format_func=lambda run: others[run].words,
        max_selections=WITH_MOST,
        placeholder="up to three other settings",
    )
    if chosen or asked != [""]:
        st.query_params["with"] = ",".join(chosen)
    shown = run_set.groups([run for group in (focus, *(others[id] for id in chosen)) for run in group.runs])
    found = tuple(sae for group in shown for sae in group.saes)
    st.caption(
        f"The set holds {len(saes)} SAEs, too many to match each with each: here are those of the settings in focus, and "
        f"of those chosen to compare{', each with its own seeds only' if len(found) > run_set.CROSS_UP_TO else ''}."
    )
    return found


def on_cell() -> None:
    points = st.session_state["chart-heatmap"]["selection"]["points"]
    if points and points[0].get("customdata"):
        a, b = points[0]["customdata"][:2]
        names = st.session_state["pair_names"]
        st.session_state["pair"] = next(
            n for n in names if n in (run_set.pair_name(a, b), run_set.pair_name(b, a))
        )


def features(pairs: pd.DataFrame, null: float, subset: str) -> None:
    st.subheader("Matched features")
    name = st.selectbox("Pair", list(pairs["name"]), key="pair", bind="query-params")
    matched_features(pairs[pairs["name"] == name].iloc[0].to_dict(), null, subset)


@st.fragment
def matched_features(pair: dict[str, Any], null: float, subset: str) -> None:
    """The table of a pair's matched features, their frequencies, and the contexts of the chosen two."""
    frame = run_set.matches(pair, subset)
    left, right = st.columns(2)
    with left:
        part, chosen = match_table(frame, pair)
    with right:
        picture(pictures.frequency_scatter(frame, null, subset), frame, "frequency")
    if len(part):
        compare(pair, part.iloc[chosen])


def match_table(frame: pd.DataFrame, pair: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """One page of the matched features, and which of its rows is chosen."""
    part = page_of(frame, "feature_page")
    st.dataframe(
        part[["rank", "feature_a", "feature_b", "cosine", "frequency_a", "frequency_b"]],
        hide_index=True,
        key="match_table",
        on_select="rerun",
        selection_mode="single-row",
        height=420,
        alt=f"Matched features of {pair['name']}, most similar first",
        column_config={
            "rank": st.column_config.NumberColumn(width=45),
            "feature_a": st.column_config.NumberColumn("feature a", width=75, help=pair["label_a"]),
            "feature_b": st.column_config.NumberColumn("feature b", width=75, help=pair["label_b"]),
            "cosine": st.column_config.NumberColumn(format="%.3f", width=65),
            "frequency_a": fires("fires a"),
            "frequency_b": fires("fires b"),
        },
    )
    st.caption(
        f"a: {pair['label_a']}; b: {pair['label_b']}. Select a row to compare the two features' contexts."
    )
    return part, chosen_row("match_table", len(part))


def fires(title: str) -> Any:
    """A column of activation frequencies."""
    return st.column_config.NumberColumn(
        title, format="percent", width=70, help="Share of held-out vectors it fires on"
    )


def page_of(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """At most 1,000 rows of a frame; a pager chooses which where there are more."""
    pages = -(-len(frame) // run_set.MAX_ROWS)
    page = st.pagination(pages, key=key) if pages > 1 else 1
    return frame.iloc[(page - 1) * run_set.MAX_ROWS : page * run_set.MAX_ROWS]


def chosen_row(key: str, rows: int) -> int:
    """The row chosen in the table of that key, the first unless one of its `rows` is."""
    picked = st.session_state[key]["selection"]["rows"]
    return int(picked[0]) if picked and picked[0] < rows else 0


def compare(pair: dict[str, Any], match: pd.Series) -> None:
    st.markdown(f"**Held-out contexts of the matched pair, cosine {match['cosine']:.3f}**")
    for column, side in zip(st.columns(2), "ab", strict=True):
        with column:
            show_contexts(
                pair[f"run_{side}"],
                int(pair[f"seed_{side}"]),
                int(match[f"feature_{side}"]),
                pair[f"label_{side}"],
            )


def show_contexts(run: str, seed: int, feature: int, label: str) -> None:
    """The held-out contexts of one feature."""
    found = run_set.contexts(run, seed, feature)
    st.caption(f"{label}, feature {feature}")
    if found.empty:
        st.caption(
            "No text: the vectors come from a synthetic world, or the feature never fires on held-out tokens."
        )
        return
    st.dataframe(
        found,
        hide_index=True,
        alt=f"Contexts of feature {feature}",
        row_height=72,
        column_config={
            "value": st.column_config.NumberColumn("activation", format="%.1f", width=80),
            "context": st.column_config.TextColumn(width=360),
        },
    )
