"""Figures of the claims, and whether their rules hold. Differences are paired by seed."""

import numpy as np
import pandas as pd

from analyses.label_shift import ADAPTER, FINE_TUNE, NONE, ORACLE, TAU
from analyses.label_shift_frames import RULES, regrets
from analyses.label_shift_frames import late as late_rounds
from analyses.matching import mean_interval
from engine.studies.base import NOT_TESTED, Measurement
from engine.studies.measuring import Floats, Measure, Tables, measured_between, measured_whole

NEAR, NEAR_SHARE = 0.03, 0.15
NO_GAIN = 0.02


def late(tables: Tables, arm: str, column: str) -> Floats:
    """Mean of a column over the second half of an arm's rounds with the first backbone, by seed."""
    rounds = late_rounds(tables["shift_rounds"].to_pandas())
    return _by_seed(rounds[rounds["arm"] == arm].groupby("seed")[column].mean())


def swapped(tables: Tables, arm: str, column: str) -> Floats:
    """Mean of a column over the rounds with the second backbone, by seed."""
    frame = tables["shift_rounds"].to_pandas()
    return _by_seed(frame[(frame["arm"] == arm) & frame["swapped"]].groupby("seed")[column].mean())


def _by_seed(values: "pd.Series[float]") -> Floats:
    return values.sort_index().to_numpy(dtype=np.float64)


def above_zero(low: float, high: float) -> bool:
    return low > 0


def measure_near_oracle(tables: list[Tables]) -> Measurement:
    """Excess loss of the adapter; beside it that of no correction."""
    ours, none = (late(tables[0], arm, "excess_nll") for arm in (ADAPTER, NONE))
    limit = min(NEAR, NEAR_SHARE * float(none.mean()))
    return measured_whole(ours, lambda _, high: high < limit, 0.0, float(none.mean()))


def lower_excess(ours: str, other: str) -> Measure:
    """Excess loss of another arm less that of ours, by seed: its interval lies above 0."""

    def measure(tables: list[Tables]) -> Measurement:
        theirs = late(tables[0], other, "excess_nll")
        return measured_whole(
            theirs - late(tables[0], ours, "excess_nll"), above_zero, 0.0, float(theirs.mean())
        )

    return measure


def measure_mixed(tables: list[Tables]) -> Measurement:
    """Forecast error of the one-parameter fit less that of the adapter; both must lie where the rule says."""
    ours, fit = (late(tables[0], arm, "kl") for arm in (ADAPTER, TAU))
    small, large = mean_interval(ours)[1] < 0.02, mean_interval(fit)[0] > 0.2
    return measured_whole(fit - ours, lambda low, _: low > 0 and small and large, 0.0, float(fit.mean()))


def no_gain(tables: list[Tables]) -> Measurement:
    """Accuracy of the adapter less that of no correction: less than two points."""
    ours, none = (late(tables[0], arm, "accuracy") for arm in (ADAPTER, NONE))
    return measured_whole(ours - none, lambda _, high: high < NO_GAIN, 0.0, float(none.mean()))


def measure_features(tables: list[Tables]) -> Measurement:
    """The same where P(X | Y) moves; and labels on the spot must gain more than the margin, so that there is a loss to mend."""
    ours, none, tuned = (late(tables[0], arm, "accuracy") for arm in (ADAPTER, NONE, FINE_TUNE))
    to_mend = mean_interval(tuned - none)[0] > NO_GAIN
    return measured_whole(
        ours - none, lambda _, high: high < NO_GAIN and to_mend, 0.0, float(tuned.mean() - none.mean())
    )


def measure_swap(tables: list[Tables]) -> Measurement:
    """Accuracy with the true shares less that of the frozen adapter, on a backbone it never saw."""
    ours, oracle, none = (swapped(tables[0], arm, "accuracy") for arm in (ADAPTER, ORACLE, NONE))
    return measured_whole(
        oracle - ours, lambda low, high: low > -NEAR and high < NEAR, 0.0, float((oracle - none).mean())
    )


def measure_swap_kl(tables: list[Tables]) -> Measurement:
    """Forecast error of no correction less that of the frozen adapter on the second backbone."""
    ours, none = (swapped(tables[0], arm, "kl") for arm in (ADAPTER, NONE))
    small = mean_interval(ours)[1] < 0.05
    return measured_whole(
        ours, lambda _, high: small and high < float(none.mean()), float(none.mean()), float(none.mean())
    )


def regret(tables: Tables, column: str) -> Floats:
    """Accuracy lost, against the best candidate after deployment, by choosing the one that is highest in a column; by seed."""
    frame = regrets(tables["shift_choices"].to_pandas())
    return _by_seed(frame[frame["rule"] == RULES[column]].set_index("seed")["regret"])


def lower_regret(column: str) -> Measure:
    """Regret of a choice by another rule less that by the adapter's forecast."""

    def measure(tables: list[Tables]) -> Measurement:
        theirs = regret(tables[0], column)
        return measured_whole(
            theirs - regret(tables[0], "by_adapter"),
            above_zero,
            0.0,
            float(theirs.mean()) if len(theirs) else None,
        )

    return measure


def measure_recovery(tables: list[Tables]) -> Measurement:
    """Correlation of the learnt with the true mechanism; chance: columns permuted."""
    frame = tables[0]["shift_recovery"].to_pandas().sort_values("seed")
    high = float(frame["null_high"].max())
    return measured_whole(
        frame["correlation"].to_numpy(dtype=np.float64),
        lambda low, _: low > max(high, 0.8),
        float(frame["null"].mean()),
        None,
    )


def measure_agreement(tables: list[Tables]) -> Measurement:
    """Correlation between the mechanisms of two seeds, bootstrap over seeds."""
    frame = tables[0]["shift_agreement"].to_pandas()
    seeds = sorted({*frame["seed_a"], *frame["seed_b"]})
    if len(seeds) < 3:
        return NOT_TESTED
    limit = max(float(frame["null_high"].max()), 0.5)
    return measured_between(frame, frame["correlation"], limit, float(frame["null"].mean()))


def measure_few(tables: list[Tables]) -> Measurement:
    """Forecast error of no correction less that of the adapter in rounds 20 to 29, when it has seen 19 to 28 pairs."""
    frame = tables[0]["shift_rounds"].to_pandas()
    early = frame[frame["round"].between(20, 29)]
    ours, none = (
        _by_seed(early[early["arm"] == arm].groupby("seed")["kl"].mean()) for arm in (ADAPTER, NONE)
    )
    half = float(none.mean()) / 2
    return measured_whole(ours, lambda _, high: high < half, float(none.mean()), float(none.mean()))
