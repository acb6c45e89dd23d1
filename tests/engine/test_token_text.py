"""Pieces of text: nothing lost, nothing doubled, for byte-level tokenizers and for others."""

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

from engine.language_model import prepare_bundled
from engine.token_text import REPLACEMENT, name, pieces, printable

TEXTS = (
    "A café is naïve; 3 × 4.",
    "👩‍👩‍👧‍👦 family, 🇨🇭 flag, 🤷🏽‍♀️ and 𒀀 cuneiform",
    "مرحبا بالعالم and שלום עולם mixed",
    "tabs\tnewlines\n\n\r\n and \x00\x07\x1b[31m controls\x7f",
    "real replacement characters \ufffd\ufffd stay",
    "<b>bold</b> **md** &amp; <|endoftext|> ‮rtl‬",
    "日本語と한국어",
)


@pytest.fixture(scope="module")
def byte_level() -> Any:
    return AutoTokenizer.from_pretrained(prepare_bundled())


@pytest.fixture(scope="module")
def byte_fallback() -> Tokenizer:
    """As SentencePiece models have it: ▁ for a space, unknown characters as bytes, a leading space stripped."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghijklmnopqrstuvwxyz.,"]
    vocabulary = {word: number for number, word in enumerate(words)}
    found = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return found


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return getattr(tokenizer, "backend_tokenizer", tokenizer).decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(byte_level: Any, byte_fallback: Tokenizer, text: str) -> None:
    ids = byte_level(text, add_special_tokens=False)["input_ids"]
    assert "".join(pieces(byte_level, ids)) == text
    assert pieces(byte_level.backend_tokenizer, ids) == pieces(byte_level, ids)
    others = byte_fallback.encode(text).ids
    assert "".join(pieces(byte_fallback, others)) == decoded(byte_fallback, others)


def test_any_stretch_of_tokens_joins_to_its_decoding(byte_level: Any, byte_fallback: Tokenizer) -> None:
    generator = np.random.default_rng(0)
    long = byte_level("".join(TEXTS), add_special_tokens=False)["input_ids"]
    rare = byte_fallback.encode("".join(TEXTS)).ids
    for number in range(300):
        start, size = int(generator.integers(len(long))), int(generator.integers(40))
        for tokenizer, ids in (
            (byte_level, long[start : start + size]),
            (byte_level, generator.integers(49_152, size=size).tolist()),
            (byte_level, generator.integers(400, size=size).tolist()),
            (byte_fallback, rare[start : start + size] if number % 3 == 0 else []),
        ):
            found = pieces(tokenizer, ids)
            assert len(found) == len(ids) and "".join(found) == decoded(tokenizer, ids)


def test_a_split_character_stands_on_its_first_token(byte_level: Any, byte_fallback: Tokenizer) -> None:
    ids = byte_level("a𒀀b", add_special_tokens=False)["input_ids"]
    assert len(ids) > 3
    found = pieces(byte_level, ids)
    assert found[0] == "a" and found[1] == "𒀀" and set(found[2:-1]) == {""} and found[-1] == "b"
    assert pieces(byte_level, ids[:3])[1:] == [REPLACEMENT, ""]
    found = pieces(byte_fallback, byte_fallback.encode("a é b").ids)
    assert found == ["", "a", " ", "é", "", " ", "b"]


def test_numpy_ids_and_no_ids(byte_level: Any) -> None:
    assert pieces(byte_level, np.array([], np.int32)) == []
    assert len(pieces(byte_level, np.array([5, 6], np.int32))) == 2


def test_a_token_by_itself_has_a_name(byte_level: Any) -> None:
    ids = byte_level("a𒀀 president\n", add_special_tokens=False)["input_ids"]
    names = [name(byte_level, token) for token in ids]
    assert names[0] == "a" and names[-2:] == [" president", "\n"]
    assert names[1].startswith("<F0") and REPLACEMENT not in "".join(names)
    assert name(byte_level, 10_000_000) == "#10000000"
    for token in range(0, 49_152, 37):
        assert name(byte_level, token)


def test_printable_escapes_what_has_no_width() -> None:
    assert printable(" a\n\t\x00\u202e é👍") == " a\\n\\t\\x00\\u202e é👍"
