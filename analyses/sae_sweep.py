"""Many runs in one picture: consistency against sparsity or error, one line an architecture, and the numbers behind it.

Definitions: arXiv 2505.20254. A frame here has one row a run, as `sweep_row` makes it.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analyses.figures import INK, SYMBOLS, empty, finish, legend_below, plain, series_style
from analyses.matching import bootstrap_interval
from analyses.sae_frames import Frame, as_pandas, labelled, pair_matrix

X = Literal["l0", "fvu"]
Y = Literal["pw_mcc_abs", "calibrated", "shared_share", "code_correlation", "gt_mcc_abs"]

ARCHITECTURES = {
    "topk": "TopK",
    "relu": "ReLU + L1",
    "batch_topk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "gated": "Gated",
    "matryoshka_batch_topk": "Matryoshka BatchTopK",
}
CONTROLS = {
    "random": "never trained",
    "frozen_decoder": "frozen decoder",
    "soft_frozen": "soft-frozen decoder",
}
X_AXES = {"l0": "Active features per vector (L0, log scale)", "fvu": "Variance unexplained (share)"}
Y_AXES = {
    "pw_mcc_abs": "PW-MCC (|cosine|)",
    "calibrated": "Calibrated PW-MCC (0 = chance)",
    "shared_share": "Shared features (share, |cosine| ≥ 0.7)",
    "code_correlation": "Code correlation of matched features",
    "gt_mcc_abs": "GT-MCC (|cosine|)",
}
PAIR_VALUES = {
    "pw_mcc_abs": "pw",
    "calibrated": "calibrated",
    "shared_share": "shared",
    "code_correlation": "code",
}
SEED_VALUES = {"l0": "l0", "fvu": "fvu", "gt_mcc_abs": "gt"}
LIMITS = {**PAIR_VALUES, **SEED_VALUES}
SAME_NULL = 0.002


def recipe_name(config: dict[str, Any]) -> str:
    """Architecture in words, then what sets the recipe apart: "TopK, frozen decoder", "TopK, weight decay 0.01"."""
    architecture = config.get("architecture", "")
    words = [ARCHITECTURES.get(architecture, architecture), CONTROLS.get(config.get("control", ""), "")]
    if decay := config.get("weight_decay"):
        words.append(f"weight decay {decay:g}")
    if penalty := config.get("orthogonality"):
        words.append(f"orthogonality {penalty:g}")
    words.append("aligned encoder" if config.get("align_encoder") else "")
    words.append("free decoder norm" if config.get("decoder_norm") == "free" else "")
    return ", ".join(word for word in words if word)


def sparsity_text(config: dict[str, Any]) -> str:
    """The setting that governs sparsity: "L1 2" for ReLU and Gated, else "k 32"."""
    if config.get("architecture") in ("relu", "gated"):
        return f"L1 {config['l1_coefficient']:g}"
    return f"k {config['k']}"


def sweep_row(run: dict[str, Any], saes: Frame, pairs: Frame, subset: str) -> dict[str, Any]:
    """One run as a row of the sweep: what it is, how sparse, how good, how consistent; unknown values are None.

    `run` has id and config; `saes` and `pairs` are its tables. Keys run, name, sparsity, n_seeds, alive_share, null,
    pw_mcc_signed; means over seeds l0, fvu, gt_mcc_abs with the smallest and largest (l0_low, l0_high, fvu_…, gt_…);
    means over pairs of `subset` pw_mcc_abs, calibrated, shared_share, code_correlation with pw_low, pw_high,
    calibrated_…, shared_…, code_…: the 95 % bootstrap interval over runs, or the range of the pairs below three seeds.
    """
    quality, table = as_pandas(saes), labelled(pairs, subset)
    row: dict[str, Any] = {
        "run": run["id"],
        "name": recipe_name(run["config"]),
        "sparsity": sparsity_text(run["config"]),
        "n_seeds": len(quality),
    }
    for column, short in SEED_VALUES.items():
        row[column], row[f"{short}_low"], row[f"{short}_high"] = _spread(quality, column)
    row["alive_share"] = _spread(quality, "alive_share")[0]
    for column, short in PAIR_VALUES.items():
        mean, low, high = _spread(table, column)
        interval = None if mean is None else bootstrap_interval(pair_matrix(table, metric=column))
        if interval is not None and np.isfinite(interval).all():
            low, high = interval
        row[column], row[f"{short}_low"], row[f"{short}_high"] = mean, low, high
    row["pw_mcc_signed"] = _spread(table, "pw_mcc_signed")[0]
    row["null"] = _spread(table, "null_mean")[0]
    return row


def _spread(table: pd.DataFrame, column: str) -> tuple[float | None, float | None, float | None]:
    """Mean, smallest and largest known value of a column; None where there is none."""
    values = _numbers(table, column)
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None, None
    return float(values.mean()), float(values.min()), float(values.max())


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column]).to_numpy(dtype=np.float64, na_value=np.nan)


def _styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Colour, dash and symbol of each name; an architecture without a control keeps its own whatever else is drawn."""
    known = list(ARCHITECTURES.values())
    others = sorted(set(names) - set(known))
    places = {name: index for index, name in enumerate([*known, *others])}
    chosen = sorted(set(names), key=places.__getitem__)
    return {n: {**series_style(places[n]), "symbol": SYMBOLS[places[n] % len(SYMBOLS)]} for n in chosen}


