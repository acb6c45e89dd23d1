"""Model text as text: nothing in it is markup, nothing is invisible, nothing reorders what stands beside it."""

import html
import unicodedata

NAMED = {"\n": "↵", "\t": "⇥"}
DELETE = "\x7f"
JOINERS = "\u200c\u200d"
CUT = "…"
RIGHT_TO_LEFT = ("R", "AL", "AN")
LEFT_TO_RIGHT_MARK = "\u200e"


def visible(text: str) -> str:
    """`text` with control, zero-width and direction characters as symbols, and what XML forbids as U+FFFD.

    A joiner between two characters stays: it shapes scripts and emoji.
    """
    last = len(text) - 1
    return "".join(
        character if character in JOINERS and 0 < place < last else _visible(character)
        for place, character in enumerate(text)
    )


def _visible(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if character in NAMED:
        return NAMED[character]
    if code < 0x20:
        return chr(0x2400 + code)
    if character == DELETE:
        return "\u2421"
    if category == "Cs" or code & 0xFFFE == 0xFFFE:
        return "\ufffd"
    if category in ("Cc", "Zl", "Zp") or (category == "Cf" and not _has_shape(code)):
        return f"[U+{code:04X}]"
    return character


def _has_shape(code: int) -> bool:
    """Whether a format character is drawn: the number signs of Arabic, Syriac, Kaithi and Egyptian."""
    return code in range(0x600, 0x606) or code in (0x6DD, 0x70F, 0x8E2, 0x890, 0x891, 0x110BD, 0x110CD)


def escaped(text: str) -> str:
    """`visible` text for HTML and XML, in an element or an attribute."""
    return html.escape(visible(text), quote=True)


def one_line(text: str, width: int = 0) -> str:
    """`visible` text whose spaces at either end are shown; at most `width` characters when that is not 0."""
    shown = visible(text)
    inner = shown.strip(" ")
    before = len(shown) - len(shown.lstrip(" ")) if inner else 0
    shown = "␣" * before + inner + "␣" * (len(shown) - before - len(inner))
    return shown if not width or len(shown) <= width else shown[: width - 1] + CUT


def beside_number(text: str) -> str:
    """`text` so that a number after it stays at its right."""
    is_rtl = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return text + LEFT_TO_RIGHT_MARK if is_rtl else text


def columns(text: str) -> int:
    """Cells of a monospace face that the text takes: two for a wide character, none for a combining one."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def number(value: float | None) -> str:
    """A measured number with three significant digits, or an en dash when there is none."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """A share as a percentage with three significant digits, or an en dash."""
    return "–" if value is None or value != value else f"{number(100 * value)} %"
