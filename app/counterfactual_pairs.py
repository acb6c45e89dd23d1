"""Rewritten test sentences as they are, failures too, with their scores; and the ways to rewrite beside each other."""

import pandas as pd
import streamlit as st

from analyses.counterfactual_figures import scores_figure
from analyses.counterfactual_frames import ALL, OUTCOMES, SCORES, arm_name, chosen_pairs, in_order, score_rows
from app.causal_parts import choice, forget_unless
from app.connection import table
from app.counterfactual_live import differences
from app.counterfactual_parts import Chosen, domains_of
from app.denoising_parts import linked_choice
from app.study_runs import Run
from app.widgets import literal, picture

SHARED_SEED = -1
SHOWN = 8


def scores_section(run: Run) -> None:
    """Every arm, route and baseline: moved against kept, and a table (?of=)."""
    st.subheader("Ways to rewrite")
    scores = table(run["id"], "cf_scores")
    names = [ALL, *domains_of(run)]
    forget_unless("of", names)
    domain = str(st.selectbox("Texts of", names, key="of", bind="query-params"))
    frame = score_rows(scores, domain)
    left, right = st.columns([1, 1])
    with left:
        picture(scores_figure(frame), frame, "scores")
    with right:
        config = {"name": st.column_config.Column("way", width=170)}
        for column, words in SCORES.items():
            share = column in ("accuracy", "unchanged", "empty")
            config[column] = st.column_config.NumberColumn(words, format="percent" if share else "%.1f")
        st.dataframe(
            frame[["name", *SCORES, "seeds"]], hide_index=True, alt="Scores of every way to rewrite, mean over seeds",
            column_config=config, placeholder="–", height="content",
        )  # fmt: skip
    st.caption(
        "G-score as published: mean over sentences of the harmonic mean of the judged probability of the target style and of BLEU against "
        "the source, so copying is rewarded; “G of accuracy” is that of style accuracy and corpus BLEU, under which copying earns "
        "only what the judge gets wrong. Perplexity by SmolLM2-135M-Instruct (4-bit origin), on lower-case tokens. Every way is moved equally far."
    )


@st.fragment
def pairs_section(chosen: Chosen) -> None:
    """The rewritten test sentences of an arm and seed, or of a baseline (?way=, ?outcome=, ?of=)."""
    st.subheader("Sentences, before and after")
    rows = table(chosen.run["id"], "cf_pairs")
    rows = rows[(rows["seed"] == chosen.seed) | (rows["seed"] == SHARED_SEED)]
    ways = {
        f"{arm}.{route}": arm_name(arm, route)
        for arm in in_order(list(rows["arm"]))
        for route in _routes(rows, arm)
    }
    start = next(way for way in ways if way.startswith(chosen.arm))
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    with left:
        way = linked_choice("Written by", ways, "way", start)
    names = [ALL, *domains_of(chosen.run)]
    with middle:
        forget_unless("pairs_of", names)
        domain = str(st.selectbox("Domain", names, key="pairs_of", bind="query-params"))
    with right:
        result = choice("Outcome", list(OUTCOMES), "outcome")
    arm, route = way.split(".")
    mine = chosen_pairs(rows[(rows["arm"] == arm) & (rows["route"] == route)], domain, result)
    if mine.empty:
        st.info("No sentence fits; choose another domain or outcome.")
        return
    _table(mine)
    _read(mine)


def _routes(rows: pd.DataFrame, arm: str) -> list[str]:
    return list(dict.fromkeys(rows.loc[rows["arm"] == arm, "route"]))


def _table(rows: pd.DataFrame) -> None:
    shown = rows.sort_values("g", ascending=False, na_position="last", kind="stable").assign(
        perplexity=rows["nll_after"]
        .astype(float)
        .map(lambda nll: float("nan") if pd.isna(nll) else min(2.718281828**nll, 1e6))
    )
    columns = {
        "source": ("before", None), "output": ("after", None), "domain": ("domain", None), "target": ("target", None),
        "outcome": ("outcome", None), "style_before": ("target before", "percent"), "style_after": ("target after", "percent"),
        "bleu": ("self-BLEU", "%.1f"), "chrf": ("chrF", "%.1f"), "g": ("G", "%.1f"), "perplexity": ("perplexity", "%.0f"),
        "unmoved": ("unmoved", None),
    }  # fmt: skip
    config = {
        name: st.column_config.Column(words)
        if format is None
        else st.column_config.NumberColumn(words, format=format)
        for name, (words, format) in columns.items()
    }
    config |= {
        name: st.column_config.TextColumn(columns[name][0], width="large") for name in ("source", "output")
    }
    st.dataframe(
        shown[list(columns)], hide_index=True, alt="Rewritten sentences with their scores", column_config=config, placeholder="–", height=330,
    )  # fmt: skip


def _read(rows: pd.DataFrame) -> None:
    """Some pairs in full, a page at a time (?from_pair=)."""
    last = max(0, (len(rows) - 1) // SHOWN)
    page = 0
    if last:
        forget_unless("read", list(range(1, last + 2)))
        page = (
            int(str(st.number_input(f"Page of {last + 1}", 1, last + 1, 1, key="read", bind="query-params")))
            - 1
        )
    for row in rows.sort_values("pair").iloc[page * SHOWN : (page + 1) * SHOWN].itertuples():
        left, right = st.columns([3, 11])
        score = "" if pd.isna(row.style_after) else f" · {row.style_before:.0%} → {row.style_after:.0%}"
        left.caption(f"{literal(str(row.domain))} → {literal(str(row.target))}{score} · {row.outcome}")
        right.markdown(differences(str(row.source).split(), str(row.output).split()))


def about_failures(run: Run) -> None:
    """What share of the sentences failed or stayed as they were."""
    scores = table(run["id"], "cf_scores", {"domain": ALL})
    mine = scores[(scores["arm"] == "matte") & (scores["route"] == "noise")]
    if mine.empty or mine["accuracy"].isna().all():
        return
    st.caption(
        f"Of MATTE's sentences {1 - mine['accuracy'].mean():.0%} are not judged to have the target style, {mine['unchanged'].mean():.0%} are "
        f"the source unchanged and {mine['empty'].mean():.0%} are empty; they stand in the table as they are."
    )
