"""Pictures of what single captions select: mask strips, attribute × dimension maps, nearest test pictures.

Frames are those of `analyses.smartclip_frames`; captions are parts of a live answer (`Client.caption_mask`). Pictures come as
PNG in the text of an address, each beside whose pictures they are.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.figures import GRID, INK, MUTED, PALETTE, SEQUENTIAL, empty, finish, legend_below, plain
from analyses.smartclip_figures import NO_MASKS
from analyses.smartclip_frames import arm_name, shortened

Frame = Any
NARROWEST = 0.06  # share of the axis that leaves room for a group's name


def dimension_figure(dimensions: Frame, order: Frame, column: str, arm: str) -> go.Figure:
    """Attribute × dimension of one seed: `kept` (share of the attribute's sentences whose mask keeps it) or `variance` (share of
    the dimension's variance between the attribute's values); dimensions in `order`."""
    if dimensions[column].isna().all():
        return empty(NO_MASKS)
    names = list(dict.fromkeys(dimensions["attribute"]))
    pivoted = dimensions.pivot(index="attribute", columns="dimension", values=column)
    values = pivoted.reindex(index=names, columns=list(order["dimension"])).to_numpy(dtype=float)
    words = {"kept": "share of its sentences that keep it", "variance": "share of its variance"}[column]
    figure = go.Figure(
        go.Heatmap(
            z=values, x=list(range(len(order))), y=[plain(name) for name in names], zmin=0, zmax=1, colorscale=SEQUENTIAL, ygap=2,
            customdata=np.tile(order["dimension"].to_numpy(), (len(names), 1)),
            hovertemplate=f"dimension %{{customdata}}, %{{y}}: %{{z:.2f}} {words}<extra></extra>",
            colorbar={"title": {"text": words, "side": "right", "font": {"size": 12}}, "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    _dimension_axis(figure, order)
    used = float((np.nan_to_num(values).max(axis=0) >= 0.5).mean())
    title = {"kept": "Which dimensions sentences keep", "variance": "What each dimension varies with"}[column]
    return finish(
        figure,
        alt=f"{title}, {arm_name(arm)}: {len(names)} attributes by {len(order)} dimensions; {used:.0%} of them reach one half for some attribute.",
        title=title,
        subtitle="sentences, or values, of each attribute",
        height=230 + 26 * len(names),
    )


def _dimension_axis(figure: go.Figure, order: Frame) -> None:
    """Dimensions in order, a line where the attribute they belong to most changes, its name under wide enough groups."""
    names = order["attribute"].to_numpy()
    ends = [-1, *np.flatnonzero(names[1:] != names[:-1]), len(names) - 1]
    for end in ends[1:-1]:
        figure.add_vline(x=end + 0.5, line={"color": INK, "width": 1})
    groups = [(first + 1, last) for first, last in pairwise(ends) if (last - first) / len(names) >= NARROWEST]
    figure.update_xaxes(
        title_text="Dimensions of the embedding, by the attribute they belong to most", showgrid=False, ticks="",
        tickvals=[(first + last) / 2 for first, last in groups], ticktext=[plain(names[last]) for _, last in groups],
        tickangle=25, range=[-0.5, len(order) - 0.5],
    )  # fmt: skip


PARTS = {
    0: ("neither", GRID),
    1: ("first only", PALETTE[0]),
    2: ("second only", PALETTE[4]),
    3: ("both", PALETTE[2]),
}


def strip_figure(rows: Frame, captions: Sequence[str], order: Frame) -> go.Figure:
    """The mask of one caption, a cell a dimension, or of two with what they share (`mask_rows`)."""
    figure = go.Figure()
    two = len(captions) > 1
    height = 0.82
    names = [plain(shortened(caption)) for caption in captions]
    for number in range(1, len(captions) + 1):
        part = rows[rows["caption"] == number]
        for on, colour, word in (
            (True, PALETTE[0] if number == 1 else PALETTE[4], "kept"),
            (False, GRID, "left out"),
        ):
            cells = part[part["on"] == on]
            figure.add_bar(
                x=cells["place"], y=[height] * len(cells), base=number - 1 - height / 2, width=0.9, marker={"color": colour, "line": {"width": 0}},
                customdata=cells[["dimension", "gate"]], showlegend=False,
                hovertemplate=f"dimension %{{customdata[0]}}: {word}, gate %{{customdata[1]:.2f}}<extra></extra>",
            )  # fmt: skip
    if two:
        part = rows[rows["caption"] == 1]
        for value, (word, colour) in PARTS.items():
            cells = part[part["part"] == value]
            figure.add_bar(
                x=cells["place"], y=[height] * len(cells), base=2 - height / 2, width=0.9, marker={"color": colour, "line": {"width": 0}},
                customdata=cells[["dimension"]], name=f"{word} ({len(cells)})",
                hovertemplate=f"dimension %{{customdata[0]}}: {word}<extra></extra>",
            )  # fmt: skip
        names.append("together")
    figure.update_layout(barmode="overlay", bargap=0, showlegend=two)
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5],
        showgrid=False, ticks="", showline=False,
    )  # fmt: skip
    _dimension_axis(figure, order)
    counts = [int(rows[(rows["caption"] == n) & rows["on"]].shape[0]) for n in range(1, len(captions) + 1)]
    kept = "; ".join(
        f"{caption}: {count} of {len(order)}" for caption, count in zip(captions, counts, strict=True)
    )
    return finish(
        legend_below(figure),
        alt=f"Dimensions kept by {kept}.",
        title="What the caption keeps" if not two else "What the captions keep",
        subtitle=f"{' and '.join(str(count) for count in counts)} of {len(order)} dimensions",
        height=215 + 46 * len(names) + (30 if two else 0),
    )


READOUTS = {"masked": "under its mask", "plain": "all dimensions"}
PITCH = 1.5  # of a row of pictures: its readout above, scores below


def nearest_figure(caption: Mapping[str, Any], origin: str) -> go.Figure:
    """The nearest test pictures of a caption, a row a readout; framed green where the caption is true, red where it is not."""
    found = {name: caption["nearest"][name] for name in READOUTS if name in caption["nearest"]}
    many = max(len(rows) for rows in found.values())
    figure = go.Figure()
    looks = {True: (PALETTE[2], "true"), False: (PALETTE[1], "not true"), None: (MUTED, "not known")}
    for row, (name, rows) in enumerate(found.items()):
        top = row * PITCH
        figure.add_annotation(
            x=0.08, y=top + 0.14, text=READOUTS[name], showarrow=False, xanchor="left", yanchor="middle", font={"size": 12},
        )  # fmt: skip
        for column, near in enumerate(rows):
            colour, word = looks[near["satisfies"]]
            x, y = column + 0.5, top + 0.74
            figure.add_layout_image(
                source=near["image"], xref="x", yref="y", x=x, y=y, sizex=0.86, sizey=0.86, xanchor="center", yanchor="middle", layer="above",
            )  # fmt: skip
            figure.add_shape(
                type="rect",
                x0=x - 0.43,
                x1=x + 0.43,
                y0=y - 0.43,
                y1=y + 0.43,
                line={"color": colour, "width": 3},
                layer="above",
            )
            figure.add_annotation(
                x=x,
                y=top + 1.32,
                text=f"{near['score']:.2f}",
                showarrow=False,
                font={"size": 11},
                yanchor="middle",
            )
            figure.add_scatter(
                x=[x], y=[y], mode="markers", marker={"size": 40, "opacity": 0}, showlegend=False,
                hovertemplate=f"{plain(near['caption'])}<br>{word}, {near['score']:.3f}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, many], constrain="domain")
    figure.update_yaxes(visible=False, scaleanchor="x", constrain="domain", range=[len(found) * PITCH, 0])
    said = ", ".join(caption["sentences"])
    shares = {name: [near["satisfies"] for near in rows] for name, rows in found.items()}
    known = {name: flags for name, flags in shares.items() if None not in flags}
    words = "; ".join(f"{READOUTS[name]} {sum(flags)} of {len(flags)}" for name, flags in known.items())
    return finish(
        figure,
        alt=f"Nearest test pictures of “{said}”: true of {words or 'not known'}. Pictures: {origin}.",
        title=plain(shortened(said, 60)),
        subtitle=f"true of: {words}" if known else "",
        height=80 + 100 * len(found),
    ).update_layout(margin={"l": 4, "r": 4, "b": 8})


def gallery_figure(pictures: Frame, origin: str, across: int = 12) -> go.Figure:
    """Test pictures, for looking at (`smartclip_pictures`)."""
    if pictures.empty:
        return empty("This run kept no pictures.")
    down = -(-len(pictures) // across)
    figure = go.Figure()
    for place, row in enumerate(pictures.itertuples()):
        x, y = place % across + 0.5, place // across + 0.5
        figure.add_layout_image(
            source=row.image,
            xref="x",
            yref="y",
            x=x,
            y=y,
            sizex=0.94,
            sizey=0.94,
            xanchor="center",
            yanchor="middle",
        )
    figure.add_scatter(
        x=[place % across + 0.5 for place in range(len(pictures))], y=[place // across + 0.5 for place in range(len(pictures))],
        mode="markers", marker={"size": 40, "opacity": 0}, text=[plain(text) for text in pictures["caption"]],
        hovertemplate="%{text}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, across])
    figure.update_yaxes(visible=False, range=[down, 0])
    return finish(
        figure,
        alt=f"{len(pictures)} test pictures: {origin}.",
        title="Test pictures",
        subtitle=origin,
        height=90 + 84 * down,
    ).update_layout(margin={"l": 4, "r": 4, "b": 4})
