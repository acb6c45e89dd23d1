"""Figures of the claims, and whether their rules hold. Differences are paired by seed."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analyses.extrapolation import SOURCE
from engine.studies.base import NOT_TESTED, Measurement
from engine.studies.measuring import Floats, Measure, Tables, measured_between, measured_whole

Rule = Callable[[float, float], bool]


def above(limit: float) -> Rule:
    return lambda low, high: low > limit


def below(limit: float) -> Rule:
    return lambda low, high: high < limit


def paired(ours: Floats, theirs: Floats, rule: Rule) -> Measurement:
    """One arm less another, seed by seed, with the other's mean as the baseline. Not tested where one was not measured."""
    if len(ours) != len(theirs):
        return NOT_TESTED
    return measured_whole(ours - theirs, rule, 0.0, _mean(theirs))


def accuracy(tables: Tables, regime: str, arm: str, distances: Sequence[float]) -> Floats:
    """Mean accuracy of an arm over some distances, by seed; empty where none of them was measured."""
    frame = tables["extra_accuracy"].to_pandas()
    mine = frame[
        (frame["regime"] == regime) & (frame["arm"] == arm) & frame["distance"].isin(list(distances))
    ]
    return _by_seed(mine, "accuracy")


def on_map(tables: Tables, arm: str, scopes: Sequence[float], least: float, most: float = np.inf) -> Floats:
    """Mean accuracy of an arm over corruptions of some scopes whose severity lies in a range, by seed."""
    frame = tables["extra_map"].to_pandas()
    frame = frame[(frame["arm"] == arm) & (frame["severity"] > 0) & frame["scope"].isin(list(scopes))]
    return _by_seed(frame[frame["severity"].between(least, most)], "accuracy")


def _by_seed(frame: pd.DataFrame, column: str) -> Floats:
    return frame.groupby("seed")[column].mean().sort_index().to_numpy(dtype=np.float64)


def gain(regime: str, arm: str, other: str, distances: Sequence[float]) -> Measure:
    """Accuracy of an arm less that of another over some distances: its interval lies above 0."""

    def measure(tables: list[Tables]) -> Measurement:
        ours, theirs = (accuracy(tables[0], regime, one, distances) for one in (arm, other))
        return paired(ours, theirs, above(0))

    return measure


def no_gain(regime: str, arm: str, distances: Sequence[float], limit: float) -> Measure:
    """Accuracy of an arm less that of source only: its interval lies below a limit."""

    def measure(tables: list[Tables]) -> Measurement:
        ours, theirs = (accuracy(tables[0], regime, one, distances) for one in (arm, SOURCE))
        return paired(ours, theirs, below(limit))

    return measure


def drop(regime: str, arm: str, near: float, far: float, rule: Rule) -> Measure:
    """Accuracy lost between two distances; beside it what source only loses."""

    def measure(tables: list[Tables]) -> Measurement:
        lost = {
            one: accuracy(tables[0], regime, one, [near]) - accuracy(tables[0], regime, one, [far])
            for one in (arm, SOURCE)
        }
        return measured_whole(lost[arm], rule, 0.0, _mean(lost[SOURCE]))

    return measure


def recovery(regime: str, least: float) -> Measure:
    """Held-out R² of s from ŝ within classes; chance: rows shuffled."""

    def measure(tables: list[Tables]) -> Measurement:
        frame = (
            tables[0]["extra_recovery"].to_pandas().loc[lambda f: f["regime"] == regime].sort_values("seed")
        )
        null = float(frame["null"].max())
        return measured_whole(
            frame["r2"].to_numpy(dtype=np.float64), above(max(least, null)), float(frame["null"].mean()), None
        )

    return measure


def between_seeds(regime: str, least: float) -> Measure:
    """Held-out R² of one seed's ŝ from another's, mean of both ways; bootstrap over seeds."""

    def measure(tables: list[Tables]) -> Measurement:
        frame = tables[0]["extra_agreement"].to_pandas().loc[lambda f: f["regime"] == regime]
        seeds = sorted({*frame["seed_a"], *frame["seed_b"]})
        if len(seeds) < 3:
            return NOT_TESTED
        null = frame["null"]
        return measured_between(frame, frame["r2"], max(least, float(null.max())), float(null.mean()))

    return measure


def smaller_scope(arm: str) -> Measure:
    """Accuracy under the smallest block less that under the largest, all severities."""

    def measure(tables: list[Tables]) -> Measurement:
        small, large = (on_map(tables[0], arm, [scope], 0.0) for scope in _ends(tables[0], "scope"))
        return measured_whole(small - large, above(0), 0.0, _mean(large))

    return measure


def flat_scope(arm: str, limit: float) -> Measure:
    """Accuracy lost from the least to the greatest severity under the smallest block; beside it the loss under the largest."""

    def measure(tables: list[Tables]) -> Measurement:
        lost = []
        for scope in _ends(tables[0], "scope"):
            mild, severe = (on_map(tables[0], arm, [scope], s, s) for s in _ends(tables[0], "severity"))
            lost.append(mild - severe)
        return measured_whole(lost[0], below(limit), 0.0, _mean(lost[1]))

    return measure


def _ends(tables: Tables, column: str) -> tuple[float, float]:
    """The smallest and the largest scope or severity of the corruptions."""
    frame = tables["extra_map"].to_pandas()
    values = frame[frame["severity"] > 0][column]
    return float(values.min()), float(values.max())


def _up_to(tables: Tables, largest: float) -> list[float]:
    """The scopes up to one."""
    scopes = tables["extra_map"].to_pandas()["scope"].unique()
    return [float(scope) for scope in scopes if 0 < scope <= largest]


def picture_gain(arm: str, other: str, largest: float, least: float = 0.0) -> Measure:
    """Accuracy of an arm less that of another, over blocks up to a scope and severities from one on."""

    def measure(tables: list[Tables]) -> Measurement:
        ours, theirs = (on_map(tables[0], one, _up_to(tables[0], largest), least) for one in (arm, other))
        return paired(ours, theirs, above(0))

    return measure


def found_patches(largest: float, least: float, limit: float) -> Measure:
    """Area under the ROC of patch errors against truly changed patches, blocks up to a scope, severities from one on."""

    def measure(tables: list[Tables]) -> Measurement:
        frame = tables[0]["extra_found"].to_pandas().dropna(subset=["auc"])
        mine = frame[(frame["scope"] <= largest) & (frame["severity"] >= least)]
        return measured_whole(_by_seed(mine, "auc"), above(limit), 0.5, None)

    return measure


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
