"""Cards as pictures, HTML, SVG, LaTeX: hostile text shows as text, files parse, numbers are the card's."""

import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analyses.feature_card import histogram_figure, logits_figure, numbers, provenance
from analyses.feature_export import notebook_cell, to_parquet
from analyses.feature_html import card_html, examples_html
from analyses.feature_svg import card_svg
from analyses.feature_text import columns, number, one_line, visible

HOSTILE = (
    "<script>alert(1)</script>", "</style></svg><img src=x onerror=alert(2)>", "**bold** [a](http://x.y) _i_",
    "$x^2$ `code` :red[x] &amp; &#60;", "'\"><b>", "👩‍👩‍👧 🇩🇪", "العربية", "עברית", "日本語テキスト", "]]>", "<!--", "e\u0301",
)  # fmt: skip
INVISIBLE = {
    "\x00": "␀", "\n": "↵", "\t": "⇥", "\x1b": "␛", "\x7f": "␡", "\x85": "[U+0085]", "\u202e": "[U+202E]",
    "\u200b": "[U+200B]", "\ufeff": "[U+FEFF]", "\u2028": "[U+2028]", "\ud800": "\ufffd", "\uffff": "\ufffd",
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


def make_card(**changes: Any) -> dict[str, Any]:
    tokens = [" Hello", *HOSTILE, *INVISIBLE, " end"]
    values: list[float | None] = [None, *np.linspace(0, 8, len(tokens) - 1)]
    example = {
        "band": "top", "rank": 1, "value": 8.0, "token": 77, "peak": len(tokens) - 1, "tokens": tokens, "values": values,
    }  # fmt: skip
    return {
        "run": "0196062fcf94", "seed": 1, "feature": 12, "cards": "aaaaaaaaaaaa", "model_label": "a <model> & co",
        "hook_point": "blocks.5.hook_out", "corpus": "tiny", "tier": "real data", "n_tokens": 50_000, "context_size": 64,
        "recipe": {"architecture": "batch_topk", "k": 32, "d_sae": 1152, "d_in": 576}, "alive": True,
        "frequency": 0.02217, "density": 0.0204, "n_active": 1020, "max_activation": 8.0, "mean_activation": 1.5826,
        "stability": 0.5, "max_cosine": 0.140171, "encoder_alignment": 0.836582, "near_duplicate": True,
        "histogram": {"edges": list(np.linspace(0, 8, 51)), "counts": [1000, 19, *([0] * 47), 1]},
        "examples": [example, {**example, "band": "0–25 %", "value": 1.0, "peak": 3}],
        "logits": {
            "top": [{"token": text, "logit": 9.0 - i} for i, text in enumerate(HOSTILE[:10])],
            "bottom": [{"token": " $x$<b>", "logit": -3.25}],
        },
        "neighbours": [{"feature": 7, "cosine": 0.71, "label": HOSTILE[0]}],
        "twins": [{"run": "0196062fcf94", "seed": 0, "feature": 900, "cosine": 0.912, "code_correlation": None,
                   "label": HOSTILE[1]}],
        "label": HOSTILE[0], "label_source": "yours", "note": HOSTILE[2] + "\x00", "lists": ["<i>"], **changes,
    }  # fmt: skip


BARE = make_card(
    cards=None, histogram=None, examples=[], logits={"top": [], "bottom": []}, neighbours=[], twins=[], label="",
    label_source="", note="", density=None, n_active=None, max_activation=None, alive=False, tier="synthetic",
)  # fmt: skip


class Reader(HTMLParser):
    """Text and elements of an HTML document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.texts, self.titles, self.names, self.attributes = (
            list[str](),
            list[str](),
            set[str](),
            set[str](),
        )
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(("text", "shown"), INVISIBLE.items())
def test_invisible_characters_are_shown(text: str, shown: str) -> None:
    assert visible(f"a{text}b") == f"a{shown}b"


def test_joiners_shape_what_they_join_and_show_alone() -> None:
    assert visible("👩\u200d👧") == "👩\u200d👧"
    assert visible("\u200d") == "[U+200D]"


def test_spaces_at_the_ends_of_a_token_are_seen() -> None:
    assert one_line("  a b ") == "␣␣a b␣" and one_line("   ") == "␣␣␣" and one_line("abcdef", 4) == "abc…"


def test_cells_of_wide_and_combining_characters() -> None:
    assert [columns(text) for text in ("abc", "日本", "e\u0301", "🙂")] == [3, 4, 1, 2]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (0.0, "0"), (0.012345, "0.0123"), (1234.5, "1,234")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_examples_show_every_token_as_text() -> None:
    found = Reader(examples_html(make_card()))
    assert found.names == {"div", "span", "bdi"}
    assert found.attributes <= {"style", "title", "role", "dir"}
    for text in HOSTILE:
        assert text in found.texts
    for text, shown in INVISIBLE.items():
        assert shown in found.texts and text not in found.texts
    assert any(title.startswith("日本語テキスト · ") for title in found.titles)
    assert any(title == "\u2423Hello · not read by the SAE" for title in found.titles)


def test_a_value_stands_at_the_right_of_right_to_left_text() -> None:
    titles = Reader(examples_html(make_card())).titles
    assert any(title.startswith("العربية\u200e · ") for title in titles)


def test_a_board_stands_in_its_rows() -> None:
    cells = {"tokens": list("#.SG#.SG#.SG"), "values": [0.0] * 12, "peak": 5, "row_length": 4}
    example = {**make_card()["examples"][0], **cells}
    text = examples_html(make_card(examples=[example]))
    rows = text.split("white-space:pre-wrap", 1)[1].split("<br/>")
    assert len(rows) == 4 and "monospace" in text
    assert [re.sub(r"<[^>]*>|^[^>]*>", "", row) for row in rows[:3]] == ["# . S G"] * 3


def test_examples_by_band_and_around_the_peak() -> None:
    card = make_card()
    assert len(re.findall("listitem", examples_html(card))) == 2
    assert len(re.findall("listitem", examples_html(card, ["0–25 %"]))) == 1
    near = Reader(examples_html(card, ["0–25 %"], around=1)).texts
    assert near == ["1", "…", *card["examples"][1]["tokens"][2:5], "…"]


def test_tint_grows_with_the_value_and_only_the_peak_is_outlined() -> None:
    text = examples_html(make_card(), ["top"])
    tints = [float(tint) for tint in re.findall(r"rgba\(230,159,0,([\d.]+)\)", text)]
    assert tints == sorted(tints) and tints[-1] == 0.95 and tints[0] > 0.1
    assert text.count("outline:2px") == 1 and text.count("dotted") == 1


@pytest.mark.parametrize("card", [make_card(), BARE], ids=["full", "bare"])
def test_card_html_is_one_well_formed_file(card: dict[str, Any]) -> None:
    document = card_html(card)
    ET.fromstring(document)
    found = Reader(document)
    assert not found.names & {"script", "img", "link", "iframe", "object", "b", "i"}
    assert not found.attributes & {"src", "href", "onerror", "onload"}
    assert "url(" not in document and "default-src 'none'" in document
    assert not FORBIDDEN.search(document)
    shown = "\n".join(found.texts)
    for entry in numbers(card):
        assert entry.name in shown and entry.text in shown
    assert provenance(card) in shown and f"tier: {card['tier']}" in shown
    assert f"run {card['run']}, seed 1, feature 12" in shown


def test_card_html_holds_every_text() -> None:
    texts = Reader(card_html(make_card())).texts
    assert all(text in texts for text in HOSTILE)
    assert any("0.912" in text for text in texts) and any("-3.25" in text for text in texts)


@pytest.mark.parametrize("width", [600, 960])
def test_card_svg_holds_texts_as_text(width: int) -> None:
    document = card_svg(make_card(), width)
    root = ET.fromstring(document)
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    for text in HOSTILE:
        assert text in texts or width < 700
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "title", "rect", "g", "text", "line",
    }  # fmt: skip
    assert not FORBIDDEN.search(document)
    assert "real data" in " ".join(texts) and "0.912" in texts and "0.71" in texts
    assert int(root.attrib["width"]) == width


def test_tokens_of_the_svg_neither_overlap_nor_leave_the_sheet() -> None:
    long = {
        **make_card()["examples"][0],
        "tokens": ["x" * 400, " wide日本", "b"],
        "values": [1.0, 2.0, 3.0],
        "peak": 0,
    }
    root = ET.fromstring(card_svg(make_card(examples=[long])))
    boxes: dict[str, list[tuple[float, float]]] = {}
    for group in root.iter(f"{SVG}g"):
        for text in group.iter(f"{SVG}text"):
            start = float(text.attrib["x"])
            boxes.setdefault(text.attrib["y"], []).append((start, start + float(text.attrib["textLength"])))
    assert sum(len(row) for row in boxes.values()) >= 5
    for row in boxes.values():
        assert all(end <= 960 for _, end in row)
        assert all(a[1] <= b[0] + 0.02 for a, b in pairwise(row))


def test_bare_card_svg_parses() -> None:
    assert "No activations" in card_svg(BARE)


def test_histogram_has_the_counts_and_says_so() -> None:
    figure = histogram_figure(make_card())
    assert list(figure.data[0].y) == [1000, 19, 1] and figure.layout.yaxis.type == "log"
    assert "2.04 %" in figure.layout.title.subtitle.text and "1,020" in figure.layout.meta["alt"]
    assert "units" in figure.layout.xaxis.title.text
    assert "active on none" in histogram_figure(BARE).layout.meta["alt"]


def test_logits_are_literal_raised_above_lowered() -> None:
    figure = logits_figure(make_card())
    assert figure.layout.yaxis.ticktext[-1] == "␣&#36;x&#36;&lt;b&gt;"
    assert list(figure.data[0].x) == [*(9.0 - i for i in range(10)), -3.25]
    assert "No logits" in logits_figure(BARE).layout.meta["alt"]


def test_parquet_round_trip() -> None:
    frame = pd.DataFrame({"feature": [1, 2], "label": HOSTILE[:2]})
    assert pq.read_table(io.BytesIO(to_parquet(frame))).to_pandas().equals(frame)


def test_notebook_cell_is_python_and_holds_the_query() -> None:
    hostile = "'''\"\n\\ $x$"
    cell = notebook_cell(
        {"runs": ["a"], "text": hostile, "order": "density", "stability": (0.5, 1.0), "seeds": None},
        [("a", 0, 12), ("a", 1, 900)],
    )
    compile(cell, "cell", "exec")
    assert repr(hostile) in cell and "seeds" not in cell and "client.card('a', 1, 900)" in cell
    assert "histogram_figure" not in notebook_cell({"runs": ["a"]})
