"""Tidy frames of retraining after triangular consistency: accuracies less a control's, seed by seed; rounds; fractions kept."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyses.matching import mean_interval

ARMS = {
    "base": "base, nothing added",
    "no_selection": "nothing added",
    "bottom": "bottom share by S",
    "random": "random",
    "no_filter": "no filter, all",
    "recap": "captions, no filter",
    "confidence": "confidence",
    "equality": "equal texts",
    "triangle": "best by S",
    "triangle_tied": "best by S, then confidence",
    "selection": "your selection",
    "oracle": "oracle (ceiling)",
}
TESTS = {"exact": "test images", "exact_shifted": "shifted test images"}
PAPER_NOISE = {"before": 0.7635, "after": 0.8551}  # R², appendix E


def arm_name(arm: str) -> str:
    """An arm in words; arms with a number, such as triangle_50, name the share kept."""
    if arm in ARMS:
        return ARMS[arm]
    stem, _, number = arm.rpartition("_")
    return (
        f"{ARMS.get(stem, stem.replace('_', ' '))}, {number} %"
        if stem and number.isdecimal()
        else arm.replace("_", " ")
    )


def in_order(arms: Sequence[str]) -> list[str]:
    """Arms in the order of `ARMS`, those with a number beside theirs by number, others last."""

    def place(arm: str) -> tuple[int, float, str]:
        stem, _, number = arm.rpartition("_")
        known = arm if arm in ARMS else stem
        return (
            list(ARMS).index(known) if known in ARMS else len(ARMS),
            float(number) if number.isdecimal() else 0.0,
            arm,
        )

    return sorted(dict.fromkeys(arms), key=place)


def interval(each: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    """95 % t interval of a mean over seeds; (nan, nan) for one seed."""
    return mean_interval(each) if len(each) > 1 else (float("nan"), float("nan"))


def paired(arms: pd.DataFrame, against: str, column: str) -> pd.DataFrame:
    """Accuracy of every arm less that of `against` (rows of srf_arms of one round): a row a seed, a column an arm."""
    wide = arms.pivot_table(index="seed", columns="arm", values=column)
    if against not in wide:
        return pd.DataFrame()
    return wide.sub(wide[against], axis=0).drop(columns=against)


def deltas(arms: pd.DataFrame, against: str, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Accuracy of every arm (or `only` some) less that of `against` in the same seed (rows of srf_arms of one round).

    Columns arm, test (words), mean, low, high, seeds, each (a list, a value a seed).
    """
    rows = []
    for column, test in TESTS.items():
        wide = paired(arms, against, column)
        for arm in in_order(list(wide)):
            each = wide[arm].dropna().to_numpy(np.float64)
            if len(each) and (only is None or arm in only):
                rows.append((arm, test, each.mean(), *interval(each), len(each), each.tolist()))
    return pd.DataFrame(rows, columns=["arm", "test", "mean", "low", "high", "seeds", "each"])


def type_deltas(types: pd.DataFrame, arm: str, against: str) -> pd.DataFrame:
    """The same by question type, of one arm (rows of srf_arm_types of one round); the type stands in column arm."""
    parts = [
        deltas(part, against, [arm]).assign(arm=name)
        for name, part in types[types["arm"].isin([arm, against])].groupby("type")
    ]
    found = pd.concat(parts) if parts else deltas(types, against, [arm])
    return found.sort_values(
        "test", key=lambda tests: tests.map(list(TESTS.values()).index), kind="stable", ignore_index=True
    )


def gains(arms: pd.DataFrame, base: str = "base", only: Sequence[str] | None = None) -> pd.DataFrame:
    """Gain of arms over the base of their round, unshifted test: columns arm, round, mean, low, high, seeds."""
    parts = [deltas(part, base, only).assign(round=number) for number, part in arms.groupby("round")]
    frame = pd.concat(parts) if parts else deltas(arms, base).assign(round=0)
    frame = frame[frame["test"] == TESTS["exact"]]
    order = in_order(list(frame["arm"]))
    frame = frame.sort_values(
        ["arm", "round"],
        key=lambda one: one.map(order.index) if one.name == "arm" else one,
        ignore_index=True,
    )
    return frame[["arm", "round", "mean", "low", "high", "seeds"]]


def fractions(arms: pd.DataFrame, own: str, keep: float, against: str = "base") -> pd.DataFrame:
    """Accuracy less that of `against` by the share that the filter `own` keeps (arms such as triangle_50 of one round).

    `keep` is the share of the arm `own` itself; no_filter keeps all. Columns share, test, mean, low, high, seeds, each.
    """
    shares = {own: keep, "no_filter": 1.0}
    for arm in set(arms["arm"]):
        stem, _, number = arm.rpartition("_")
        if stem == own and number.replace(".", "").isdecimal():
            shares[arm] = float(number) / 100
    frame = deltas(arms, against, list(shares))
    return frame.assign(share=frame["arm"].map(shares)).sort_values(["test", "share"], ignore_index=True)


def rounds_table(
    arms: pd.DataFrame, generators: pd.DataFrame, filters: pd.DataFrame, kind: str, arm: str, keep: float
) -> pd.DataFrame:
    """The lineage of models, a row a round: generator, precision kept and of all, base, retrained; means over seeds."""
    rows = []
    for number in sorted(set(arms["round"]) | set(generators["round"])):
        made = generators[(generators["round"] == number) & (generators["kind"] == kind)]
        mine = filters[(filters["round"] == number) & (filters["filter"] == arm)]
        at = mine[np.isclose(mine["kept_share"], keep)] if len(mine) else mine
        of = arms[arms["round"] == number].groupby("arm")["exact"].mean()
        rows.append(
            {
                "round": int(number), "vqa": made["vqa"].mean(), "tied": made["tied_share"].mean(), "auc": made["score_auc"].mean(),
                "precision": made["precision"].mean(), "precision_kept": at["precision"].mean(), "base": of.get("base"),
                "retrained": of.get(arm),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
