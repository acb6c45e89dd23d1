"""The numbers behind the pictures of SAE consistency: labelled frames, frequency bins, summary, claims.

Definitions: arXiv 2505.20254. A frame (pandas or Arrow) names SAEs by `label_a`, `label_b` where it has these
columns, else by `seed_a`, `seed_b` as "seed 0".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses.dictionaries import contributions
from analyses.matching import bootstrap_interval, calibrated, mean_interval

Frame = Any
CLEAR_MARGIN = 0.1
NO_PAIRS = "A comparison needs two SAEs; train another seed or choose more runs."
METRICS = {
    "pw_mcc_abs": "PW-MCC (|cosine|)",
    "pw_mcc_signed": "PW-MCC (signed cosine)",
    "calibrated": "calibrated PW-MCC",
}


def as_pandas(frame: Frame) -> pd.DataFrame:
    """A pandas frame of a pandas or Arrow table, or of a list of rows."""
    if isinstance(frame, pd.DataFrame):
        return frame
    return frame.to_pandas() if hasattr(frame, "to_pandas") else pd.DataFrame(frame)


def labelled(frame: Frame, subset: str | None = None) -> pd.DataFrame:
    """Copy with `label_a` and `label_b`, restricted to `subset` where the frame has that column."""
    table = as_pandas(frame)
    if subset is not None and "subset" in table:
        table = table[table["subset"] == subset]
    if table.empty or "label_a" in table:
        return table.copy()
    names = {f"label_{side}": [f"seed {seed}" for seed in table[f"seed_{side}"]] for side in "ab"}
    return table.assign(**names)


def pair_matrix(
    pairs: Frame, labels: Sequence[str] | None = None, metric: str = "pw_mcc_abs"
) -> pd.DataFrame:
    """Symmetric labels × labels frame of a pair value; the diagonal and missing pairs are NaN."""
    table = labelled(pairs)
    names = (
        list(labels) if labels is not None else list(dict.fromkeys([*table["label_a"], *table["label_b"]]))
    )
    place = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for a, b, value in zip(table["label_a"], table["label_b"], table[metric], strict=True):
        if a in place and b in place and a != b:
            matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    return pd.DataFrame(matrix, index=names, columns=names)


def frequency_bins(matches: Frame, bins: int = 5, subset: str = "all") -> pd.DataFrame:
    """Matched pairs by the lower of their two activation frequencies (paper, stratified analysis).

    Columns low, high (frequency per token), count, mean, sd (of |cosine|) and contribution: the bin's summed |cosine|
    over the number of pairs, so contributions add up to PW-MCC. The first row (0, 0) holds pairs with a feature that
    never fires; the others are `bins` log-spaced bins.
    """
    table = labelled(matches, subset)
    frequency = table[["frequency_a", "frequency_b"]].min(axis=1)
    return pd.DataFrame(contributions(table["cosine"], frequency, bins))


def _verdict(low: float | None, null: float | None, spread: float, runs: int) -> tuple[str, str]:
    if runs < 2:
        return "not tested", "One SAE has nothing to be compared with; train another seed."
    if null is None:
        return "not tested", "The chance level was not measured."
    if low is None:
        return "not tested", "An interval over runs needs three seeds or more."
    bar = null + 3 * spread + CLEAR_MARGIN
    if low > bar:
        return "shown", f"Clearly above chance: the interval starts at {low:.3f}, chance is {null:.3f}."
    return (
        "not shown",
        f"Not clearly above chance: the interval starts at {low:.3f}, the bar is {bar:.3f} (chance {null:.3f}).",
    )


def _mean(table: pd.DataFrame, column: str) -> float | None:
    values = table[column].dropna() if column in table else pd.Series(dtype=float)
    return float(values.mean()) if len(values) else None


def summary(pairs: Frame, saes: Frame, subset: str = "alive") -> dict[str, Any]:
    """The first strip of a page: consistency, chance, recovery and quality over the runs compared.

    Keys: subset, runs, pairs, pw_mcc_abs, pw_low, pw_high (95 % bootstrap over runs), pw_mcc_signed, signed_low,
    signed_high, null, null_std, calibrated, fvu, l0, alive_share, gt_mcc_abs, gt_low, gt_high (95 % t over seeds),
    verdict ("shown", "not shown", "not tested") and verdict_text; what is unknown is None. The verdict looks at the
    interval: its low end must lie 0.1 and three standard deviations of the null above chance.
    """
    table, quality = labelled(pairs, subset), as_pandas(saes)
    result: dict[str, Any] = {"subset": subset, "runs": len(quality), "pairs": len(table)}
    for metric, name in (("pw_mcc_abs", "pw"), ("pw_mcc_signed", "signed")):
        interval = bootstrap_interval(pair_matrix(table, metric=metric)) if len(table) else None
        result[metric] = _mean(table, metric)
        result[f"{name}_low"], result[f"{name}_high"] = interval or (None, None)
    null, value = _mean(table, "null_mean"), result["pw_mcc_abs"]
    spread = float(table["null_std"].max()) if null is not None and "null_std" in table else 0.0
    result["null"], result["null_std"] = null, spread
    result["calibrated"] = None if null is None or value is None else calibrated(value, null)
    for column in ("fvu", "l0", "alive_share", "gt_mcc_abs"):
        result[column] = _mean(quality, column)
    truth = quality["gt_mcc_abs"].dropna() if "gt_mcc_abs" in quality else []
    result["gt_low"], result["gt_high"] = mean_interval(truth) if len(truth) > 1 else (None, None)
    result["verdict"], result["verdict_text"] = _verdict(result["pw_low"], null, spread, result["runs"])
    return result


def _number(value: Any) -> str:
    return "–" if value is None or pd.isna(value) or not np.isfinite(value) else f"{value:.3f}"


def claims_table(claims: Frame) -> pd.DataFrame:
    """The claims as the reader sees them: one row a claim, numbers as text, "–" where there is none."""
    table = as_pandas(claims)
    rows = []
    for row in table.to_dict("records"):
        interval = f"{_number(row['low'])} to {_number(row['high'])}"
        baseline = f"{_number(row['baseline'])} ({row['baseline_name']})" if row["baseline_name"] else "–"
        rows.append(
            {
                "Claim": row.get("sentence") or row["claim"],
                "Paper": row["paper"],
                "Here (mean)": _number(row["value"]),
                "95 % interval": "–" if interval == "– to –" else interval,
                "Seeds": int(row["seeds"]),
                "Chance": _number(row["chance"]),
                "Simple baseline": baseline,
                "Verdict": row["verdict"],
            }
        )
    columns = [
        "Claim",
        "Paper",
        "Here (mean)",
        "95 % interval",
        "Seeds",
        "Chance",
        "Simple baseline",
        "Verdict",
    ]
    return pd.DataFrame(rows, columns=columns)
