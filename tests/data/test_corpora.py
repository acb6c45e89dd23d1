"""The bundled mix and a user's own files."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import assets, corpora
from data.assets import ASSETS, AssetMissing
from data.corpora import CorpusError, documents

SENTENCES = [f"Sentence number {i} of a corpus written for this test." for i in range(6)]


def texts(corpus: Path) -> list[str]:
    return [document.text for document in documents(str(corpus))]


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def mix() -> list[corpora.Document]:
    return list(documents(corpora.ENGLISH_MIX))


def test_mix_holds_every_source_and_no_text_twice(mix: list[corpora.Document]) -> None:
    counts = Counter(document.source for document in mix)
    assert set(counts) == set(corpora.MIX)
    assert counts["wikipedia-leads"] > 10_000 and counts["bbc-news"] > 2_000
    assert len({document.text for document in mix}) == len(mix)
    with assets.locate("tweets").open(encoding="utf-8", errors="replace", newline="") as file:
        tweets = Counter(row["text"] for row in csv.DictReader(file))
    assert tweets.most_common(1)[0][1] > 100
    assert counts["tweets"] <= len(tweets)


def test_mix_keeps_its_proportions_throughout(mix: list[corpora.Document]) -> None:
    whole = Counter(document.source for document in mix)
    for start in range(0, len(mix) - 6_000, 6_000):
        part = Counter(document.source for document in mix[start : start + 6_000])
        for source, count in whole.items():
            assert part[source] / 6_000 == pytest.approx(count / len(mix), abs=0.06)


def test_mix_comes_in_the_same_order_again(mix: list[corpora.Document]) -> None:
    again = documents(corpora.ENGLISH_MIX)
    assert all(next(again) == document for document in mix[:3_000])


def test_every_source_states_licence_and_tier() -> None:
    described = corpora.describe(corpora.ENGLISH_MIX)
    assert [row["source"] for row in described] == list(corpora.MIX)
    assert all(row["licence"] and row["tier"] == "real data" for row in described)
    assert corpora.missing(corpora.ENGLISH_MIX) == []


def test_mix_goes_on_without_an_absent_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = corpora.fingerprint(corpora.ENGLISH_MIX)
    monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path))
    assets._checked.cache_clear()
    try:
        assert corpora.missing(corpora.ENGLISH_MIX) == [
            "vaderSentiment 3.3.2 is not downloaded; run `python -m data.assets`."
        ]
        assert corpora.fingerprint(corpora.ENGLISH_MIX) != whole
        assert "rated-snippets" not in {row["source"] for row in corpora.describe(corpora.ENGLISH_MIX)}
        assert next(documents(corpora.ENGLISH_MIX)).text
    finally:
        assets._checked.cache_clear()


def test_an_altered_asset_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path))
    altered = tmp_path / "corpora" / ASSETS["rated-snippets"].inner
    altered.parent.mkdir()
    altered.write_bytes(b"something else")
    assets._checked.cache_clear()
    try:
        with pytest.raises(AssetMissing, match="is not the file of vaderSentiment"):
            assets.locate("rated-snippets")
    finally:
        assets._checked.cache_clear()


def test_every_installed_asset_is_the_registered_one() -> None:
    for name, asset in ASSETS.items():
        assert assets.content_hash(assets.locate(name)) == asset.sha256


def test_paragraphs_rows_and_columns_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{SENTENCES[0]}\n{SENTENCES[1]}\n\n  \n{SENTENCES[2]}\n")
    jsonl(tmp_path / "b.jsonl", [{"text": SENTENCES[3], "id": 1}, {"text": SENTENCES[0] + " again"}])
    table = pa.table({"text": [SENTENCES[4], None, SENTENCES[5]], "label": [0, 1, 2]})
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=1)
    (tmp_path / "notes.md").write_text("left alone, since its suffix is not one of the three")
    assert texts(tmp_path / "a.txt") == [f"{SENTENCES[0]}\n{SENTENCES[1]}", SENTENCES[2]]
    assert texts(tmp_path / "c.parquet") == [SENTENCES[4], SENTENCES[5]]
    assert len(texts(tmp_path)) == 6


def test_duplicates_and_scraps_are_left_out(tmp_path: Path) -> None:
    rows = [{"text": text} for text in (SENTENCES[0], "short", f"  {SENTENCES[0]}\n", SENTENCES[1])]
    assert texts(jsonl(tmp_path / "a.jsonl", rows)) == SENTENCES[:2]


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", [{"text": SENTENCES[0]}])
    before = corpora.fingerprint(str(first))
    moved = tmp_path / "elsewhere.jsonl"
    first.rename(moved)
    assert corpora.fingerprint(str(moved)) == before
    jsonl(moved, [{"text": SENTENCES[1]}])
    assert corpora.fingerprint(str(moved)) != before
    assert len(before) == len(hashlib.sha256().hexdigest())


def test_bad_bytes_do_not_end_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a broken byte \xff in the middle of it"}\n')
    assert texts(path) == ["a broken byte � in the middle of it"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"text": "good enough to be read first"}\n{"body": 1}\n', 'line 2 .* "text" field'),
        ("a.jsonl", b"not json\n", "line 1"),
        ("a.parquet", b"not parquet", "cannot be read as Parquet"),
        ("a.csv", b"text\nhello", "holds no .txt, .jsonl or .parquet file"),
    ],
)
def test_unreadable_files_end_in_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=sentence):
        texts(tmp_path / name)


def test_a_table_without_text_says_which_column_is_wanted(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match='no "text" column'):
        texts(tmp_path / "a.parquet")


@pytest.mark.parametrize("corpus", ["nowhere", "/nowhere/at/all", "./nowhere.txt", "a/b/c"])
def test_unknown_corpora_are_named_with_the_choices(corpus: str) -> None:
    with pytest.raises(CorpusError, match="does not exist; give english-mix"):
        next(documents(corpus))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no"):
        corpora.fingerprint(str(tmp_path))
