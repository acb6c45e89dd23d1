"""The view "Stability": which features come back in other seeds, and what they are worth."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses import sae_stability as pictures
from app import run_set
from app.connection import client, may_launch, table
from app.consistency_pairs import chosen_row, fires, page_of, show_contexts
from app.consistency_parts import add_runs
from app.run_set import Group, Run, Sae
from app.widgets import attempt, is_pooled, picture

THRESHOLD = 0.7
POOL_IGNORES = (
    "architecture", "d_sae", "k", "control", "decoder_norm", "start_from", "n_steps", "n_match_points", "seed_varies",
)  # fmt: skip


def stability_view(focus: Group, subset: str, known: list[Run]) -> None:
    saes = run_set.comparable(focus)
    if len(saes) < 2:
        st.info("A feature comes back when another seed has it too; train more seeds above.")
        return
    if len(saes) < len(focus.saes):
        st.caption(f"Shown is the largest run of these settings, {len(saes)} of {len(focus.saes)} SAEs.")
    pairs = run_set.all_pairs(saes, subset)
    matches = run_set.pair_matches(pairs, subset)
    if matches.empty:
        st.warning("No latent is alive in one of these SAEs; choose all latents.")
        return
    coming_back(focus, saes, matches, subset, known)
    worth(focus, saes, pairs, matches, subset)


@st.fragment
def coming_back(
    focus: Group, saes: tuple[Sae, ...], matches: pd.DataFrame, subset: str, known: list[Run]
) -> None:
    """What depends on the threshold: how many features come back, which, and the dictionary of those."""
    if st.session_state.pop("pooled", False):
        st.rerun()
    threshold = st.slider(
        "The same feature: |cosine| of at least",
        min_value=0.5,
        max_value=0.95,
        value=THRESHOLD,
        step=0.05,
        key="threshold",
        bind="query-params",
    )
    frame = pictures.stability_frame(matches, threshold, subset)
    others = len(saes) - 1
    frame = frame.assign(seeds=(frame["stability"] * others).round().astype(int))
    left, right = st.columns(2)
    with left:
        picture(
            pictures.stability_histogram(frame, threshold),
            frame,
            "stability",
            on_select=partial(on_bar, "chart-stability"),
            selection_mode="points",
        )
        st.caption("Click a bar to list its features.")
    with right:
        part, chosen = feature_table(frame, others)
    if len(part):
        feature_contexts(saes, matches, part.iloc[chosen])
    stable_dictionary(focus, frame, threshold, known)


def on_bar(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and points[0].get("customdata"):
        st.session_state["back_in"] = str(points[0]["customdata"][0])


def feature_table(frame: pd.DataFrame, others: int) -> tuple[pd.DataFrame, int]:
    """The features that come back in so many seeds, most similar first; one page of them and the chosen row."""
    counts = ["any", *map(str, range(others, -1, -1))]
    if st.session_state.get("back_in", "any") not in counts:
        st.session_state["back_in"] = "any"
    chosen = st.segmented_control(
        f"Features that come back in … of {others} other seeds",
        counts,
        default="any",
        required=True,
        key="back_in",
        bind="query-params",
    )
    rows = frame if chosen == "any" else frame[frame["seeds"] == int(str(chosen))]
    part = page_of(rows.sort_values(["seeds", "mean_cosine"], ascending=False), "stability_page")
    st.dataframe(
        part[["seed", "feature", "seeds", "mean_cosine", "frequency"]],
        hide_index=True,
        key="stability_table",
        on_select="rerun",
        selection_mode="single-row",
        height=330,
        alt="Features with the number of other seeds they come back in",
        column_config={
            "seed": st.column_config.NumberColumn(width=55),
            "feature": st.column_config.NumberColumn(width=75),
            "seeds": st.column_config.NumberColumn(f"back in (of {others})", width=100),
            "mean_cosine": st.column_config.NumberColumn(
                "mean |cosine|", format="%.3f", width=105, help="With its partners in the other seeds"
            ),
            "frequency": fires("fires"),
        },
    )
    st.caption(f"{len(rows):,} of {len(frame):,} features. Select a row to read its contexts.")
    return part, chosen_row("stability_table", len(part))


def feature_contexts(saes: tuple[Sae, ...], matches: pd.DataFrame, feature: pd.Series) -> None:
    """Contexts of a feature and of its most similar partner in another seed."""
    partner = best_partner(matches, int(feature["seed"]), int(feature["feature"]))
    if partner is None:
        return
    seed, other, cosine = partner
    st.markdown(f"**Held-out contexts of the feature and of its closest partner, cosine {cosine:.3f}**")
    by_seed = {sae.seed: sae for sae in saes}
    shown = ((int(feature["seed"]), int(feature["feature"])), (seed, other))
    for column, (of, number) in zip(st.columns(2), shown, strict=True):
        with column:
            show_contexts(by_seed[of].run, of, number, f"seed {of}")


def best_partner(matches: pd.DataFrame, seed: int, feature: int) -> tuple[int, int, float] | None:
    """(seed, feature, cosine) of the matched feature most similar to one."""
    found = []
    for mine, theirs in (("a", "b"), ("b", "a")):
        rows = matches[(matches[f"seed_{mine}"] == seed) & (matches[f"feature_{mine}"] == feature)]
        columns = [f"seed_{theirs}", f"feature_{theirs}", "cosine"]
        found += list(rows[columns].itertuples(index=False, name=None))
    best = max(found, key=lambda row: abs(row[2]), default=None)
    return None if best is None else (int(best[0]), int(best[1]), float(best[2]))


def stable_dictionary(focus: Group, frame: pd.DataFrame, threshold: float, known: list[Run]) -> None:
    """A box that pools the features several seeds share into a new SAE, and the ones made so far beside the original."""
    run = max(focus.runs, key=lambda run: len(run["seeds"]))
    n_seeds = len(run["seeds"])
    if n_seeds < 2:
        return
    with st.container(border=True):
        st.markdown("**Build a stable dictionary: one SAE of the features that several seeds share**")
        least, button, note = st.columns([1, 1, 2], vertical_alignment="bottom")
        m = int(
            least.number_input(
                "Shared by at least … seeds",
                min_value=2,
                max_value=n_seeds,
                value=2,
                step=1,
                key="pool_seeds",
            )
        )
        button.button(
            "Build a stable dictionary",
            on_click=_pool,
            args=(run["id"], m, threshold),
            icon=":material/join_inner:",
            key="pool",
            width="stretch",
            **may_launch(),
        )
        kept = (
            1 / (1 + frame.loc[frame["seeds"] >= m - 1, "seeds"])
        ).sum()  # each counts once over its seeds
        note.caption(
            f"About {kept:,.0f} of {focus.config['d_sae']:,} features, shared by {m} or more of {n_seeds} seeds at |cosine| ≥ "
            f"{threshold:g}. It is evaluated on the same held-out vectors and joins this page."
        )
        made = [other for other in known if pooled_from(other, run)]
        if made:
            compare_dictionaries(run, made)


def _pool(run_id: str, min_seeds: int, threshold: float) -> None:
    made = attempt(lambda: client().stable_dictionary(run_id, min_seeds, threshold))
    add_runs([made["id"]] if made else [])
    st.session_state["pooled"] = True


def pooled_from(other: Run, run: Run) -> bool:
    """Whether a run evaluates a dictionary pooled from this one: the same data and training, started from `pooled`."""
    if not is_pooled(other["config"]) or other["data_seed"] != run["data_seed"]:
        return False
    one, two = other["config"], run["config"]
    same = all(one[name] == two.get(name) for name in one if name not in POOL_IGNORES)
    return same and one["k"] == min(two["k"], one["d_sae"])


def compare_dictionaries(run: Run, made: list[Run]) -> None:
    """Size, error and sparsity of the original (mean of its seeds) and of what was pooled from it."""
    rows: list[dict[str, Any]] = []
    for other in [run, *made]:
        if other["state"] != "done":
            rows.append({"dictionary": f"pooled, {other['state']}"})
            continue
        saes = table(other["id"], "saes")
        rows.append(
            {
                "dictionary": f"original, mean of {len(saes)} seeds" if other is run else "pooled",
                "features": int(saes["d_sae"].iloc[0]),
                **saes[["fvu", "l0", "alive_share"]].mean().to_dict(),
                "open": f"consistency?runs={other['id']}",
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="The original dictionary and those pooled from it",
        placeholder="–",
        column_config={
            "fvu": st.column_config.NumberColumn("FVU", format="%.4f"),
            "l0": st.column_config.NumberColumn("L0", format="%.2f"),
            "alive_share": st.column_config.NumberColumn("alive", format="percent"),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )


def worth(
    focus: Group, saes: tuple[Sae, ...], pairs: pd.DataFrame, matches: pd.DataFrame, subset: str
) -> None:
    """What does not depend on the threshold: frequency, redundancy, functional weight, meaning, the dictionaries."""
    overlap_sentence(pairs)
    features = run_set.rows_of(focus, "features")
    null = float(pairs["null_mean"].mean())
    left, right = st.columns(2)
    with left:
        picture(pictures.contribution_figure(matches, null, subset), matches, "contributions")
    with right:
        picture(pictures.one_to_one_figure(features, matches, subset), features, "one-to-one")
    if not focus.is_world:
        ablated(focus)
    left, right = st.columns(2)
    with left:
        picture(pictures.alignment_histogram(features), features, "alignment")
    with right:
        if not focus.is_world:
            explained(focus, subset)
        else:
            dictionaries(focus)
    if not focus.is_world:
        dictionaries(focus)


def overlap_sentence(pairs: pd.DataFrame) -> None:
    """Whether the features without a partner still span the same directions, beside chance."""
    if "unstable_overlap" not in pairs or pairs["unstable_overlap"].dropna().empty:
        return
    overlap, chance = pairs["unstable_overlap"].mean(), pairs["unstable_overlap_chance"].mean()
    st.markdown(
        f"The features without a partner of |cosine| ≥ {run_set.SAME_FEATURE} span subspaces that overlap by {overlap:.2f} "
        f"between seeds; two random subspaces of their dimension overlap by {chance:.2f}."
    )


def ablated(focus: Group) -> None:
    """What the language model loses without stable and unstable features, or what to set to have it measured."""
    ablations = run_set.rows_of(focus, "ablations")
    if ablations.empty:
        st.info(
            "Not ablated in this run: that needs a language model, two seeds or more and functional_tokens above 0."
        )
    else:
        picture(pictures.ablation_figure(ablations), ablations, "ablations")


def explained(focus: Group, subset: str) -> None:
    """Whether matched features mean the same, or what to set to have it measured."""
    found = run_set.rows_of(focus, "explanations")
    if found.empty:
        st.info("Meanings not compared in this run: that needs text and explained_pairs above 0.")
    else:
        picture(pictures.explanation_figure(found, subset), found, "explanations")


def dictionaries(focus: Group) -> None:
    """What each seed's dictionary looks like: a measure a row, a seed a column."""
    st.markdown("**The dictionaries**")
    found = pictures.dictionary_table(run_set.rows_of(focus, "saes"))
    shown = pd.DataFrame(
        {f"seed {row['Seed']:.0f}": row.drop("Seed").map("{:,.4g}".format) for _, row in found.iterrows()}
    )
    st.dataframe(
        shown.rename_axis("measure").reset_index(), hide_index=True, alt="Every seed's dictionary in numbers"
    )
