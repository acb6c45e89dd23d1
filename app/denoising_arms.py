"""Arms beside each other: reinforcement, test figures, spans, agreement between seeds, training rollouts; imported files."""

import pandas as pd
import streamlit as st

from analyses.sapo import wilson
from analyses.sapo_figures import agreement_figure, arms_figure, measure_words, reinforcement, spans_figure
from analyses.sapo_frames import (
    FIGURES,
    arm_figures,
    arm_name,
    cell_words,
    curve,
    in_order,
    paired_difference,
    smoothed,
)
from app.causal_parts import choice
from app.connection import table
from app.denoising_parts import last_arm, percent, task_of
from app.study_runs import Run
from app.widgets import literal, picture

PAIRS = {
    "reward": ("reward", "informative"),
    "accuracy": ("exact", "cell"),
    "traces": ("junk", "trace_valid"),
    "process and KL": ("process", "kl"),
}
AXES = {"iterations": "iteration", "forward passes": "passes"}
ONLY_TRAINING = ("informative", "process", "kl")
PERCENT = (
    "exact", "exact_greedy", "cell", "cell_greedy", "junk", "junk_given_correct", "trace_valid", "answer_lead", "last_tenth",
    "already_right", "informative",
)  # fmt: skip


def curves_section(run: Run) -> None:
    """What reinforcement did to reward, accuracy and traces, by arm."""
    rows = table(run["id"], "sapo_curve")
    st.subheader("Reinforcement")
    if rows.empty:
        st.caption("This run trained a base only.")
        return
    words = measure_words(cell_words(task_of(run)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pair = choice("Curves", list(PAIRS), "curves")
        split = choice("Of", ["training", "validation"], "split")
        axis = choice("Against", list(AXES), "against")
        window = int(
            str(
                st.select_slider(
                    "Running mean over", [1, 3, 5, 10], 3, key="window", bind="query-params",
                    help="Iterations; of each seed, before seeds are averaged. Validation curves are never smoothed.",
                )
            )
        )  # fmt: skip
    for column, measure in zip(st.columns(2), PAIRS[pair], strict=True):
        of = "training" if measure in ONLY_TRAINING else split
        mine = smoothed(rows, measure, window) if of == "training" else rows
        frame = curve(mine, measure, of, AXES[axis])
        with column:
            figure = reinforcement(frame, measure, words[measure], of, against=AXES[axis])
            picture(figure, frame, f"curve-{measure}")
    st.caption(
        "A group has an advantage when its rollouts' rewards differ; where a whole group is right or wrong neither diffu-GRPO nor SAPO "
        "learns anything from it (SAPO without its indicator and the process reward alone do). Forward passes make the arms comparable: SAPO's continuations are counted."
    )


def arms_section(run: Run) -> None:
    """Every figure of every arm on test prompts, as a picture and a table, and SAPO against the others."""
    arms = table(run["id"], "sapo_arms")
    st.subheader("Arms")
    cells = cell_words(task_of(run))
    frame = arm_figures(arms)
    picture(arms_figure(frame, arms, {**FIGURES, "cell": cells}), frame, "arms")
    st.caption(
        (
            "Bar: 95 % t interval over seeds, dot: a seed"
            if arms["seed"].nunique() > 1
            else "Bar: 95 % Wilson interval over prompts"
        )
        + ". Sampled at the rollouts' temperature. Answer lead, gain in the last tenth and evenness are ours; the last two mean "
        "nothing where V(t) does not rise. Groups with an advantage are a mean over all iterations of training."
    )
    _table(arms, cells)
    _against(run, arms)
    left, right = st.columns(2)
    spans = table(run["id"], "sapo_spans")
    with left:
        pooled = _pooled(spans)
        picture(spans_figure(pooled, "Solved exactly again"), pooled, "spans")
    with right:
        alike = table(run["id"], "sapo_agreement")
        picture(agreement_figure(alike), alike, "agreement")
    _training_rollouts(run)


def _table(arms: pd.DataFrame, cells: str) -> None:
    """Mean over seeds of every figure; exact and cells side by side, sampled and greedy."""
    names = {
        "exact": "exact", "cell": cells.lower(), "exact_greedy": "exact, greedy", "cell_greedy": f"{cells.lower()}, greedy",
        "junk": "junk", "junk_given_correct": "junk where exact", "trace_valid": "valid traces", "answer_lead": "answer lead",
        "last_tenth": "gain in last tenth", "evenness": "evenness", "already_right": "already right",
        "informative": "groups with advantage", "iterations": "iterations", "passes": "passes",
    }  # fmt: skip
    frame = arms.groupby("arm")[list(names)].mean().reindex(in_order(list(arms["arm"])))
    frame.insert(0, "arm_name", [arm_name(str(arm)) for arm in frame.index])
    frame["seeds"] = arms.groupby("arm")["seed"].nunique()
    frame[list(PERCENT)] *= 100
    config = {
        name: st.column_config.NumberColumn(f"{title}, %", format="%.1f")
        if name in PERCENT
        else st.column_config.NumberColumn(title, format="%.2f" if name == "evenness" else "localized")
        for name, title in names.items()
    }
    st.dataframe(
        frame.dropna(axis=1, how="all"), hide_index=True, alt="Figures of every arm, mean over seeds",
        column_config={"arm_name": st.column_config.Column("arm", pinned=True), **config},
    )  # fmt: skip


def _against(run: Run, arms: pd.DataFrame) -> None:
    """SAPO less each other arm, paired over seeds."""
    ours, others = last_arm(run), in_order(list(arms["arm"]))
    words = []
    for other in others:
        mean, low, high, seeds = paired_difference(arms, "exact", ours, other)
        if other == ours or not seeds:
            continue
        interval = (
            f"95 % {low:+.1%} to {high:+.1%}, {seeds} seeds" if pd.notna(low) else "one seed, no interval"
        )
        found = f"{mean:+.1%} solved exactly ({interval})".replace("-", "−")
        words.append(f"{arm_name(ours)} less {arm_name(other)}: {found}")
    if words:
        st.caption(literal("Paired over seeds. " + "; ".join(words) + "."))


def _pooled(spans: pd.DataFrame) -> pd.DataFrame:
    """Spans by arm, tries of all seeds together."""
    rows = []
    for arm in in_order(list(spans["arm"])):
        mine = spans[(spans["arm"] == arm) & (spans["n"] > 0)]
        base = None
        for span, part in mine.groupby("span", sort=False):
            n = int(part["n"].sum())
            success = float((part["success"] * part["n"]).sum() / n)
            base = success if base is None else base
            rows.append((arm, span, n, success, *wilson(success * n, n), base - success))
    return pd.DataFrame(rows, columns=["arm", "span", "n", "success", "low", "high", "drop"])


def _training_rollouts(run: Run) -> None:
    """The last training groups, with advantage and process reward."""
    rows = table(run["id"], "sapo_rollouts", {"kind": "training"})
    if rows.empty:
        return
    with st.expander("Training rollouts: advantage and process reward", icon=":material/list:"):
        st.dataframe(
            rows[["arm", "seed", "iteration", "prompt", "completion", "exact", "cell", "junk", "advantage", "process", "t1"]]
            .assign(arm=rows["arm"].map(arm_name)),
            hide_index=True,
            alt="Rollouts of the last iteration of every arm",
            column_config={
                "cell": st.column_config.NumberColumn("cells", format="percent"),
                "t1": st.column_config.NumberColumn("t₁", help="Steps done at the state that is continued from"),
                "advantage": st.column_config.NumberColumn(format="%+.2f"),
                "process": st.column_config.NumberColumn("process reward", format="%+.2f"),
            },
        )  # fmt: skip
        st.caption(
            "The advantage trained with: outcome less the group's mean, plus SAPO's process reward where it is above it "
            "(everywhere without the indicator; the process reward alone has no outcome)."
        )


def imported_section(run: Run) -> None:
    """Figures of the imported evaluations, a row each; cells only where a task has several."""
    st.subheader("Imported generations")
    arms = table(run["id"], "sapo_arms").sort_values("seed")
    for row in arms.to_dict("records"):
        interval = f"95 % Wilson {percent(row['exact_low'])} to {percent(row['exact_high'])}"
        cells = (cell_words(str(row["task"])), percent(row["cell"]), "never to be read as solved")
        shown = [
            ("Solved exactly", percent(row["exact"]), interval if pd.notna(row["exact"]) else "not scored"),
            *([cells] if row["task"] == "sudoku" else []),
            ("Junk", percent(row["junk"]), "as the file says, else rep-3 above 0.3"),
            ("Junk where exact", percent(row["junk_given_correct"]), "of exact generations"),
            ("Valid traces", percent(row["trace_valid"]), "true and leading to the answer"),
        ]
        st.markdown(
            f"**{literal(str(row['source']))}** · {literal(str(row['task']))}, {int(row['n']):,} generation{'s' if row['n'] > 1 else ''}"
        )
        for column, (title, value, note) in zip(st.columns(len(shown)), shown, strict=True):
            column.metric(title, value)
            column.caption(note)
    st.caption(
        "Imported with `concordance import-generations FILE…`; scored here by the rules in docs/sapo.md."
    )
