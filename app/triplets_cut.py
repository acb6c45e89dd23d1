"""The cut: what it keeps of every type, how many triplets tie, and precision against the share kept."""

import json
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from analyses.srf import TIES
from analyses.srf_figures import (
    curve_figure,
    drawn_types,
    histogram_figure,
    mark_cut,
    move_cuts,
    plane_figure,
)
from app.map_parts import kept
from app.triplets_state import View, own_cuts, set_own_cut
from app.widgets import literal, picture

HISTOGRAMS = "scores-by-type"
Summary = dict[str, Any]
COLUMNS = {
    "type": ("type", None, None),
    "n": ("triplets", "localized", None),
    "kept": ("kept", "localized", "By the cut and the reviewers together"),
    "precision": ("right, all, %", "%.1f", None),
    "precision_kept": ("right, kept, %", "%.1f", None),
    "precision_rest": ("right, left out, %", "%.1f", None),
    "ties": ("tied at 1, %", "%.1f", "Triplets with S = 1 exactly: the score cannot choose among them"),
    "precision_tied": ("right, tied, %", "%.1f", None),
    "precision_below": ("right, below, %", "%.1f", None),
    "known": ("known", "localized", "Triplets of which an oracle or a reviewer knows whether they are right"),
}


def counts_strip(view: View, summary: Summary) -> None:
    """Kept, right of what is kept and of the rest, and the tie meter."""
    total = summary["total"]
    basis = {"exact": "oracle", "verdicts": "human verdicts", "mixed": "oracle and verdicts"}[
        summary["basis"]
    ]
    ties = total["tied"] / total["n"] if total["n"] else 0.0
    cells = [
        ("Kept", f"{total['kept']:,}", f"of {total['n']:,}"),
        ("Right, kept", _percent(total["precision_kept"]), f"{basis}, {total['known_kept']:,} known"),
        ("Right, left out", _percent(total["precision_rest"]), f"all: {_percent(total['precision'])}"),
        ("Tied at S = 1", f"{ties:.1%}", f"right there {_percent(total['precision_tied'])}, below {_percent(total['precision_below'])}"),
    ]  # fmt: skip
    for column, (title, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(title, value)
        column.caption(note)
    keep = view.cut.get("keep")
    if view.cut["score"] in ("triangle", "run") and keep is not None and ties > keep:
        st.progress(min(ties, 1.0), text=f"Tie meter: {ties:.1%} have S = 1")
        st.caption(
            f"More tie at S = 1 ({ties:.0%}) than are kept ({keep:.0%}), so the cut falls among ties, which are ordered "
            + ("as the run did." if view.cut["score"] == "run" else f"{TIES[view.cut['ties']]}.")
        )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def cut_pictures(view: View, summary: Summary) -> None:
    """Histograms with a cut that can be dragged, and the curve; what does not move with the cut is drawn once."""
    score, known = view.cut["score"], {name: view.query[name] for name in ("types", "seeds", "rounds")}
    key = json.dumps([view.id, summary["seen"], score, view.cut["ties"], known])
    left, right = st.columns([6, 5], gap="medium")
    with left:
        histograms, types = summary["histograms"], summary["types"]
        figure = kept("srf_histograms", key, lambda: histogram_figure(histograms, types, score))
        chart = f"chart-{HISTOGRAMS}"
        picture(
            move_cuts(figure, histograms, types), _histogram_frame(summary), HISTOGRAMS, selection_mode=("box",),
            on_select=lambda: _dragged(view, summary, (st.session_state.get(chart) or {}).get("selection") or {}),
        )  # fmt: skip
        _own_cuts(view)
    with right:
        curve = pd.DataFrame(summary["curve"]).astype(
            dict.fromkeys(("share", "precision", "low", "high"), float)
        )
        total = summary["total"]
        keep, here = total["kept"] / total["n"] if total["n"] else None, total["precision_kept"]
        figure = kept("srf_curve", key, lambda: curve_figure(curve, score, summary["basis"], keep, here))
        picture(mark_cut(figure, curve, score, keep, here), curve, "precision-curve")
    with st.expander("Types in numbers, and both similarities"):
        _table(summary)
        plane = pd.DataFrame(summary["plane"], columns=["question", "answer", "n", "known", "right"])
        picture(kept("srf_plane", key, lambda: plane_figure(plane)), plane, "similarities")


def _dragged(view: View, summary: Summary, selection: dict[str, Any]) -> None:
    """A box over a type's histogram puts its cut at the box's left edge."""
    boxes = selection.get("box") or []
    if not boxes:
        return
    box = boxes[-1]
    axis = str(box.get("xref", "x")).removeprefix("x")
    found = drawn_types(summary["histograms"], summary["types"])
    place = int(axis or 1) - 1
    if not 0 <= place < len(found):
        return
    left = float(min(box["x"]))
    if "least" in view.cut:
        key = "least_logp" if view.cut["score"].startswith("confidence") else "least"
        low, high = (-6.0, 0.0) if key == "least_logp" else (0.0, 1.0)
        st.session_state[key] = float(np.clip(round(left, 2), low, high))
        return
    name = found[place]["type"]
    set_own_cut(view.overview["types"], name, share_from(summary["histograms"], name, left))


def share_from(histograms: dict[str, Any], name: str, left: float) -> int:
    """The share in per cent of a type's triplets in the bins from `left` on."""
    edges = np.array(histograms["edges"])
    counts = np.sum([np.array(one) for one in histograms["types"][name].values()], axis=0)
    first = int(np.clip(np.searchsorted(edges, left, side="right") - 1, 0, len(counts) - 1))
    return int(np.clip(round(100 * counts[first:].sum() / max(counts.sum(), 1)), 0, 100))


def _own_cuts(view: View) -> None:
    """Types that have a cut of their own, and sliders to give them one."""
    types = view.overview["types"]
    cuts = own_cuts(types)
    if "least" in view.cut:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Cut by type", icon=":material/tune:"):
            for name in types:
                start = cuts.get(name, round(100 * view.cut["keep"]))
                key = f"cut-{name}-{start}"
                st.slider(
                    literal(name),
                    0,
                    100,
                    start,
                    format="%d %%",
                    key=key,
                    on_change=_slid,
                    args=(types, name, key),
                )
        if cuts:
            told = ", ".join(f"{name} {share} %" for name, share in cuts.items())
            st.caption(literal(f"Own cuts: {told}"))
            st.button(
                "Same cut for all types", icon=":material/restart_alt:", type="tertiary", on_click=_clear
            )


def _slid(types: list[str], name: str, key: str) -> None:
    set_own_cut(types, name, int(st.session_state[key]))


def _clear() -> None:
    st.query_params.pop("cuts", None)


def _table(summary: Summary) -> None:
    rows = pd.DataFrame([{"type": "all", **summary["total"]}, *summary["types"]])
    rows["ties"] = rows["tied"] / rows["n"].clip(lower=1)
    shares = [name for name, (_, format, _) in COLUMNS.items() if format == "%.1f"]
    rows[shares] = 100 * rows[shares].astype(float)
    config = {
        name: st.column_config.Column(title)
        if format is None
        else st.column_config.NumberColumn(title, format=format, help=help)
        for name, (title, format, help) in COLUMNS.items()
    }
    st.dataframe(
        rows[list(COLUMNS)],
        hide_index=True,
        alt="Counts and precision by type",
        placeholder="–",
        column_config=config,
    )


def _histogram_frame(summary: Summary) -> pd.DataFrame:
    edges = summary["histograms"]["edges"]
    return pd.DataFrame(
        [
            {"type": name, "from": edges[place], "to": edges[place + 1], "kind": kind, "count": count}
            for name, kinds in summary["histograms"]["types"].items()
            for kind, counts in kinds.items()
            for place, count in enumerate(counts)
            if count
        ],
        columns=["type", "from", "to", "kind", "count"],
    )
