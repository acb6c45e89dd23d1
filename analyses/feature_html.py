"""A feature's card as HTML: the examples of the page, and the whole card as one file without scripts or links."""

from collections.abc import Iterable, Sequence
from typing import Any

from analyses.feature_card import (
    ORANGE,
    Card,
    Example,
    address,
    band_title,
    bands_of,
    clipped,
    examples_in,
    intensity,
    largest_of,
    name_of,
    numbers,
    opacity,
    provenance,
    warnings,
)
from analyses.feature_svg import histogram_svg
from analyses.feature_text import beside_number, escaped, number, one_line

DARK_TEXT_FROM = 0.72  # place on the colour scale
GREY_DOTS = "color:#8a8a8a;text-decoration:underline dotted"
PEAK = "outline:2px solid #D55E00;outline-offset:0;text-decoration:underline;border-radius:2px"
BOARD = ";font-family:monospace;line-height:1.35"
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --muted: #595959; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #16181d; --muted: #a5a5a5; --line: #383b42; } }
body { font: 15px/1.5 Arial, Helvetica, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.muted { color: var(--muted); font-size: .85rem; } .numbers { display: flex; flex-wrap: wrap; gap: .6rem 1.8rem; margin: 1rem 0; }
.numbers dt { color: var(--muted); font-size: .8rem; } .numbers dd { margin: 0; font-size: 1.15rem; }
.columns { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
.paper { background: #fff; border-radius: 4px; } table { border-collapse: collapse; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); font-size: .85rem; }
th { color: var(--muted); font-weight: normal; } td.token { font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } footer { margin-top: 2rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def examples_html(card: Card, bands: Sequence[str] | None = None, around: int | None = None) -> str:
    """The examples as HTML for `st.html`, one line each (a board in its rows): tokens tinted by activation, values on hover.

    `bands` restricts them; `around` shows that many tokens on either side of the peak. Works on light and dark pages:
    colours are translucent, and text on the strong ones is dark. No text of the model is markup.
    """
    largest, shown = largest_of(card), examples_in(card, bands)
    headings = len({example["band"] for example in shown}) > 1
    lines = []
    for place, example in enumerate(shown):
        if headings and (place == 0 or shown[place - 1]["band"] != example["band"]):
            lines.append(_heading(example["band"]))
        lines.append(_line(example, largest, around))
    if not lines:
        return '<div style="opacity:.7">No examples.</div>'
    return f'<div role="list" style="font-size:.875rem;line-height:1.75">{"".join(lines)}</div>'


def _heading(band: str) -> str:
    return f'<div style="font-size:.8rem;opacity:.75;margin-top:.8rem">{escaped(band_title(band))}</div>'


def _line(example: Example, largest: float, around: int | None) -> str:
    places, before, after = clipped(example, around)
    row = example.get("row_length")
    tokens = "".join(
        _token(example, place, largest) + ("" if not row else " " if (place + 1) % row else "<br/>")
        for place in places
    )
    cut = '<span style="opacity:.5">…</span>'
    text = f"{cut if before else ''}{tokens}{cut if after else ''}"
    value = escaped(number(example["value"]))
    hover = escaped(f"{example['band']}, rank {example['rank']}, token {example['token']}")
    return (
        '<div role="listitem" style="display:flex;gap:.75rem;padding:.3rem 0;border-bottom:1px solid rgba(128,128,128,.2)">'
        f'<span title="{hover}" style="flex:0 0 3.2rem;text-align:right;opacity:.75;font-variant-numeric:tabular-nums">'
        f'{value}</span><div dir="ltr" style="flex:1;min-width:0;unicode-bidi:isolate;white-space:pre-wrap;'
        f'overflow-wrap:anywhere{BOARD if row else ""}">{text}</div></div>'
    )


def _token(example: Example, place: int, largest: float) -> str:
    text, value = example["tokens"][place], example["values"][place]
    said = "not read by the SAE" if value is None else number(value)
    hover = escaped(one_line(text)).replace(" ", "\u00a0")
    style = []
    if value is None:
        style.append(GREY_DOTS)
    elif scale := intensity(value, largest):
        style.append(f"background:rgba({','.join(map(str, ORANGE))},{opacity(scale):.2f})")
        style += ["color:#1a1a1a"] if scale >= DARK_TEXT_FROM else []
    if place == example["peak"]:
        style.append(PEAK)
    styled = f' style="{";".join(style)}"' if style else ""
    return f'<bdi dir="ltr" title="{beside_number(hover)} · {said}"{styled}>{escaped(text)}</bdi>'


def scale_html(card: Card) -> str:
    """The key of the examples' colours."""
    steps = ",".join(f"rgba({','.join(map(str, ORANGE))},{opacity(p):.2f})" for p in (0.0, 0.01, 0.5, 1.0))
    return (
        '<div style="display:flex;align-items:center;gap:.5rem;font-size:.8rem;opacity:.85;flex-wrap:wrap">'
        f'<span>0</span><span style="width:6rem;height:.8rem;border-radius:2px;border:1px solid rgba(128,128,128,.4);'
        f'background:linear-gradient(to right,{steps})"></span><span>{escaped(number(largest_of(card)))}</span>'
        f'<span style="{PEAK};padding:0 .25rem">peak</span>'
        f'<span style="{GREY_DOTS}">not read by the SAE</span></div>'
    )


def header_html(card: Card) -> str:
    """Label, name and numbers of a card as HTML for `st.html`; what a number means shows on hover."""
    label = escaped(card.get("label") or "No label")
    cells = "".join(
        f'<div title="{escaped(n.meaning)}"><div style="font-size:.8rem;opacity:.7;text-decoration:underline dotted '
        f'rgba(128,128,128,.6);text-underline-offset:3px">{escaped(n.name)}</div>'
        f'<div style="font-size:1.15rem;font-variant-numeric:tabular-nums">{escaped(n.text)}</div></div>'
        for n in numbers(card)
    )
    return (
        f'<div dir="auto" style="font-size:1.35rem;font-weight:600;line-height:1.3;overflow-wrap:anywhere;'
        f'unicode-bidi:isolate">{label}</div>'
        f'<div style="opacity:.7;font-size:.875rem">{escaped(name_of(card))}{_source(card)}{_lists(card)}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;margin-top:.6rem">{cells}</div>'
    )


def card_html(card: Card) -> str:
    """The whole card as one HTML file that is well-formed XML too: no script, no address, light and dark."""
    title = escaped(card.get("label") or "No label")
    body = [
        f'<h1 dir="auto">{title}</h1>',
        f'<div class="muted">{escaped(name_of(card))}{_source(card)}{_lists(card)}</div>',
        *(f'<p class="muted">{escaped(text)}</p>' for text in warnings(card)),
        f'<p dir="auto">{escaped(card["note"])}</p>' if card.get("note") else "",
        _numbers(card),
        '<div class="columns">',
        f'<section><h2>Activations</h2><div class="paper">{histogram_svg(card)}</div></section>',
        _logits(card),
        "</div>",
        *(_band(card, band) for band in bands_of(card)),
        _features(
            "The same feature in other seeds",
            ["seed", "feature", "cosine", "code correlation", "label"],
            card.get("twins"),
        ),
        _features("Nearest features of this SAE", ["feature", "cosine", "label"], card.get("neighbours")),
        f'<footer class="muted">{escaped(provenance(card))}<br/>{escaped(address(card))} · Concordance</footer>',
    ]
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        f"<title>{title} · {escaped(name_of(card))}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _source(card: Card) -> str:
    return f" · label: {escaped(card['label_source'])}" if card.get("label_source") else ""


def _lists(card: Card) -> str:
    return f" · lists: {escaped(', '.join(card['lists']))}" if card.get("lists") else ""


def _numbers(card: Card) -> str:
    cells = (
        f'<div title="{escaped(n.meaning)}"><dt>{escaped(n.name)}</dt><dd>{escaped(n.text)}</dd></div>'
        for n in numbers(card)
    )
    return f'<dl class="numbers">{"".join(cells)}</dl>'


def _logits(card: Card) -> str:
    logits = card.get("logits") or {}
    found = []
    for title, rows in (("Raised most", logits.get("top")), ("Lowered most", logits.get("bottom"))):
        cells = [([one_line(row["token"])], [number(row["logit"])]) for row in rows or []]
        lines = "".join(
            f'<tr><td class="token"><bdi dir="ltr">{escaped(t[0])}</bdi></td><td class="n">{escaped(v[0])}</td></tr>'
            for t, v in cells
        )
        found.append(f"<section><h2>{title}</h2><table>{lines}</table></section>" if lines else "")
    return "".join(found)


def _band(card: Card, band: str) -> str:
    title = band_title(band)
    key = scale_html(card) if band == bands_of(card)[0] else ""
    return f"<section><h2>{escaped(title)}</h2>{key}{examples_html(card, [band])}</section>"


def _features(title: str, names: Sequence[str], rows: Iterable[dict[str, Any]] | None) -> str:
    keys = [name.replace(" ", "_") for name in names]
    lines = "".join(f"<tr>{''.join(_cell(row.get(key)) for key in keys)}</tr>" for row in rows or [])
    if not lines:
        return ""
    head = "".join(f"<th>{escaped(name)}</th>" for name in names)
    return f"<section><h2>{escaped(title)}</h2><table><tr>{head}</tr>{lines}</table></section>"


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value}</td>'
    if value is None or isinstance(value, float):
        return f'<td class="n">{number(value)}</td>'
    return f'<td><bdi dir="auto">{escaped(str(value))}</bdi></td>'
