"""The views of the page Recovery: against the truth, across seeds, and over the sparsity weights."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.identifiability import correlations
from analyses.latent_frames import natural
from analyses.multimodal_causal import ALL, OURS, PC, TRUTH, methods_of, overall, seed_agreement
from analyses.recovery import (
    correlation_heatmap,
    matrix_of,
    pair_scatter,
    score_dots,
    sparsity_path,
)
from app.causal_parts import choice, forget_unless, is_known, latent_rows, method_choice, seed_choice
from app.connection import table
from app.study_runs import Run
from app.widgets import picture

KINDS = {"Spearman": "spearman", "Pearson": "pearson"}
CELLS = ("row_latent", "column_latent")
TRUTH_MAP, SEED_MAP = "recovery-matrix", "seeds-matrix"


def truth_view(run: Run) -> None:
    """True × learnt |correlation| of one seed, a pair's values, and every method's scores."""
    scores, latents = table(run["id"], "latent_scores"), table(run["id"], "latents")
    first, second, third = st.columns([3, 2, 3], vertical_alignment="bottom")
    with first:
        method = method_choice(latents, "Two stages is the study's method; the others are baselines.")
    with second:
        seed = seed_choice(run)
    with third:
        kind = choice("Correlation", list(KINDS), "kind")
    _truth_matrix(run, latents, seed, method, kind)
    st.subheader("Methods")
    whole = overall(scores)
    picture(score_dots(whole, methods_of(whole)), whole, "methods")


def _truth_matrix(run: Run, latents: pd.DataFrame, seed: int, method: str, kind: str) -> None:
    where = {"seed": seed, "method": method}
    rows = table(run["id"], "latent_correlations", where)
    truth = table(run["id"], "true_latents")
    learnt = latent_rows(latents, seed, method)
    columns = _in_order_of(learnt, list(truth["latent"]))
    matrix = matrix_of(rows, list(truth["latent"]), list(columns["latent"]), KINDS[kind])
    left, right = st.columns([5, 4])
    with right:
        pair = _choose_pair(list(matrix.index), list(matrix.columns), "True latent", "Learnt latent", matrix)
    with left:
        figure = correlation_heatmap(
            matrix,
            list(truth["modality"]),
            list(columns["modality"]),
            row_words="True latents",
            column_words="Learnt latents",
            title="True against learnt",
            subtitle=f"{method}, seed {seed}; columns in the order of the matching",
            chosen=pair,
        )
        picture(figure, rows, TRUTH_MAP, on_select=lambda: _on_cell(TRUTH_MAP), selection_mode="points")
        st.caption("Click a cell to see its values at the right.")
    with right:
        known = _values(run, TRUTH, None)
        own = _values(run, method, seed)
        frame = _side_by_side(known, pair[0], own, pair[1])
        picture(pair_scatter(frame["x"], frame["y"], f"true {pair[0]}", f"learnt {pair[1]}"), frame, "pair")


def _in_order_of(learnt: pd.DataFrame, truth: list[str]) -> pd.DataFrame:
    """Learnt latents in the order of the true ones that they are matched with, the rest after them."""
    place = {latent: i for i, latent in enumerate(truth)}
    ranks = [place.get(one, len(place)) for one in learnt["true_latent"]]
    return learnt.assign(rank=ranks).sort_values("rank", kind="stable")


def seeds_view(run: Run) -> None:
    """Learnt × learnt |correlation| of two seeds, a pair's values, and the agreement of every two seeds."""
    if len(run["seeds"]) < 2:
        st.info("This run has one seed. Add seeds below to see whether the same latents come back.")
        return
    latents = table(run["id"], "latents")
    latents = latents[latents["method"] != PC]
    first, second, third, fourth = st.columns([3, 2, 2, 3], vertical_alignment="bottom")
    with first:
        method = method_choice(latents, "Two stages is the study's method; the others are baselines.")
    with second:
        one = seed_choice(run, "One seed", "seed")
    with third:
        other = seed_choice(run, "Another seed", "other", 1)
    with fourth:
        kind = choice("Correlation", list(KINDS), "kind")
    a, b = (_named_values(run, latents, method, seed) for seed in (one, other))
    matrix = _correlation_frame(a, b, KINDS[kind])
    place = {**_modalities(latents, one, method), **_modalities(latents, other, method)}
    left, right = st.columns([5, 4])
    with right:
        pair = _choose_pair(
            list(matrix.index), list(matrix.columns), f"Of seed {one}", f"Of seed {other}", matrix
        )
    with left:
        figure = correlation_heatmap(
            matrix,
            [place[name] for name in matrix.index],
            [place[name] for name in matrix.columns],
            row_words=f"Latents of seed {one}",
            column_words=f"Latents of seed {other}",
            title="One seed against another",
            subtitle=f"{method}; no truth is needed",
            chosen=pair,
        )
        frame = matrix.rename_axis(f"seed {one}").reset_index()
        picture(figure, frame, SEED_MAP, on_select=lambda: _on_cell(SEED_MAP), selection_mode="points")
        st.caption("Click a cell to see its values at the right.")
    with right:
        values = _side_by_side(a, pair[0], b, pair[1])
        words = (f"{pair[0]} of seed {one}", f"{pair[1]} of seed {other}")
        picture(pair_scatter(values["x"], values["y"], *words), values, "pair")
    _every_pair(run, latents, method)


