"""What the parts of the page Caption masks share: the run, the chosen arm and seed, whose pictures they are, the first strip."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analyses.matching import mean_interval
from analyses.smartclip_frames import arm_name, in_order
from app import study_runs
from app.causal_parts import seed_choice
from app.connection import table
from app.denoising_parts import linked_choice
from app.study_runs import Run
from app.widgets import literal, number

STUDY = "smartclip"
EMPTY = (
    "No caption masks have been learnt yet. The tour takes a small CLIP that comes with Concordance, lets captions learn which of its "
    "64 dimensions they select, with three seeds and two weights of sparsity, and shows what a mask holds and what it leaves out."
)
TRAINING = (
    "Every seed takes its CLIP and trains one arm after the other from it, with the same pictures and as many steps. Masks, probes and "
    "retrieval appear here when all seeds are done."
)


@dataclass(frozen=True)
class Chosen:
    """An arm and a seed of a run, and the number of dimensions of its embedding."""

    run: Run
    arm: str
    seed: int
    d: int

    @property
    def masked(self) -> bool:
        """Whether the arm has masks."""
        return self.arm in masked_arms(self.run)

    @property
    def where(self) -> dict[str, object]:
        return {"seed": self.seed, "arm": self.arm}

    def rows(self, name: str) -> pd.DataFrame:
        """The arm's and seed's rows of a table of the run."""
        return table(self.run["id"], name, self.where)


def finished_run() -> Run:
    """The chosen run if it is done; the page ends otherwise."""
    return study_runs.finished_run(STUDY, EMPTY, "Learn first caption masks", TRAINING)


def arms_of(run: Run) -> list[str]:
    return in_order(list(table(run["id"], "smartclip_arms")["arm"]))


def masked_arms(run: Run) -> list[str]:
    """Arms whose captions have masks."""
    arms = table(run["id"], "smartclip_arms")
    return in_order(list(arms.loc[arms["size_single"].notna(), "arm"]))


def main_arm(run: Run) -> str:
    """The arm a run is about: SmartCLIP where it was trained, else the last one with masks, else the last."""
    arms, masked = arms_of(run), masked_arms(run)
    return "smartclip" if "smartclip" in arms else (masked or arms)[-1]


def dimensions(run: Run) -> int:
    """Dimensions of the embedding."""
    masks = table(run["id"], "smartclip_masks")
    return len(masks["mask"].iloc[0]) if len(masks) else int(run["config"]["width"])


def choose_arm(run: Run) -> Chosen:
    """The arm (?arm=) and seed (?seed=) that the page looks at."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        arm = linked_choice("Arm", {arm: arm_name(arm) for arm in arms_of(run)}, "arm", main_arm(run))
    with right:
        seed = seed_choice(run)
    return Chosen(run, arm, seed, dimensions(run))


def origin_words(run: Run) -> str:
    """Whose pictures they are: "scenes of two objects, drawn by Concordance · rendered · Apache-2.0"."""
    data = dict(
        table(run["id"], "smartclip_data")
        .query("name in ('origin', 'tier', 'licence')")[["name", "value"]]
        .values
    )
    return f"{data['origin']} · {data['tier']} · {data['licence']}"


def about_pictures(run: Run) -> None:
    """Whose pictures they are, how many, and what was left out of a folder."""
    data = table(run["id"], "smartclip_data")
    rows = {
        name: int(data.loc[data["name"] == name, "value"].iloc[0]) for name in ("train", "validation", "test")
    }
    st.caption(
        f"Pictures: {literal(origin_words(run))}. {rows['train']:,} to train on, {rows['validation']:,} for choices, "
        f"{rows['test']:,} for the figures."
    )
    skipped = list(data.loc[data["name"] == "skipped", "value"])
    if skipped:
        many = (
            "One entry of the folder was"
            if len(skipped) == 1
            else f"{len(skipped)} entries of the folder were"
        )
        with st.expander(f"{many} skipped"):
            st.code("\n".join(skipped), language=None, wrap_lines=True)


def over_seeds(values: pd.Series, format: str = ".3f") -> str:
    """The 95 % interval over seeds in words."""
    values = values.dropna().astype(float)
    if len(values) < 2:
        return "one seed" if len(values) else "not known of these pictures"
    low, high = mean_interval(values)
    return f"95 % {low:{format}} to {high:{format}}"


def first_strip(run: Run) -> None:
    """Consistency across seeds · null · what masks separate · retrieval, of the arm the run is about."""
    arm = main_arm(run)
    arms, alike = table(run["id"], "smartclip_arms"), table(run["id"], "smartclip_agreement")
    mine, alike = arms[arms["arm"] == arm], alike[alike["arm"] == arm]
    pairs = f"{len(alike)} pair{'s' if len(alike) > 1 else ''}" if len(alike) else "needs two seeds"
    base = "; all from one CLIP" if run["config"]["start_from"] == "bundled" and len(alike) else ""
    control = mine["control_own"] - mine["control_other"]
    shown = [
        ("Masks between seeds", _mean(alike, "masks"), f"IoU, dimensions matched; {pairs}{base}"),
        ("Chance", _mean(alike, "masks_null"), "dimensions matched at random"),
        ("Separation", number(mine["net_gap"].mean()), over_seeds(mine["net_gap"])),
        ("Own less others", number((mine["own"] - mine["other"]).mean()), f"random masks of that size: {number(control.mean())}"),
        ("Attributes kept", number(mine["probe_mean"].mean()), f"of the CLIP it starts from: {_base(arms, 'probe_mean')}"),
        ("Whole captions, R@1", number(mine["long_plain"].mean(), ".1%"), f"masked {number(mine['long_masked'].mean(), '.1%')}; "
         f"before {_base(arms, 'long_plain', '.1%')}"),
    ]  # fmt: skip
    for column, (title, value, note) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(title, value)
        column.caption(note)
    st.caption(
        f"Figures of {literal(arm_name(arm))}, mean over seeds. Separation: what a mask's dimensions tell of their own attribute less of the "
        "others, less the same of random masks of its size; 0 is none, 1 perfect."
    )


def _mean(rows: pd.DataFrame, column: str) -> str:
    return number(rows[column].mean()) if len(rows) else "–"


def _base(arms: pd.DataFrame, column: str, format: str = ".3f") -> str:
    return number(arms.loc[arms["arm"] == "base", column].mean(), format)
