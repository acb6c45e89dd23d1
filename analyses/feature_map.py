"""The map of features: its figure, the points inside a lasso, and a lasso as a short text for a link."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analyses.figures import INK, PALETTE, SEQUENTIAL, SYMBOLS, TEMPLATE, finish, legend_below, plain

COLOURS = {
    "stability": "Stability",
    "max_cosine": "Best cosine",
    "density": "Density",
    "run": "Run",
    "seed": "Seed",
    "list": "List",
    "alive": "Alive or dead",
}
AMOUNTS = ("stability", "max_cosine", "density")
BARS = {
    "stability": "Stability<br>(share of<br>other seeds)",
    "max_cosine": "Best cosine<br>in another<br>seed",
    "density": "Density<br>(share of<br>tokens)",
}
UNKNOWN = {"stability": "not known", "max_cosine": "not known", "density": "never active"}
HOVER = {
    "stability": "stability %{marker.color:.3f}",
    "max_cosine": "best cosine in another seed %{marker.color:.3f}",
    "density": "active on %{customdata[2]:,} of a million tokens",
}
CHOSEN, UNCHOSEN_OPACITY = "inside the lasso", 0.15
PER_MILLION = "active_of_a_million"
NO_LIST, OTHERS = "in no list", "other"
GREY = "#9a9a9a"
HEIGHT = 640
LAYERS, MAX_TRACES = 4, 56
LONG_NAME, LEGEND_LETTERS = 16, 130
MAX_GROUPS = len(PALETTE) * len(SYMBOLS)
FAR_APART = (
    "Neighbours on the map are similar directions. Distances between far groups, their sizes and the axes mean little: "
    "UMAP keeps neighbourhoods, not distances, and another layout seed places the groups elsewhere."
)
MAX_VERTICES, DECIMALS = 60, 3
_LIMIT = 10**6
_MAX_TEXT = 2_000
Polygon = NDArray[np.float64]
NO_POLYGON: Polygon = np.empty((0, 2))


def sampling_note(drawn: int, total: int) -> str:
    """How many of the features are drawn, and how they were chosen."""
    if drawn >= total:
        return f"All {total:,} features are drawn."
    return f"{drawn:,} of {total:,} features, drawn at random from every SAE alike."


def map_figure(
    frame: pd.DataFrame,
    color_by: str = "stability",
    title: str = "",
    note: str = "",
    lasso: Polygon = NO_POLYGON,
) -> go.Figure:
    """Scatter of features, coloured by one of `COLOURS`.

    `frame` has a row per feature: run, seed, feature, x, y, and the column `color_by`; density is a share of tokens,
    list is "" for none, alive a bool. `lasso` (vertices × 2, data units) is outlined, the
    points outside faded. A point's customdata begins with its
    seed and feature index; its text is the run where there are several. Raises ValueError for an unknown `color_by`.
    """
    if color_by not in COLOURS:
        raise ValueError(f"color_by must be one of {', '.join(COLOURS)}, got {color_by!r}.")
    figure = go.Figure()
    if len(lasso):
        frame = frame.assign(**{CHOSEN: inside(frame["x"], frame["y"], lasso)})
    if color_by == "density":
        frame = frame.assign(**{PER_MILLION: (frame["density"].fillna(0) * 1e6).round()})
    if color_by in AMOUNTS:
        _amounts(figure, frame, color_by)
    else:
        _groups(figure, frame, color_by)
    if len(lasso):
        path = "M" + "L".join(f"{x:.3f},{y:.3f}" for x, y in lasso) + "Z"
        figure.add_shape(type="path", path=path, line={"color": INK, "width": 2})
    hidden: dict[str, Any] = {"showticklabels": False, "ticks": "", "showgrid": False}
    figure.update_xaxes(title_text="UMAP 1 (arbitrary units)", **hidden)
    figure.update_yaxes(title_text="UMAP 2 (arbitrary units)", scaleanchor="x", **hidden)
    saes = len(frame[["run", "seed"]].drop_duplicates())
    alt = (
        f"Map of {len(frame):,} features of {saes} sparse autoencoder{'s' if saes > 1 else ''}: UMAP of decoder "
        f"directions by cosine, coloured by {COLOURS[color_by].lower()}. {_summary(frame, color_by)}"
    )
    height = figure.layout.height or HEIGHT
    finish(figure, alt=alt, title=title, subtitle=note, caption=f"{alt} {note}".strip(), height=height)
    return figure.update_layout(
        uirevision="map",
        dragmode="lasso",
        legend={"title": {"text": COLOURS[color_by]}, "itemsizing": "constant", "tracegroupgap": 0},
    )


def _marker(n: int) -> dict[str, Any]:
    size = float(np.clip(8.5 - 1.3 * np.log10(max(n, 1)), 2.8, 7))
    return {"size": round(size, 1), "opacity": 0.75, "line": {"width": 0}}


def _scatter(
    figure: go.Figure, frame: pd.DataFrame, chosen: Any, name: str, marker: dict[str, Any], hover: str
) -> None:
    short = {name: plain(str(name)[:6]) for name in frame["run"].unique()}
    several = len(short) > 1
    numbers = ["seed", "feature", *([PER_MILLION] if PER_MILLION in frame else [])]
    rows = frame.loc[chosen, ["run", "x", "y", *numbers, *([CHOSEN] if CHOSEN in frame else [])]]
    run = "<br>run %{text}" if several else ""
    figure.add_scattergl(
        x=rows["x"].to_numpy(np.float32),
        y=rows["y"].to_numpy(np.float32),
        mode="markers",
        name=plain(name),
        marker={**_marker(len(frame)), **marker},
        customdata=rows[numbers].to_numpy(np.int32),
        text=rows["run"].map(short).tolist() if several else None,
        hovertemplate=f"feature %{{customdata[1]}}, seed %{{customdata[0]}}{run}<br>{hover}<extra></extra>",
        showlegend=bool(name),
    )
    if CHOSEN in rows:
        chosen_points = np.flatnonzero(rows[CHOSEN]).tolist()
        figure.data[-1].update(
            selectedpoints=chosen_points, unselected={"marker": {"opacity": UNCHOSEN_OPACITY}}
        )


def _amounts(figure: go.Figure, frame: pd.DataFrame, color_by: str) -> None:
    values = frame[color_by].to_numpy(np.float64)
    known = values > 0 if color_by == "density" else np.isfinite(values)
    if not known.all():
        _scatter(figure, frame, ~known, UNKNOWN[color_by], {"color": GREY}, UNKNOWN[color_by])
    if not known.any():
        return
    shown = values[known]
    bar: dict[str, Any] = {"title": {"text": BARS[color_by]}, "thickness": 14, "outlinewidth": 0}
    scale: dict[str, Any] = {"cmin": 0.0, "cmax": 1.0}
    if color_by == "density":
        shown = np.log10(shown)
        low, high = np.floor(shown.min()), np.ceil(shown.max())
        ticks = np.arange(low, high + 1)
        bar |= {"tickvals": ticks, "ticktext": [_power(int(tick)) for tick in ticks]}
        scale = {"cmin": shown.min(), "cmax": shown.max()}
    marker = {"color": shown.astype(np.float32), "colorscale": SEQUENTIAL, "colorbar": bar, **scale}
    _scatter(figure, frame, known, "", marker, HOVER[color_by])
    if not known.all():
        figure.update_layout(legend={"x": 1.02, "y": 0, "yanchor": "bottom"})


def _power(exponent: int) -> str:
    return (
        "1" if exponent == 0 else f"10<sup>−{-exponent}</sup>" if exponent < 0 else f"10<sup>{exponent}</sup>"
    )


def _groups(figure: go.Figure, frame: pd.DataFrame, color_by: str) -> None:
    """A colour a group, drawn in several layers, so that the last group does not cover the others."""
    names = group_names(frame, color_by)
    kinds, codes = np.unique(names.astype(str), return_inverse=True)
    found, of = _order(names, color_by), {name: codes == code for code, name in enumerate(kinds)}
    grey = [name for name in (NO_LIST, OTHERS) if name in found]
    coloured = [name for name in found if name not in grey]
    for name in grey:
        _scatter(figure, frame, of[name], name, {"color": GREY, "opacity": 0.45}, plain(name))
    layers = max(1, min(LAYERS, MAX_TRACES // max(1, len(coloured))))
    layer = pd.Series(codes).groupby(codes).cumcount().to_numpy() % layers
    for number in range(layers):
        for i, name in enumerate(coloured):
            style = {"color": PALETTE[i % len(PALETTE)], "symbol": SYMBOLS[i // len(PALETTE)]}
            shown, chosen = f"{name} ({int(of[name].sum()):,})", of[name] & (layer == number)
            if chosen.any():
                _scatter(figure, frame, chosen, shown, style, plain(name))
                figure.data[-1].update(legendgroup=str(i), showlegend=number == 0)
    widest = max(map(len, coloured + grey))
    if widest > LONG_NAME:
        legend_below(figure)
        rows = -(-len(found) // max(1, LEGEND_LETTERS // (widest + 12)))
        figure.update_layout(margin_b=TEMPLATE.layout.margin.b + 20 * rows, height=HEIGHT + 20 * rows)


def group_names(frame: pd.DataFrame, color_by: str) -> NDArray[np.object_]:
    """The group of every feature; the smallest beyond the palette are together in "other"."""
    if color_by == "alive":
        names = np.where(frame["alive"].to_numpy(bool), "alive", "dead").astype(object)
    elif color_by == "seed":
        names = np.array([f"seed {seed}" for seed in frame["seed"]], dtype=object)
    elif color_by == "list":
        names = np.array([text or NO_LIST for text in frame["list"]], dtype=object)
    else:
        names = frame[color_by].astype(str).to_numpy(object)
    kinds, counts = np.unique(names, return_counts=True)
    if len(kinds) > MAX_GROUPS:
        kept = kinds[np.argsort(-counts, kind="stable")[: MAX_GROUPS - 1]]
        names = np.where(np.isin(names, [*kept, NO_LIST]), names, OTHERS)
    return names


def _order(names: NDArray[np.object_], color_by: str) -> list[str]:
    found = list(dict.fromkeys(names))
    if color_by == "seed":
        return sorted(found, key=lambda name: int(name.split()[-1]) if name != OTHERS else -1)
    return sorted(found) if color_by in ("alive", "list") else found


def _summary(frame: pd.DataFrame, color_by: str) -> str:
    if color_by in AMOUNTS:
        values = frame[color_by].dropna()
        if values.empty:
            return "No value is known."
        shown = f"{values.median():.1g}" if color_by == "density" else f"{values.median():.2f}"
        return f"Median {COLOURS[color_by].lower()} {shown}."
    counts = pd.Series(group_names(frame, color_by)).value_counts()
    return "; ".join(f"{name}: {count:,}" for name, count in counts.head(8).items()) + "."


def inside(x: Any, y: Any, polygon: Polygon) -> NDArray[np.bool_]:
    """Which points (x, y of length n) lie in the polygon (vertices × 2), by the even-odd rule; none without one."""
    px, py = np.asarray(x, np.float64), np.asarray(y, np.float64)
    found = np.zeros(len(px), dtype=bool)
    if len(polygon) < 3:
        return found
    (left, bottom), (right, top) = polygon.min(axis=0), polygon.max(axis=0)
    near = np.flatnonzero((px >= left) & (px <= right) & (py >= bottom) & (py <= top))
    px, py = px[near], py[near]
    odd = np.zeros(len(near), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > py) != (y1 > py)
            odd ^= crosses & (px < x0 + (py - y0) * ((x1 - x0) / (y1 - y0)))
    found[near] = odd
    return found


def polygon_of(selection: dict[str, Any]) -> Polygon:
    """The first lasso or box of a plotly selection as vertices (at most 60); empty when there is none."""
    for shape in selection.get("lasso") or []:
        return simplified(np.column_stack([shape["x"], shape["y"]]).astype(np.float64))
    for shape in selection.get("box") or []:
        (x0, x1), (y0, y1) = shape["x"][:2], shape["y"][:2]
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    return NO_POLYGON


def simplified(polygon: Polygon, most: int = MAX_VERTICES) -> Polygon:
    """At most `most` vertices: those whose triangle with their neighbours is smallest go first (Visvalingam 1993)."""
    points = polygon
    while len(points) > most:
        before, after = np.roll(points, 1, axis=0) - points, np.roll(points, -1, axis=0) - points
        area = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        points = np.delete(points, int(area.argmin()), axis=0)
    return points


def encode_lasso(polygon: Polygon | Sequence[Sequence[float]]) -> str:
    """A polygon as letters for a link: 3 decimals, differences from vertex to vertex, base64; "" without three vertices."""
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    if len(points) < 3 or not np.isfinite(points).all():
        return ""
    whole = np.rint(simplified(points) * 10**DECIMALS).astype(np.int64)
    if np.abs(whole).max() > _LIMIT:
        return ""
    steps = np.diff(whole, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel()
    data = b"".join(_varint(int(step) * 2 if step >= 0 else -int(step) * 2 - 1) for step in steps)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_lasso(text: str) -> Polygon:
    """The polygon of `encode_lasso`'s text; empty for anything malformed."""
    if not text or len(text) > _MAX_TEXT:
        return NO_POLYGON
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        steps = [value // 2 if value % 2 == 0 else -(value + 1) // 2 for value in _varints(data)]
    except (ValueError, binascii.Error):
        return NO_POLYGON
    if len(steps) % 2 or not 3 <= len(steps) // 2 <= MAX_VERTICES:
        return NO_POLYGON
    whole = np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0)
    return NO_POLYGON if np.abs(whole).max() > _LIMIT else whole / 10**DECIMALS


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        if shift > 28:
            raise ValueError("number too large")
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    if shift:
        raise ValueError("number cut off")
    return values
