"""Emoji of people with factors: pictures drawn by OpenMoji and, where its font is installed, by Noto, with their names.

Every picture is a base (who, and doing or being what) in one of six skin tones; all six of a base are there. Fonts and names
are read inside their packages, pictures are rendered into the cache, and none is part of Concordance. OpenMoji is
CC BY-SA 4.0 (openmoji.org), Noto Color Emoji is SIL OFL 1.1, the names of the package emoji are BSD-3-Clause.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from data.assets import ASSETS, AssetMissing, locate
from data.files import atomic_write
from data.paths import cache_dir
from data.pictures import Images, Origin, Pictures, number_phrases, split_rows

Style = Literal["openmoji", "noto", "both"]
SIDE = 48
DRAWN_AT = {"openmoji": 64, "noto": 109}
NOTO = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
LICENCES = {"openmoji": "OpenMoji, CC BY-SA 4.0", "noto": "Noto Color Emoji, SIL OFL 1.1"}
FULLY_QUALIFIED = 2
TONES = {
    0x1F3FB: "light skin tone",
    0x1F3FC: "medium-light skin tone",
    0x1F3FD: "medium skin tone",
    0x1F3FE: "medium-dark skin tone",
    0x1F3FF: "dark skin tone",
}
NO_TONE = "no tone"
VARIATION = 0xFE0F
WHO = ("woman", "man", "person", "girl", "boy", "child")
OTHER = "other"
VERSION = 1


def people() -> list[tuple[str, str, str]]:
    """(emoji, base name, tone) of every base that comes without and in all five tones. Raises AssetMissing."""
    table = json.loads(locate("emoji-names").read_text(encoding="utf-8"))
    found: dict[tuple[int, ...], dict[str, tuple[str, str]]] = {}
    for sign, about in table.items():
        codes = [ord(part) for part in sign]
        tones = [code for code in codes if code in TONES]
        if about["status"] != FULLY_QUALIFIED or len(tones) > 1:
            continue
        base = tuple(code for code in codes if code not in TONES and code != VARIATION)
        name = about["en"].strip(":").replace("_", " ")
        found.setdefault(base, {})[TONES[tones[0]] if tones else NO_TONE] = (sign, name)
    whole = [tones for tones in found.values() if len(tones) == 1 + len(TONES)]
    return [(sign, tones[NO_TONE][1], tone) for tones in whole for tone, (sign, _) in tones.items()]


def who_and_what(name: str) -> tuple[str, str]:
    """The base name "woman health worker" as who it is and what else is said: ("woman", "health worker")."""
    words = name.split()
    if "and" in words:
        return OTHER, name
    at = next((i for i, word in enumerate(words) if word in WHO), None)
    if at is None:
        return OTHER, name
    return words[at], " ".join([*words[:at], *words[at + 1 :]])


def has_noto() -> bool:
    """Whether Debian's font of the second style is installed."""
    return NOTO.exists()


def emoji_pictures(style: Style, rng: np.random.Generator) -> Pictures:
    """All people in one style or both, split by base and tone: a test picture's combination is never trained on.

    Factors are who, what, tone and, of both styles, style, which no caption tells. Raises AssetMissing that says what to install.
    """
    styles = ("openmoji", "noto") if style == "both" else (style,)
    listed = people()
    images, rows, kinds = [], [], []
    for number, one in enumerate(styles):
        drawn, is_drawn = _rendered(one, [sign for sign, _, _ in listed])
        images.append(drawn[is_drawn])
        rows.append(np.flatnonzero(is_drawn))
        kinds.append(np.full(int(is_drawn.sum()), number))
    order, kind = np.concatenate(rows), np.concatenate(kinds)
    named = [(*who_and_what(listed[i][1]), listed[i][2]) for i in order]
    captions = [
        [part for part in (who, what, tone) if part and part not in (OTHER, NO_TONE)]
        for who, what, tone in named
    ]
    phrases, sentences = number_phrases(captions)
    columns = dict(zip(("who", "what", "tone"), zip(*named, strict=True), strict=True))
    values = {name: tuple(sorted(set(column))) for name, column in columns.items()}
    attributes = {name: np.array([values[name].index(v) for v in column]) for name, column in columns.items()}
    told = {value: name for name in ("tone", "what", "who") for value in values[name]}
    if len(styles) > 1:
        values["style"], attributes["style"] = styles, kind
    return Pictures(
        Origin("emoji of people", "real", "; ".join(LICENCES[one] for one in styles)),
        np.concatenate(images), phrases, sentences, split_rows(order, (0.1, 0.15), rng), attributes, values,
        tuple(told[phrase] for phrase in phrases),
    )  # fmt: skip


def _font(style: str) -> Path:
    if style == "openmoji":
        return locate("openmoji")
    if not has_noto():
        raise AssetMissing(
            "the font of the second style is not installed; run `apt-get install fonts-noto-color-emoji`."
        )
    return NOTO


def _rendered(style: str, signs: Sequence[str]) -> tuple[Images, np.ndarray]:
    """Pictures (n × 48 × 48 × 3) on white, and which of them were drawn as one sign; kept in the cache."""
    font = _font(style)
    names = f"{ASSETS['emoji-names'].version}-{ASSETS['openmoji'].version}-{VERSION}"
    kept = cache_dir() / "pictures" / f"{style}-{names}-{len(signs)}.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        images, drawn = _render(font, DRAWN_AT[style], signs)
        _save(kept, images=images, drawn=drawn)
    with np.load(kept, allow_pickle=False) as found:
        return found["images"], found["drawn"]


def _save(path: Path, **arrays: np.ndarray) -> None:
    from io import BytesIO

    content = BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    atomic_write(path, content.getvalue())


def _render(font_file: Path, size: int, signs: Sequence[str]) -> tuple[Images, np.ndarray]:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(font_file), size, layout_engine=ImageFont.Layout.RAQM)
    images = np.full((len(signs), SIDE, SIDE, 3), 255, dtype=np.uint8)
    drawn = np.zeros(len(signs), dtype=bool)
    for i, sign in enumerate(signs):
        left, top, right, bottom = font.getbbox(sign)
        width, height = int(right - left), int(bottom - top)
        if not 0 < width < 1.7 * size or height <= 0:
            continue  # parts of a sequence side by side, or nothing
        side = max(width, height)
        canvas = Image.new("RGB", (side, side), "white")
        place = ((side - width) / 2 - left, (side - height) / 2 - top)
        ImageDraw.Draw(canvas).text(place, sign, font=font, embedded_color=True)
        images[i] = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        drawn[i] = bool((images[i] < 250).any())
    return images, drawn
