"""A feature's card as SVG: text stays text, each token in cells of a monospace face, so that nothing overlaps."""

import math
import textwrap
from collections.abc import Iterator
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
from analyses.feature_text import columns, escaped, number, one_line, share, visible
from analyses.figures import GRID, INK, MUTED, PALETTE, PAPER

WIDTH, EDGE = 960, 28
SIZE, CELL, LINE = 12, 7.25, 21  # pixels: monospace text, one of its cells, one line of it
SANS = "Arial, Helvetica, 'DejaVu Sans', sans-serif"
MONO = "'DejaVu Sans Mono', Menlo, Consolas, 'Noto Sans Mono CJK SC', monospace"
VALUE_WIDTH = 52
AROUND = 16  # tokens on either side of the peak
MANY_TOP, MANY_OTHER, MANY_TWINS, MANY_NEIGHBOURS = 8, 3, 12, 10
TOKEN_CELLS = 15
BAR = 12


class Sheet:
    """Elements drawn from top to bottom; `y` is where the next one goes."""

    def __init__(self, width: int) -> None:
        self.width, self.y, self.parts = width, float(EDGE), list[str]()

    @property
    def right(self) -> float:
        return self.width - EDGE

    def text(self, x: float, y: float, text: str, size: float = 13, **look: Any) -> None:
        self.parts.append(_text(x, y, text, size, **look))

    def cells(self, x: float, y: float, text: str, limit: int, fill: str = INK) -> float:
        """Monospace text of at most `limit` cells; where it ends."""
        shown = _cut(one_line(text), limit)
        self.parts.append(_cells(x, y, shown, fill))
        return x + columns(shown) * CELL

    def heading(self, text: str) -> None:
        self.y += 30
        self.text(EDGE, self.y, text, 14, weight="bold")
        self.y += 8

    def paragraph(self, text: str, size: float = 12, fill: str = MUTED) -> None:
        across = int((self.width - 2 * EDGE) / (0.54 * size))
        for line in textwrap.wrap(visible(text), across):
            self.y += size * 1.45
            self.text(EDGE, self.y, line, size, fill=fill)


def card_svg(card: Card, width: int = WIDTH) -> str:
    """The card as one SVG of `width` pixels: numbers, histogram, logits, examples, twins, nearest features, source."""
    sheet = Sheet(width)
    _head(sheet, card)
    _pictures(sheet, card)
    _examples(sheet, card)
    _twins(sheet, card)
    _neighbours(sheet, card)
    sheet.y += 14
    sheet.paragraph(provenance(card), 11)
    sheet.paragraph(f"{address(card)} · Concordance", 11)
    height = math.ceil(sheet.y + EDGE)
    title = escaped(f"{name_of(card)}: {card.get('label') or 'no label'}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" xml:space="preserve"><title>{title}</title>'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>{"".join(sheet.parts)}</svg>\n'
    )


