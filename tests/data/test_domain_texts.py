"""Texts in domains: the bundled four, and files of a user's own, sound ones and others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.domain_texts import DomainTexts, rated_domains, read_texts, tokenise, valences, vocabulary
from engine.errors import UserError
from engine.studies.base import parse_config
from engine.studies.counterfactual_text import CounterfactualText
from tests.counterfactual_text.conftest import write_texts


def read(path: Path, words: int = 8, most: int = 1_000) -> DomainTexts:
    return read_texts(str(path), words, most, np.random.default_rng(0))


def written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "own.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return path


def row(i: int, **more: Any) -> dict[str, Any]:
    return {"text": f"text number {i} here", "domain": "ab"[i % 2], "label": "xy"[i // 2 % 2], **more}


def test_the_bundled_domains_keep_groups_together() -> None:
    texts = rated_domains(12, np.random.default_rng(0))
    assert texts.domains == ("amazon", "movie", "nyt", "tweets") and texts.styles == ("negative", "positive")
    assert len(texts.tokens) > 15_000 and max(map(len, texts.tokens)) == 12
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(len(texts.rows(split)) / len(texts.tokens) - share) < 0.02
    seen = {
        split: {texts.tokens[i] for i in texts.rows(split) if len(texts.tokens[i]) > 9}
        for split in ("train", "test")
    }
    assert len(seen["train"] & seen["test"]) < 5


def test_words_of_the_lexicon_have_their_sign() -> None:
    found = valences()
    assert found["great"] > 2 and found["terrible"] < -1.5


def test_tokens() -> None:
    assert tokenise("It’s GREAT, isn't it? <b>5</b>", 8) == (
        "it's",
        "great",
        ",",
        "isn't",
        "it",
        "?",
        "b",
        "5",
    )
    assert vocabulary([("b", "a"), ("b", "c")], 2) == ["b", "a"]


def test_a_file_is_read_with_its_labels(tmp_path: Path) -> None:
    texts = read(write_texts(tmp_path / "own.jsonl"))
    assert texts.domains == ("d0", "d1") and texts.styles == ("bad", "good") and set(texts.label) == {0, 1}
    assert not texts.left_out


def test_missing_texts_domains_and_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [row(i) for i in range(200)]
    rows += [
        row(0, text=None),
        row(1, text="one"),
        row(2, domain=""),
        row(3, domain=None),
        row(4, label=None),
    ]
    texts = read(written(tmp_path, rows))
    assert texts.left_out == {"without a text of two words": 2, "without a domain": 2}
    assert len(texts.tokens) == 201 and (texts.label == -1).sum() == 1


@pytest.mark.parametrize("label", [False, True])
def test_without_two_labels_there_are_no_styles(tmp_path: Path, label: bool) -> None:
    rows = [{k: v for k, v in row(i, label="x").items() if label or k != "label"} for i in range(200)]
    assert read(written(tmp_path, rows)).styles == ()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(i, domain="only") for i in range(200)], "all rows are of one domain, “only”"),
        (
            [row(2 * i) for i in range(200)] + [row(2 * i + 1) for i in range(9)],
            "“b” has 9 usable rows, fewer than 50",
        ),
        ([row(i, domain=i) for i in range(200)], "200 domains, more than 50"),
        ([row(i, label=i % 3) for i in range(200)], "label has 3 values"),
        ([{"txt": "a b", "domain": "c"}], 'no row with "text" and "domain"'),
        (["[1, 2]"], "line 1 is not a JSON object"),
        ([row(0), "{"], "line 2 is not a JSON object"),
        (["[" * 100_000], "line 1 is not a JSON object"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, rows: list[Any], said: str) -> None:
    path = written(tmp_path, rows)
    with pytest.raises(ValueError) as caught:
        read(path)
    assert said in str(caught.value) and str(caught.value).endswith(".")
    with pytest.raises(UserError) as refused:
        study = CounterfactualText()
        study.fingerprint(parse_config(study, None, {"source": "file", "table": str(path)}), [0])
    assert refused.value.field == "table", "before a run is queued"


def test_two_hundred_thousand_rows_are_thinned(tmp_path: Path) -> None:
    texts = read(written(tmp_path, [row(i) for i in range(200_000)]), most=5_000)
    assert len(texts.tokens) == 5_000 and abs((texts.domain == 0).mean() - 0.5) < 0.05


def test_a_line_of_ten_megabytes_is_read_and_a_longer_one_refused(tmp_path: Path) -> None:
    rows = [row(i) for i in range(200)]
    texts = read(written(tmp_path, [*rows, row(0, text="long words " * 900_000)]))
    assert texts.tokens[-1] == ("long", "words") * 4
    with pytest.raises(ValueError, match="line 201 is longer than 16 million characters"):
        read(written(tmp_path, [*rows, row(0, text="x" * 17_000_000)]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        read(tmp_path / "nothing.jsonl")


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    texts = read(written(tmp_path, [row(i // 4 * 4 + i % 2) for i in range(400)]))
    sides = {split: {texts.tokens[i] for i in texts.rows(split)} for split in ("train", "validation", "test")}
    assert not sides["train"] & sides["test"] and not sides["train"] & sides["validation"]