def _every_pair(run: Run, latents: pd.DataFrame, method: str) -> None:
    values = table(run["id"], "latent_values", {"method": method})
    matrix = seed_agreement(values, latents, method)
    names = [f"seed {seed}" for seed in matrix.index]
    shown = matrix.set_axis(names, axis=0).set_axis(names, axis=1)
    figure = correlation_heatmap(
        shown,
        names[:1] * len(names),
        names[:1] * len(names),
        row_words="Seeds",
        column_words="Seeds",
        title="MCC of every two seeds",
        subtitle="matched within each modality",
        words="MCC",
    )
    left, _ = st.columns([5, 4])
    with left:
        picture(figure, shown.reset_index(names="seed"), "every-pair")


def path_view(run: Run) -> None:
    """What each sparsity weight does, and which was chosen."""
    path = table(run["id"], "sparsity_path")
    picture(sparsity_path(path), path, "sparsity-path")
    if is_known(run):
        st.caption("MCC is shown for judging the rule; it played no part in the choice.")


def real_scores(run: Run) -> None:
    """How much of each modality the others predict, for data without a truth."""
    scores = table(run["id"], "latent_scores", {"method": OURS})
    rows = scores.assign(method=scores["modality"].replace(ALL, "mean of all"))
    st.subheader("What the others say of each modality")
    figure = score_dots(rows, [*dict.fromkeys(rows["method"])], ("cross",), "Cross-modal R²")
    picture(figure, scores, "cross-modal")
    st.caption("Held-out share of a modality's latents that the latents of the other modalities predict.")


def _choose_pair(
    rows: list[str], columns: list[str], one: str, other: str, matrix: pd.DataFrame
) -> tuple[str, str]:
    """The pair whose values are shown: what was clicked, else the strongest cell of the first row."""
    for key, options in zip(CELLS, (rows, columns), strict=True):
        forget_unless(key, options)
    left, right = st.columns(2)
    row = str(left.selectbox(one, rows, key=CELLS[0], bind="query-params"))
    best = columns.index(str(matrix.loc[row].idxmax()))
    return row, str(right.selectbox(other, columns, index=best, key=CELLS[1], bind="query-params"))


def _on_cell(name: str) -> None:
    points = st.session_state[f"chart-{name}"]["selection"]["points"]
    if points and points[0].get("customdata"):
        for key, value in zip(CELLS, points[0]["customdata"][:2], strict=True):
            st.session_state[key] = value


@st.cache_data(max_entries=100, show_spinner=False)
def _wide(run_id: str, method: str, seed: int | None) -> pd.DataFrame:
    where: dict[str, Any] = {"method": method} if seed is None else {"method": method, "seed": seed}
    rows = table(run_id, "latent_values", where).drop_duplicates(["row", "latent"])
    return rows.pivot(index="row", columns="latent", values="value")


def _values(run: Run, method: str, seed: int | None) -> pd.DataFrame:
    """Held-out values, rows × latents; of the truth for no seed."""
    return _wide(run["id"], method, seed)


def _named_values(run: Run, latents: pd.DataFrame, method: str, seed: int) -> pd.DataFrame:
    """Held-out values of one seed's latents under their names, by modality and name."""
    mine = latent_rows(latents, seed, method)
    order = {modality: i for i, modality in enumerate(dict.fromkeys(mine["modality"]))}
    rows = sorted(mine.to_dict("records"), key=lambda row: (order[row["modality"]], natural(row["name"])))
    wide = _values(run, method, seed)[[row["latent"] for row in rows]]
    return wide.set_axis([row["name"] for row in rows], axis=1)


def _correlation_frame(a: pd.DataFrame, b: pd.DataFrame, kind: str) -> pd.DataFrame:
    shared = a.index.intersection(b.index)
    values = correlations(a.loc[shared], b.loc[shared], "spearman" if kind == "spearman" else "pearson")
    return pd.DataFrame(abs(values), index=list(a.columns), columns=list(b.columns))


def _modalities(latents: pd.DataFrame, seed: int, method: str) -> dict[str, str]:
    mine = latent_rows(latents, seed, method)
    return dict(zip(mine["name"], mine["modality"], strict=True))


def _side_by_side(a: pd.DataFrame, one: str, b: pd.DataFrame, other: str) -> pd.DataFrame:
    """Values of a latent of each frame on the rows that both hold."""
    if one not in a or other not in b:
        return pd.DataFrame({"x": [], "y": []})
    return pd.concat([a[one].rename("x"), b[other].rename("y")], axis=1, join="inner")
