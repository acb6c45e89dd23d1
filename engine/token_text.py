"""Tokens as text: what each token of a sequence adds to the decoded text, and what a token is by itself.

Byte-level tokenizers cut characters into tokens that are no text of their own; nothing here is ever lost or doubled.
"""

import codecs
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """One string per token id, whose concatenation is the decoded text, special tokens included.

    A character that is spread over several tokens stands on the first of them, the others are empty; bytes that are
    no UTF-8 are U+FFFD. `tokenizer` is a fast one of transformers or one of the tokenizers package.
    """
    backend = _backend(tokenizer)
    if type(backend.decoder).__name__ == "ByteLevel":
        return _byte_pieces([_bytes_of(backend.id_to_token(int(token))) for token in ids])
    return _decoded_pieces(backend, [int(token) for token in ids])


def name(tokenizer: Any, token: int) -> str:
    """A token by itself: its text, its bytes such as `<E2 82>` where they are no text, `#id` where it has none."""
    backend = _backend(tokenizer)
    string = backend.id_to_token(int(token))
    if string is None:
        return f"#{token}"
    (text,) = pieces(backend, [token])
    if REPLACEMENT not in text or type(backend.decoder).__name__ != "ByteLevel":
        return text or string
    content = _bytes_of(string)
    return text if content == text.encode() else f"<{content.hex(' ').upper()}>"


def printable(text: str) -> str:
    """Text on one line: control and formatting characters as escapes such as `\\n`; spaces stay."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _backend(tokenizer: Any) -> Any:
    return getattr(tokenizer, "backend_tokenizer", tokenizer)


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """The characters byte-level tokenizers write bytes with: printable ones as they are, the rest from U+0100 on."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _bytes_of(token: str | None) -> bytes:
    """A token's bytes; added tokens with characters outside the byte alphabet are plain text."""
    if token is None:
        return b""
    table = _byte_of()
    found = [table.get(character) for character in token]
    return token.encode() if None in found else bytes(byte for byte in found if byte is not None)


def _byte_pieces(parts: list[bytes]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = [""] * len(parts)
    begun: int | None = None
    for number, part in enumerate(parts):
        text = decoder.decode(part)
        if text and begun is not None:
            found[begun], text, begun = found[begun] + text[0], text[1:], None
        found[number] += text
        unfinished = bool(decoder.getstate()[0])
        begun = (number if begun is None else begun) if unfinished else None
    if begun is not None:
        found[begun] += decoder.decode(b"", final=True)
    return found


def _decoded_pieces(backend: Any, ids: list[int]) -> list[str]:
    """For tokenizers whose decoder joins tokens in its own way: what each longer prefix adds to the whole text."""
    prefixes = backend.decode_batch([ids[: end + 1] for end in range(len(ids))], skip_special_tokens=False)
    whole = prefixes[-1] if prefixes else ""
    found = [""] * len(ids)
    place, begun = 0, None
    for number, prefix in enumerate(prefixes):
        end = max(place, _common_length(prefix, whole)) if number + 1 < len(ids) else len(whole)
        text, place = whole[place:end], end
        if text and begun is not None:
            found[begun], text, begun = text[0], text[1:], None
        found[number] = text
        if len(prefix) > place and prefix.endswith(REPLACEMENT):
            begun = number if begun is None else begun
    return found


def _common_length(a: str, b: str) -> int:
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    return next(i for i in range(length) if a[i] != b[i])
