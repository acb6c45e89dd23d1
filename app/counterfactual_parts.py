"""What the parts of the page Counterfactuals share: the run, the chosen arm and seed, the first strip."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analyses.counterfactual_frames import ALL, agreement, arm_name, collapsed, in_order, over_seeds
from app import study_runs
from app.causal_parts import forget_unless
from app.connection import table
from app.counterfactual_words import TIERS
from app.denoising_parts import linked_choice
from app.label_shift_parts import interval
from app.study_runs import Run
from app.widgets import literal, number

STUDY = "counterfactual_text"
Figure = tuple[float, float, float]
EMPTY = (
    "Nothing has been rewritten yet. The tour makes a world of eight domains whose content and style are known, learns both from what is "
    "seen alone, with three seeds and with and without sparsity, and asks what each row would be had only its style noise been another."
)
TRAINING = (
    "Every arm of every seed is trained on the seed's batches: encoder, decoder and the flows that make content and style depend on "
    "the domain. Recovery, counterfactuals and sentences appear here when all seeds are done."
)


@dataclass(frozen=True)
class Chosen:
    """An arm and a seed of a run."""

    run: Run
    arm: str
    seed: int

    @property
    def is_text(self) -> bool:
        return reads_text(self.run)

    def rows(self, name: str) -> pd.DataFrame:
        """The arm's and seed's rows of a table of the run."""
        return table(self.run["id"], name, {"seed": self.seed, "arm": self.arm})


def reads_text(run: Run) -> bool:
    return bool(run["config"]["source"] != "bench")


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    run = study_runs.finished_run(STUDY, EMPTY, "Learn a first world", TRAINING)
    st.caption(f"Data: {TIERS[run['config']['source']]}.")
    return run


def arms_of(run: Run) -> list[str]:
    return in_order(list(table(run["id"], "cf_arms")["arm"]))


def main_arm(run: Run) -> str:
    """The arm a run is about: MATTE where it was trained, else the first."""
    arms = arms_of(run)
    return "matte" if "matte" in arms else arms[0]


def domains_of(run: Run) -> list[str]:
    """The domains' names, in order."""
    data = table(run["id"], "cf_data")
    return list(data.loc[data["name"] == "rows test", "key"])


def choose_arm(run: Run) -> Chosen:
    """The arm (?arm=) and seed (?seed=) that the page looks at; first the seed with the lowest validation loss."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        arm = linked_choice("Arm", {arm: arm_name(arm) for arm in arms_of(run)}, "arm", main_arm(run))
    arms = table(run["id"], "cf_arms")
    mine = arms[arms["arm"] == arm].sort_values("seed")
    seeds = [int(seed) for seed in mine["seed"]]
    best = int(mine.loc[mine["validation"].idxmin(), "seed"])
    forget_unless("seed", seeds)
    with right:
        seed = st.selectbox(
            "Seed", seeds, seeds.index(best), key="seed", bind="query-params",
            help=f"Seed {best} has the lowest validation loss of this arm; no truth is looked at for that.",
        )  # fmt: skip
    return Chosen(run, arm, int(str(seed)))


def first_strip(run: Run) -> None:
    """Consistency across seeds · chance · recovery of the truth, or figures of the sentences."""
    arm = main_arm(run)
    alike = table(run["id"], "cf_agreement")
    noise, null, pairs = agreement(alike, arm, "style noise")
    content, _, _ = agreement(alike, arm, "content")
    cells = [
        ("Style noise, seeds", number(noise), f"R² of one seed's from another's; {_pairs(pairs)}"),
        ("Content, seeds", number(content), f"R² of one seed's from another's; {_pairs(pairs)}"),
        ("Chance", number(null), "rows shuffled" if pairs else "needs two seeds"),
    ]
    cells += _text_cells(run, arm) if reads_text(run) else _bench_cells(run, arm)
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, value)
        column.caption(note)
    st.caption(f"Figures of {literal(arm_name(arm))}, mean over seeds, on test rows.")
    arms = table(run["id"], "cf_arms")
    empty = collapsed(arms[arms["arm"] == arm])
    if empty:
        st.warning(f"Collapsed: {literal('; '.join(empty))}. A block that carries nothing cannot be moved.")


def _bench_cells(run: Run, arm: str) -> list[tuple[str, str, str]]:
    rows = table(run["id"], "cf_bench")
    mine = rows[rows["arm"] == arm]
    found = {name: over_seeds(mine[name]) for name in ("r2_content", "r2_noise", "cf_noise", "cf_style")}
    return [
        ("Content, truth", number(found["r2_content"][0]), f"R²; {interval(found['r2_content'])}"),
        ("Style noise, truth", number(found["r2_noise"][0]), f"R²; {interval(found['r2_noise'])}"),
        (
            "Counterfactual error",
            number(found["cf_noise"][0]),
            f"1 is doing nothing; {interval(found['cf_noise'])}; swapping s {number(found['cf_style'][0])}",
        ),
    ]


def _text_cells(run: Run, arm: str) -> list[tuple[str, str, str]]:
    scores = table(run["id"], "cf_scores", {"domain": ALL})
    route = "latent" if arm == "beta_vae" else "noise"
    mine = scores[(scores["arm"] == arm) & (scores["route"] == route)]
    g, accuracy = over_seeds(mine["g"]), over_seeds(mine["accuracy"])
    copied = over_seeds(scores.loc[scores["arm"] == "identity_copy", "g"])
    return [
        ("G-score", number(g[0], ".1f"), f"{interval(g, '.1f')}; copying {number(copied[0], '.1f')}"),
        ("Style accuracy", number(accuracy[0], ".1%"), interval(accuracy, ".1%")),
        (
            "Self-BLEU",
            number(over_seeds(mine["bleu"])[0], ".1f"),
            f"unmoved {number(over_seeds(mine['unmoved_bleu'])[0], '.1f')}: what the decoder can keep at all",
        ),
    ]


def _pairs(count: float) -> str:
    return f"{count:.0f} pair{'' if count == 1 else 's'}" if count else "needs two seeds of one world"
