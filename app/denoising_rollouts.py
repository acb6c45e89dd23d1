"""Rollouts of the chosen policies: filtered, one prompt under both, step by step, and the order of commitment."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.figures import plain
from analyses.sapo_figures import step_gains_figure, value_curves
from analyses.sapo_frames import FILTERS, kept_rollouts, orders, parts_of
from analyses.sapo_grid import WRITTEN, order_map
from app.causal_parts import choice
from app.connection import table
from app.denoising_parts import IMPORTED, Policy, linked_choice, why_no_policy
from app.denoising_player import Trajectory, player, scores_words
from app.widgets import literal, picture

SAMPLED, GREEDY, TRAINING = "sampled", "greedy", "training"
KINDS = {SAMPLED: "sampled", GREEDY: "greedy", IMPORTED: "imported"}
LISTED = 1000
COLUMNS = {
    "rollout": st.column_config.NumberColumn("rollout", width=70),
    "prompt": st.column_config.TextColumn("prompt", width=190),
    "completion": st.column_config.TextColumn("completion", width=330),
    "exact": st.column_config.CheckboxColumn("exact", help="Solved as a whole"),
    "cell": st.column_config.NumberColumn(
        "cells", format="percent", help="Share of blank cells (Sudoku) or answers right; not exact solves"
    ),
    "junk": st.column_config.CheckboxColumn("junk", help="Half of the trace filler; imported: as the file says, else rep-3 above 0.3"),
    "trace_valid": st.column_config.CheckboxColumn("valid trace", help="Every step true, and it leads to the answer"),
    "answer_lead": st.column_config.NumberColumn(
        "answer lead", format="percent", help="By how much of the steps the answer stood before its trace was done"
    ),
    "rep3": st.column_config.NumberColumn("rep-3", format="%.2f", help="Share of repeated word trigrams in the trace"),
}  # fmt: skip


def rollouts_section(chosen: list[Policy]) -> Trajectory | None:
    """A prompt under the chosen policies; the first policy's rollout, for what follows, or None where none passes."""
    st.subheader("Step by step")
    first = chosen[0]
    rows = first.rows("sapo_rollouts")
    kinds = [kind for kind in KINDS if (rows["kind"] == kind).any()]
    left, right = st.columns([2, 5], vertical_alignment="bottom")
    with left:
        kind = choice("Rollouts", kinds, "kind")
    with right:
        show = choice("Show", _filters(rows, kind), "show")
    kept = kept_rollouts(rows, kind, show)
    if kept.empty:
        values(chosen)
        st.info(
            f"{literal(first.label)} has no {kind} rollout that is {show}; choose another filter or policy."
        )
        return None
    row = _choose(first, kept)
    found = [_trajectory(first, row)]
    for other in chosen[1:]:
        found += _same_prompt(other, row, kind)
    player(found, below=lambda step: values(chosen, step))
    _texts(found)
    with st.expander(f"Rollouts that pass the filter ({len(kept)})", icon=":material/list:"):
        _listing(kept)
    _orders(chosen, kept, row, kind)
    return found[0]


def _filters(rows: pd.DataFrame, kind: str) -> list[str]:
    """Filters that can apply: without a notion of junk none of it, unscored files none of exactness."""
    mine = rows[rows["kind"] == kind]
    return [
        name
        for name in FILTERS
        if (mine["junk"].notna().any() or "junk" not in name)
        and (mine["exact"].notna().any() or "exact" not in name)
    ]


def _choose(policy: Policy, kept: pd.DataFrame) -> dict[str, Any]:
    """The prompt (?rollout=, from 1)."""
    rows = {str(row["rollout"] + 1): row for row in kept.head(LISTED).to_dict("records")}
    words = {
        id: f"{id} · {_short(row['prompt'] or row['completion'])} · {_scores(policy, row)}"
        for id, row in rows.items()
    }
    return rows[linked_choice("Prompt", words, "rollout", next(iter(rows)))]


def _scores(policy: Policy, row: dict[str, Any]) -> str:
    return scores_words(row, policy.cells)


def _short(text: str, most: int = 70) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _trajectory(policy: Policy, row: dict[str, Any]) -> Trajectory:
    tokens = table(policy.run["id"], "sapo_tokens", {**policy.where, "rollout": int(row["rollout"])})
    return Trajectory(policy.label, tokens, str(row["prompt"]), str(row["completion"]), _scores(policy, row))