def histogram_svg(card: Card, width: int = 420, height: int = 190) -> str:
    """The histogram alone as an SVG element."""
    drawn = "".join(_histogram(card, 0, 0, width, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>Histogram of activations</title>{drawn}</svg>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    size: float = 13,
    fill: str = INK,
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-family="{SANS}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}" style="unicode-bidi:isolate">{escaped(text)}</text>'
    )


def _cells(x: float, y: float, shown: str, fill: str) -> str:
    """Monospace text stretched over its cells; nothing for spaces alone."""
    if not shown.strip(" "):
        return ""
    return (
        f'<text x="{x:.2f}" y="{y:.1f}" font-family="{MONO}" font-size="{SIZE}" fill="{fill}" xml:space="preserve" '
        f'textLength="{max(columns(shown), 1) * CELL:.2f}" lengthAdjust="spacingAndGlyphs" '
        f'style="white-space:pre;unicode-bidi:isolate">{escaped(shown)}</text>'
    )


def _cut(text: str, limit: int) -> str:
    """`text` in at most `limit` cells."""
    if columns(text) <= limit:
        return text
    kept, used = "", 0
    for character in text:
        used += columns(character)
        if used > limit - 1:
            break
        kept += character
    return kept + "…"


def _head(sheet: Sheet, card: Card) -> None:
    label = _cut(visible(card.get("label") or "No label"), int((sheet.width - 2 * EDGE) / 11))
    sheet.y += 14
    sheet.text(EDGE, sheet.y, label, 20, weight="bold")
    source = f" · label: {card['label_source']}" if card.get("label_source") else ""
    sheet.paragraph(f"{name_of(card)}{source}")
    for text in [*warnings(card), *([card["note"]] if card.get("note") else [])]:
        sheet.paragraph(text)
    found = numbers(card)
    step = (sheet.width - 2 * EDGE) / len(found)
    sheet.y += 26
    for place, entry in enumerate(found):
        sheet.text(EDGE + place * step, sheet.y, entry.name, 11, fill=MUTED)
        sheet.text(EDGE + place * step, sheet.y + 20, entry.text, 16)
    sheet.y += 26


def _pictures(sheet: Sheet, card: Card) -> None:
    """Histogram at the left, logits at the right."""
    half = (sheet.width - 3 * EDGE) / 2
    sheet.heading("Activations")
    sheet.text(2 * EDGE + half, sheet.y - 8, "Logits", 14, weight="bold")
    top = sheet.y
    sheet.parts += _histogram(card, EDGE, top, half, 210)
    logits = card.get("logits") or {}
    column = half / 2
    for place, (name, key, colour) in enumerate((("Lowered", "bottom", 1), ("Raised", "top", 0))):
        x = 2 * EDGE + half + place * column
        rows = logits.get(key) or []
        sheet.text(x, top + 14, name if rows else f"{name}: none", 11, fill=MUTED)
        largest = max((abs(row["logit"]) for row in rows), default=1.0) or 1.0
        for line, row in enumerate(rows):
            y = top + 33 + line * 18.5
            sheet.cells(x, y, row["token"], TOKEN_CELLS)
            start = x + (TOKEN_CELLS + 0.5) * CELL
            length = abs(row["logit"]) / largest * max(column - (TOKEN_CELLS + 0.5) * CELL - 52, 4)
            sheet.parts.append(_rect(start, y - BAR + 2, length, BAR, PALETTE[colour]))
            sheet.text(start + length + 4, y, number(row["logit"]), 11, fill=MUTED)
    sheet.y = top + 218


def _rect(x: float, y: float, width: float, height: float, fill: str, alpha: float = 1.0) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill}" '
        f'fill-opacity="{alpha:.2f}"/>'
    )


def _histogram(card: Card, x: float, y: float, width: float, height: float) -> Iterator[str]:
    found = card.get("histogram")
    if not found or not sum(found["counts"]):
        yield _text(x + 8, y + 24, "No activations on the tokens read for this card.", 12, fill=MUTED)
        return
    left, bottom, top = x + 46, y + height - 36, y + 14
    edges, counts = found["edges"], found["counts"]
    span = (edges[-1] - edges[0]) or 1.0
    decades = max(math.ceil(math.log10(max(counts))), 1)
    across, up = (x + width - left - 8) / span, (bottom - top) / (decades + 0.3)
    for power in range(decades + 1):
        level = bottom - (power + 0.3) * up
        yield f'<line x1="{left:.1f}" x2="{x + width - 8:.1f}" y1="{level:.1f}" y2="{level:.1f}" stroke="{GRID}"/>'
        yield _text(left - 6, level + 4, f"{10**power:,}", 10, fill=MUTED, anchor="end")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            tall = (math.log10(count) + 0.3) * up
            place = left + (low - edges[0]) * across
            yield _rect(place, bottom - tall, max((high - low) * across - 0.5, 0.5), tall, PALETTE[0])
    yield f'<line x1="{left:.1f}" x2="{x + width - 8:.1f}" y1="{bottom:.1f}" y2="{bottom:.1f}" stroke="{MUTED}"/>'
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        tick = number(edges[0] + part * span)
        yield _text(left + part * span * across, bottom + 14, tick, 10, fill=MUTED, anchor=anchor)
    words = f"activation; tokens on a log scale; active on {share(card.get('density'))}"
    yield _text(left, bottom + 30, words, 11, fill=MUTED)


def _examples(sheet: Sheet, card: Card) -> None:
    largest = largest_of(card)
    for band in bands_of(card):
        sheet.heading(band_title(band))
        many = MANY_TOP if band == "top" else MANY_OTHER
        for example in examples_in(card, [band])[:many]:
            _example(sheet, example, largest)


