"""A triplet as HTML: image, Q beside Q′ and A beside A′ with the words that differ marked, scores, verdict and why.

The same card stands in the page's grid and in the one-file sheet. Text of models and reviewers is escaped, colours are
translucent, so that they work on light and dark pages, and what differs is underlined too, not coloured alone.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from analyses.feature_html import POLICY, STYLE
from analyses.feature_text import escaped, number, one_line, share

Row = Mapping[str, Any]
Words = list[tuple[str, bool]]
GREEN, RED, AMBER, GREY = "0,158,115", "213,94,0", "230,159,0", "128,128,128"
SAME, OTHER = "rgba(86,180,233,.30)", "rgba(213,94,0,.30)"
TRUTHS = {"true": ("true", GREEN), "false": ("false", RED), "malformed": ("malformed", RED)}


def word_diff(first: str, second: str) -> tuple[Words, Words]:
    """The words of two texts, each with whether it stands in both, in order; case and punctuation do not count."""
    a, b = first.split(), second.split()
    plain_a, plain_b = ([re.sub(r"\W", "", word.lower()) or word for word in words] for words in (a, b))
    same_a, same_b = set(), set()
    for block in SequenceMatcher(None, plain_a, plain_b, autojunk=False).get_matching_blocks():
        same_a |= set(range(block.a, block.a + block.size))
        same_b |= set(range(block.b, block.b + block.size))
    return (
        [(word, place in same_a) for place, word in enumerate(a)],
        [(word, place in same_b) for place, word in enumerate(b)],
    )


def why(row: Row) -> str:
    """Why a triplet is kept or not, in one sentence: what reviewers said, else its place in its type."""
    verdicts = json.loads(row["verdicts"])
    said = "; ".join(
        f"{who} {'edits' if verdict == 'edit' else verdict + 's'} it" for who, verdict in verdicts.items()
    )
    place = f"place {row['place']:,} of {row['size']:,} in {row['type']}, best {share(row['share'])}"
    side = "inside the cut" if row["inside"] else "outside the cut"
    if row["decision"]:
        return f"{said}, which overrides the ranking ({place}, {side})."
    return (
        f"{said}: they are even, so the ranking decides: {place}, {side}."
        if verdicts
        else f"{place}, {side}."
    )


def flag(row: Row) -> str:
    """What a curator should look at: "consistent but wrong", "inconsistent but right", or nothing."""
    if row["inside"] and row["right"] == 0:
        return "consistent but wrong"
    is_low = not row["inside"] and row["score"] is not None and row["score"] < 1
    return "inconsistent but right" if is_low and row["right"] == 1 else ""


def image_address(row: Row) -> str:
    """The image as the text of an address; "" without one."""
    return f"data:image/png;base64,{base64.b64encode(row['png']).decode()}" if row.get("png") else ""


def card_html(row: Row, is_current: bool = False, width: int = 96, whole: bool = True) -> str:
    """One triplet for a grid; `row` as `engine.triplets` gives it, `width` of the image in pixels, `whole` with log-probabilities."""
    ring = "2px solid #0072B2" if is_current else "1px solid rgba(128,128,128,.35)"
    kept = row["kept"]
    verdict = _chip("kept" if kept else "left out", GREEN if kept else GREY)
    truth = [_chip(*TRUTHS[row["truth"]])] if row["truth"] in TRUTHS else []
    flagged = [_chip(flag(row), AMBER)] if flag(row) else []
    who = [
        _chip(f"{who}: {said}", AMBER if said == "edit" else GREEN if said == "keep" else RED)
        for who, said in json.loads(row["verdicts"]).items()
    ]
    chips = f'<div style="display:flex;flex-wrap:wrap;gap:.3rem;margin-bottom:.35rem">{_chip(row["type"], GREY)}{verdict}{"".join(truth + flagged + who)}</div>'
    about = f'<div style="font-size:.78rem;opacity:.8;margin-top:.35rem">{_numbers(row, whole)}<br/>{escaped(why(row))}</div>'
    beside, below = (about, _table(row)) if whole else (_sides(row) + about, "")
    return (
        f'<div style="padding:.7rem;border:{ring};border-radius:8px;font-size:.875rem;line-height:1.45">'
        f'<div style="display:flex;gap:.8rem"><div style="flex:0 0 {width}px">{_image(row, width)}'
        f'<div style="font-size:.72rem;opacity:.75;margin-top:.25rem;overflow-wrap:anywhere">{_source(row)}</div></div>'
        f'<div style="flex:1;min-width:0">{chips}{beside}</div></div>{below}</div>'
    )


def _image(row: Row, width: int) -> str:
    address = image_address(row)
    if not address:
        return (
            f'<div style="width:{width}px;height:{width}px;border:1px dashed rgba(128,128,128,.5);font-size:.72rem;'
            'display:flex;align-items:center;justify-content:center;opacity:.75">no image</div>'
        )
    drawn = "pixelated" if row.get("tier") == "rendered" else "auto"
    return (
        f'<img src="{address}" alt="Image {escaped(str(row.get("name") or row["image"]))}" width="{width}" '
        f'style="image-rendering:{drawn};border-radius:4px;display:block;max-width:none"/>'
    )


def _source(row: Row) -> str:
    """The image's tier and licence."""
    return escaped(
        " · ".join(str(row[name]) for name in ("tier", "licence") if row.get(name)) or "unknown origin"
    )