def _same_prompt(policy: Policy, row: dict[str, Any], kind: str) -> list[Trajectory]:
    """The other policy's rollout of the same prompt, of the same kind where there is one."""
    rows = policy.rows("sapo_rollouts")
    rows = rows[(rows["prompt"] == row["prompt"]) & rows["kind"].isin(list(KINDS))]
    rows = pd.concat([rows[rows["kind"] == kind], rows[rows["kind"] != kind]])
    if rows.empty:
        way = "choose another beside it" if why_no_policy(policy.run) else "denoise it live below"
        st.caption(f"{literal(policy.label)} has no kept rollout of this prompt; {way}.")
        return []
    return [_trajectory(policy, rows.iloc[0].to_dict())]


def _texts(found: list[Trajectory]) -> None:
    """Prompt and completions as text."""
    with st.expander("Prompt and completion as text", icon=":material/notes:", expanded=not found[0].steps):
        st.code(found[0].prompt or "(no prompt in the file)", language=None, wrap_lines=True)
        for one in found:
            st.caption(literal(f"{one.label}: {one.words}"))
            st.code(one.completion, language=None, wrap_lines=True)


def _listing(kept: pd.DataFrame) -> None:
    st.dataframe(
        kept.head(LISTED)[list(COLUMNS)].assign(rollout=kept["rollout"] + 1),
        hide_index=True,
        alt="Rollouts that pass the filter with their scores",
        column_config=COLUMNS,
    )


def _orders(chosen: list[Policy], kept: pd.DataFrame, row: dict[str, Any], kind: str) -> None:
    """The commit order of every kept rollout, policy beside policy."""
    found = []
    for place, policy in enumerate(chosen):
        rows = kept if place == 0 else kept_rollouts(policy.rows("sapo_rollouts"), kind, "all")
        last = _last_step(policy)
        tokens = (
            table(policy.run["id"], "sapo_tokens", {**policy.where, "step": last}) if last else pd.DataFrame()
        )
        if len(tokens):
            found.append((place, policy, orders(tokens, rows)))
    wide = len(found) == 1 and found[0][2]["position"].nunique() > WRITTEN
    for column, (place, policy, frame) in zip(st.columns(1 if wide else 2), found, strict=False):
        with column:
            figure = order_map(
                frame, int(row["rollout"]) if place == 0 else None, parts_of(str(row["completion"])),
                title="Commit order", subtitle=f"{plain(policy.label)}: step of each position",
            )  # fmt: skip
            picture(figure, frame, f"orders-{place}")


def _last_step(policy: Policy) -> int:
    rows = policy.rows("sapo_steps")
    if len(rows):
        return int(rows["step"].max())
    found = table(policy.run["id"], "sapo_tokens", {**policy.where, "position": 0}, "step", 1)
    return 0 if found.empty else int(found["step"].iloc[0])


def values(chosen: list[Policy], step: int | None = None) -> None:
    """V(t) with its band, and what each step adds; `step` is marked."""
    curves = {policy.label: policy.rows("sapo_steps") for policy in chosen}
    if all(rows.empty for rows in curves.values()):
        return
    frame = pd.concat([rows.assign(policy=name) for name, rows in curves.items()])
    left, right = st.columns(2)
    with left:
        picture(value_curves(curves, step), frame, "values")
    with right:
        picture(step_gains_figure(curves, step), frame, "gains")
    words = []
    for policy in chosen:
        row = policy.rows("sapo_arms").iloc[0]
        known = [
            text.format(row[name])
            for name, text in (
                ("last_tenth", "last tenth of the steps {:.0%} of the gain"),
                ("evenness", "evenness {:.2f}"),
                ("already_right", "argmax already right {:.0%} on average over steps"),
            )
            if pd.notna(row[name])
        ]
        words.append(f"{literal(policy.label)}: {', '.join(known) or 'none of its figures is known'}")
    st.caption(
        ". ".join(words)
        + ". V(t) is the success of fresh continuations from the states of rollouts that end right: it rises from "
        "the policy's own rate to 1 where the outcome is decided. The band takes several tries of one prompt as independent, and with few prompts noise alone makes gains uneven: compare policies, not values."
    )