def sweep_figure(frame: Frame, x: X = "l0", y: Y = "pw_mcc_abs") -> go.Figure:
    """`y` against L0 (log) or FVU of every run, one line with markers a name, ordered by `x`; bars as in `sweep_row`.

    customdata is (run, name, sparsity, seeds, low, high, the other x value). PW-MCC has its chance level as a dotted
    line, one for all when it is the same, else one a name in its colour; for the calibrated value chance is 0.
    """
    table = as_pandas(frame)
    points = pd.DataFrame({"x": _numbers(table, x), "y": _numbers(table, y)}, index=table.index)
    drawn = np.isfinite(points).all(axis=1) & ((points["x"] > 0) | (x != "l0"))
    table, points = table[drawn], points[drawn]
    if table.empty:
        return empty("No finished run has these values yet; train some, each with two seeds or more.")
    other: X = "fvu" if x == "l0" else "l0"
    low, high = _numbers(table, f"{LIMITS[y]}_low"), _numbers(table, f"{LIMITS[y]}_high")
    points = points.assign(low=low, high=high, other=_numbers(table, other), null=_numbers(table, "null"))
    points = points.join(table[["run", "name", "sparsity", "n_seeds"]]).sort_values("x", kind="stable")
    figure = go.Figure()
    styles = _styles(list(points["name"]))
    for name, style in styles.items():
        _add_line(figure, points[points["name"] == name], name, style, x, y)
    chance = _add_chance(figure, points, styles, y)
    figure.update_xaxes(title_text=X_AXES[x], **(_log_axis(points["x"]) if x == "l0" else {}))
    figure.update_yaxes(title_text=Y_AXES[y], range=_range(points, y))
    figure.update_layout(clickmode="event+select", showlegend=len(styles) > 1)
    fewest, most = int(points["n_seeds"].min()), int(points["n_seeds"].max())
    seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    bars = "range over seeds" if y == "gt_mcc_abs" or most < 3 else "95 % over seeds"
    best = points.loc[points["y"].idxmax()]
    words = f"highest {best['y']:.3f}: {best['name']}, {best['sparsity']}"
    runs = f"{len(points)} runs" if len(points) > 1 else "1 run"
    runs = runs if len(styles) > 1 else f"{best['name']}: {runs}"
    return legend_below(
        finish(
            figure,
            title=f"{Y_AXES[y]} by {'sparsity' if x == 'l0' else 'reconstruction error'}",
            subtitle=plain(f"{runs} of {seeds} seeds, bars: {bars}{chance}"),
            alt=f"{Y_AXES[y]} against {X_AXES[x]}, {runs}, {len(styles)} lines; {words}.",
            height=460 if len(styles) > 1 else 400,
        )
    )


def _add_line(figure: go.Figure, rows: pd.DataFrame, name: str, style: dict[str, Any], x: X, y: Y) -> None:
    value = rows["y"].to_numpy()
    error = {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(rows["high"] - value).clip(0),
        "arrayminus": np.nan_to_num(value - rows["low"]).clip(0),
        "thickness": 1.2,
        "width": 4,
    }
    first, second = ("L0", "FVU") if x == "l0" else ("FVU", "L0")
    figure.add_scatter(
        x=rows["x"],
        y=value,
        error_y=error,
        mode="lines+markers",
        line={"color": style["color"], "dash": style["dash"], "width": 2},
        marker={
            "color": style["color"],
            "symbol": style["symbol"],
            "size": 10,
            "line": {"width": 1, "color": "white"},
        },
        name=plain(name),
        customdata=rows[["run", "name", "sparsity", "n_seeds", "low", "high", "other"]].to_numpy(
            dtype=object
        ),
        hovertemplate="<b>%{customdata[1]}</b>, %{customdata[2]}<br>"
        f"{Y_AXES[y]} %{{y:.3f}} (%{{customdata[4]:.3f}} to %{{customdata[5]:.3f}}, "
        f"%{{customdata[3]}} seeds)<br>{first} %{{x:.3g}}, {second} %{{customdata[6]:.3g}}"
        "<br>run %{customdata[0]}<extra></extra>",
    )