def _chip(text: str, colour: str) -> str:
    return (
        f'<span style="padding:0 .45rem;border-radius:.6rem;font-size:.75rem;background:rgba({colour},.22);'
        f'border:1px solid rgba({colour},.7)">{escaped(text)}</span>'
    )


def _pairs(row: Row) -> list[tuple[str, Words, Words, bool, str]]:
    """Of questions and of answers: name, marked words of the text and of the one predicted again, whether compared, similarity."""
    found = []
    for name, field in (("Q", "question"), ("A", "answer")):
        own, again, similarity = row[field], row[f"{field}_again"], row[f"sim_{field}"]
        compared = similarity is not None and similarity == similarity
        first, second = (
            word_diff(own, again)
            if compared
            else tuple([(text, True)] if text else [] for text in (own, again))
        )
        found.append((name, first, second, compared, f"{similarity:.2f}" if compared else "–"))
    return found


def _edits(row: Row) -> str:
    """The reviewers' texts."""
    edited = [(name, row.get(f"edited_{field}")) for name, field in (("Q", "question"), ("A", "answer"))]
    return "".join(
        f'<div style="display:flex;gap:.5rem"><b style="flex:0 0 1.6rem">{name}*</b><span style="overflow-wrap:anywhere">'
        f'{escaped(text)}</span><span style="opacity:.7;font-size:.78rem">edited</span></div>'
        for name, text in edited
        if text
    )


def _sides(row: Row) -> str:
    """Q over Q′ and A over A′, for a narrow card."""
    lines = [
        _line(name, first, compared) + _line(f"{name}′", second, compared, note)
        for name, first, second, compared, note in _pairs(row)
    ]
    return "".join(lines) + _edits(row)


def _table(row: Row) -> str:
    """Q beside Q′ and A beside A′, with the similarity between them."""
    cell = 'style="flex:1;min-width:0;overflow-wrap:anywhere"'
    lines = [
        f'<div style="display:flex;gap:.6rem;padding:.35rem 0;border-top:1px solid rgba(128,128,128,.25)">'
        f'<b style="flex:0 0 1.2rem">{name}</b><span dir="auto" {cell}>{_words(first, compared)}</span>'
        f'<span title="{_meaning(name, compared)}" style="flex:0 0 2.2rem;text-align:center;opacity:.8;font-size:.78rem;'
        f'font-variant-numeric:tabular-nums">{note}</span>'
        f'<b style="flex:0 0 1.4rem">{name}′</b><span dir="auto" {cell}>{_words(second, compared)}</span></div>'
        for name, first, second, compared, note in _pairs(row)
    ]
    return f'<div style="margin-top:.6rem">{"".join(lines)}{_edits(row)}</div>'


def _words(words: Words, compared: bool) -> str:
    return " ".join(_word(word, same, compared) for word, same in words) or '<i style="opacity:.7">empty</i>'


def _meaning(name: str, compared: bool) -> str:
    return f"similarity of {name} and {name}′" if compared else "this type does not compare them"


def _line(name: str, words: Words, compared: bool, note: str = "") -> str:
    after = (
        f'<span title="{_meaning(name[0], compared)}" style="flex:0 0 auto;opacity:.8;font-size:.78rem;'
        f'font-variant-numeric:tabular-nums">{note}</span>'
        if note
        else ""
    )
    return (
        f'<div style="display:flex;gap:.5rem"><b style="flex:0 0 1.6rem">{name}</b>'
        f'<span dir="auto" style="flex:1;min-width:0;overflow-wrap:anywhere">{_words(words, compared)}</span>{after}</div>'
    )


def _word(word: str, same: bool, compared: bool) -> str:
    if not compared:
        return escaped(word)
    look = (
        f"background:{SAME}"
        if same
        else f"background:{OTHER};text-decoration:underline;text-decoration-thickness:2px"
    )
    return f'<span style="{look};border-radius:3px;padding:0 .15rem">{escaped(word)}</span>'


def _numbers(row: Row, whole: bool) -> str:
    told = [
        f"S {number(row['score'])}",
        f"no. {row['triplet']}",
        f"seed {row['seed']}",
        f"round {row['round']}",
    ]
    if whole:
        told += [f"log-p of Q and A {number(row['logp_generation'])}", f"of A′ {number(row['logp_answer'])}"]
    return escaped(" · ".join(told))


def legend_html() -> str:
    """The key of the marks on words."""
    return (
        '<div style="font-size:.8rem;opacity:.85">Words of both texts are '
        f"{_word('marked blue', True, True)}, those of one text alone {_word('orange and underlined', False, True)}; the number "
        "beside Q′ and A′ is their similarity.</div>"
    )


def sheet_html(rows: Iterable[Row], title: str, notes: Sequence[str]) -> str:
    """Triplets as one HTML file without scripts and addresses, images inside."""
    cards = "".join(f'<div style="margin:.6rem 0">{card_html(row)}</div>' for row in rows)
    told = "".join(f'<p class="muted">{escaped(note)}</p>' for note in notes)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}; img-src data:"/>'
        f"<title>{escaped(one_line(title))}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escaped(title)}</h1>{told}{legend_html()}{cards}</body></html>"
    )