def _example(sheet: Sheet, example: Example, largest: float) -> None:
    start = EDGE + VALUE_WIDTH
    places, before, after = clipped(example, AROUND)
    sheet.y += LINE
    sheet.text(start - 10, sheet.y, number(example["value"]), 11, fill=MUTED, anchor="end")
    x = float(start)
    if before:
        sheet.parts.append(_cells(x, sheet.y, "…", MUTED))
        x += CELL
    for place in places:
        x = _token(sheet, example, place, largest, x)
    if after:
        sheet.parts.append(_cells(x, sheet.y, "…", MUTED))
    sheet.y += 5


def _token(sheet: Sheet, example: Example, place: int, largest: float, x: float) -> float:
    """Draw a token in as many lines as it needs; where the next one starts."""
    value = example["values"][place]
    scale, is_peak = intensity(value, largest), place == example["peak"]
    said = "not read by the SAE" if value is None else number(value)
    start, room = EDGE + VALUE_WIDTH, int((sheet.right - EDGE - VALUE_WIDTH) / CELL)
    drawn = []
    for piece in _pieces(visible(example["tokens"][place]), room):
        wide = max(columns(piece), 1) * CELL
        if x + wide > sheet.right and x > start:
            x, sheet.y = float(start), sheet.y + LINE
        box = f'x="{x:.2f}" y="{sheet.y - 14:.1f}" width="{wide:.2f}" height="18"'
        if scale:
            drawn.append(f'<rect {box} fill="rgb{ORANGE}" fill-opacity="{opacity(scale):.2f}"/>')
        drawn.append(_cells(x, sheet.y, piece, MUTED if value is None else INK))
        if is_peak:
            drawn.append(f'<rect {box} fill="none" stroke="{PALETTE[1]}" stroke-width="1.5"/>')
        if value is None:
            drawn.append(
                f'<line x1="{x:.2f}" x2="{x + wide:.2f}" y1="{sheet.y + 3:.1f}" y2="{sheet.y + 3:.1f}" '
                f'stroke="{MUTED}" stroke-dasharray="1 2"/>'
            )
        x += wide
    hover = escaped(f"{one_line(example['tokens'][place])} · {said}")
    sheet.parts.append(f"<g><title>{hover}</title>{''.join(drawn)}</g>")
    return x


def _pieces(text: str, room: int) -> Iterator[str]:
    """The text in pieces of at most `room` cells; at least one, if empty."""
    piece, used = "", 0
    for character in text:
        wide = columns(character)
        if used + wide > room:
            yield piece
            piece, used = "", 0
        piece, used = piece + character, used + wide
    yield piece


def _rows(sheet: Sheet, title: str, names: list[str], rows: list[list[str]], shown: int) -> None:
    if not rows:
        return
    sheet.heading(title)
    places = [EDGE + 90 * column for column in range(len(names))]
    sheet.y += 16
    for x, name in zip(places, names, strict=True):
        sheet.text(x, sheet.y, name, 11, fill=MUTED)
    room = int((sheet.right - places[-1]) / CELL)
    for row in rows[:shown]:
        sheet.y += 18
        for x, text in zip(places[:-1], row[:-1], strict=True):
            sheet.text(x, sheet.y, text, 12)
        sheet.cells(places[-1], sheet.y, row[-1], room)
    if len(rows) > shown:
        sheet.paragraph(f"and {len(rows) - shown} more", 11)


def _twins(sheet: Sheet, card: Card) -> None:
    rows = [
        [t["run"][:6], str(t["seed"]), str(t["feature"]), number(t["cosine"]), number(t["code_correlation"]),
         t.get("label") or "–"]
        for t in card.get("twins") or []
    ]  # fmt: skip
    names = ["run", "seed", "feature", "cosine", "correlation", "label"]
    _rows(sheet, "The same feature in other seeds", names, rows, MANY_TWINS)


def _neighbours(sheet: Sheet, card: Card) -> None:
    rows = [
        [str(n["feature"]), number(n["cosine"]), n.get("label") or "–"] for n in card.get("neighbours") or []
    ]
    _rows(sheet, "Nearest features of this SAE", ["feature", "cosine", "label"], rows, MANY_NEIGHBOURS)