def _add_chance(figure: go.Figure, points: pd.DataFrame, styles: dict[str, dict[str, Any]], y: Y) -> str:
    """Draw the chance level; returns the words on it for the subtitle, empty where `y` has none."""
    if y == "calibrated":
        figure.add_hline(y=0, line={"dash": "dot", "color": INK, "width": 1.5})
        return ", dotted: chance"
    known = points.dropna(subset=["null"])
    if y != "pw_mcc_abs" or known.empty:
        return ""
    low, high = known["null"].min(), known["null"].max()
    if high - low <= SAME_NULL:
        level = float(known["null"].mean())
        figure.add_hline(y=level, line={"dash": "dot", "color": INK, "width": 1.5})
        return f", dotted: chance {level:.3f}"
    for name, style in styles.items():
        rows = known[known["name"] == name]
        figure.add_scatter(
            x=rows["x"],
            y=rows["null"],
            mode="lines+markers",
            line={"color": style["color"], "dash": "dot", "width": 1.2},
            marker={"color": style["color"], "symbol": "line-ew-open", "size": 8},
            name=plain(f"{name}: chance"),
            showlegend=False,
            customdata=rows[["run", "name"]].to_numpy(dtype=object),
            hovertemplate="<b>%{customdata[1]}</b><br>chance %{y:.3f}<extra></extra>",
        )
    return f", dotted: chance {low:.3f} to {high:.3f}"


def _range(points: pd.DataFrame, y: Y) -> list[float]:
    """Room for every value, its bar and the chance level."""
    shown = points[["y", "low", "high"]].to_numpy()
    chance = points["null"].to_numpy() if y == "pw_mcc_abs" else np.zeros(1)
    low, high = np.nanmin([np.nanmin(shown), *chance]), np.nanmax([np.nanmax(shown), *chance])
    room = 0.06 * max(high - low, 0.01)
    return [float(low - room), float(high + room)]


def _log_axis(values: pd.Series) -> dict[str, Any]:
    """A log axis whose ticks are plain numbers 1, 2, 5 · 10ⁿ, and that has room at both ends."""
    low, high = float(values.min()) / 1.15, float(values.max()) * 1.15
    ticks = [m * 10.0**p for p in range(-3, 7) for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    if len(ticks) < 2:
        ticks = sorted({float(f"{v:.3g}") for v in (values.min(), values.max())})
    return {
        "type": "log",
        "range": [np.log10(low), np.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def sweep_table(frame: Frame) -> pd.DataFrame:
    """The rows for a reader: named columns with units, by name and L0; columns without any value are left out."""
    table = as_pandas(frame)
    columns = {
        "Architecture": "name",
        "Sparsity": "sparsity",
        "Seeds": "n_seeds",
        "L0": "l0",
        "Variance unexplained (share)": "fvu",
        "Alive (share)": "alive_share",
        "PW-MCC (|cosine|)": "pw_mcc_abs",
        "PW-MCC low": "pw_low",
        "PW-MCC high": "pw_high",
        "PW-MCC (signed)": "pw_mcc_signed",
        "Chance": "null",
        "Calibrated": "calibrated",
        "Shared (share)": "shared_share",
        "Code correlation": "code_correlation",
        "GT-MCC (|cosine|)": "gt_mcc_abs",
        "Run": "run",
    }
    if table.empty:
        return pd.DataFrame(columns=list(columns))
    words = ("name", "sparsity", "run")
    data = {
        title: table[column] if column in words else _numbers(table, column)
        for title, column in columns.items()
    }
    found = pd.DataFrame(data).sort_values(["Architecture", "L0"], kind="stable", ignore_index=True)
    return found.dropna(axis=1, how="all").astype({"Seeds": int})


def at_equal_l0(frame: Frame, name_a: str, name_b: str, y: Y) -> pd.DataFrame:
    """`y` of two names at the same L0: linear in log L0 between runs, on the range both cover, never beyond it.

    Columns l0 (every L0 measured for either in that range, and its ends), a, b and difference (a − b); no rows when
    the ranges do not meet.
    """
    curves = [_curve(as_pandas(frame), name, y) for name in (name_a, name_b)]
    if any(curve.empty for curve in curves):
        return pd.DataFrame(columns=["l0", "a", "b", "difference"], dtype=float)
    low = max(curve.index.min() for curve in curves)
    high = min(curve.index.max() for curve in curves)
    places = np.unique(np.concatenate([curve.index.to_numpy() for curve in curves]))
    places = places[(places >= low) & (places <= high)]
    a, b = (np.interp(np.log(places), np.log(curve.index), curve.to_numpy()) for curve in curves)
    return pd.DataFrame({"l0": places, "a": a, "b": b, "difference": a - b})


def _curve(table: pd.DataFrame, name: str, y: str) -> pd.Series:
    """Mean of `y` by L0 (index, rising and positive) of the runs of one name."""
    rows = table[table["name"] == name] if len(table) else table
    values = pd.DataFrame({"l0": _numbers(rows, "l0"), "y": _numbers(rows, y)}).dropna()
    return values[values["l0"] > 0].groupby("l0")["y"].mean()
