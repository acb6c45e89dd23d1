"""A user's own pictures with captions: a folder of images and a list of what is said of them.

The list is `captions.jsonl` ({"image": "a.jpg", "captions": ["a red car", "on a wet street"]} a line, or one text under
"caption"), or LLaVA's JSON (a list of {"id", "image", "conversations": [{"from": "human" or "gpt", "value"}]}) in any one
other .json file of the folder. What cannot be used is listed and skipped.
"""

import json
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.pictures import Images, Origin, Pictures, number_phrases, split_rows

LIST = "captions.jsonl"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MOST_PIXELS, MOST_ROWS, MOST_BYTES, MOST_TEXT = 50_000_000, 200_000, 200_000_000, 10_000
FEWEST = 20
IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class FolderRow:
    """One entry of the list: its id, the image's path, what is said of it sentence by sentence, and LLaVA's turns as (who, text)."""

    id: str
    image: Path
    captions: tuple[str, ...]
    turns: tuple[tuple[str, str], ...] = ()


@dataclass
class FolderRows:
    """The usable entries of a folder's list, and a sentence for each that is not."""

    rows: list[FolderRow] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_folder(folder: Path) -> FolderRows:
    """The entries of a folder's list; those that are broken, without an image or there twice are skipped. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder on this machine; name one that exists.")
    found, seen = FolderRows(), set()
    for where, entry in entries(folder, LIST):
        try:
            row = _row(folder, entry)
            if row.id in seen:
                raise ValueError(f"the id {row.id[:60]!r} is there twice")
            seen.add(row.id)
            found.rows.append(row)
        except ValueError as error:
            found.skipped.append(f"{where}: {error}.")
    return found


def entries(folder: Path, name: str) -> list[tuple[str, Any]]:
    """Every entry of the folder's list, the file `name` or LLaVA's JSON, with its place in the file; None for what is no JSON.

    Raises ValueError where there is no list, or it cannot be read.
    """
    listed = folder / name
    others = sorted(folder.glob("*.json"))
    if not listed.exists() and len(others) != 1:
        raise ValueError(
            f"{folder} needs a file {name}, or one .json file in LLaVA's format; it has {len(others)}."
        )
    path = listed if listed.exists() else others[0]
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} is larger than {MOST_BYTES // 10**6} MB; split it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from None
    if path.name == name:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(f"{path.name}, line {number}", _parsed(line)) for number, line in lines[:MOST_ROWS]]
    content = _parsed(text)
    if not isinstance(content, list):
        raise ValueError(f"{path.name} holds no list of entries; save LLaVA's JSON.")
    return [(f"{path.name}, entry {number}", entry) for number, entry in enumerate(content[:MOST_ROWS], 1)]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def image_named(folder: Path, entry: Any) -> str:
    """The image an entry names, inside the folder. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError("it is no JSON object")
    name = entry.get("image")
    if not isinstance(name, str) or not name.strip():
        raise ValueError('it names no "image"')
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"its image {name[:80]!r} lies outside the folder")
    return name


def _row(folder: Path, entry: Any) -> FolderRow:
    name = image_named(folder, entry)
    image = (folder / name).resolve()
    if not os.path.isfile(image):
        raise ValueError(f"its image {name[:80]!r} does not exist")
    turns = _turns(entry.get("conversations"))
    captions = _captions(entry) or tuple(
        part for who, text in turns if who == "gpt" for part in sentences_of(text)
    )
    if not captions:
        raise ValueError('it says nothing of the image under "captions", "caption" or "conversations"')
    return FolderRow(str(entry.get("id", name)), image, captions, turns)


def _captions(entry: dict[str, Any]) -> tuple[str, ...]:
    given = entry.get("captions", entry.get("caption"))
    texts = given if isinstance(given, list) else [given]
    if isinstance(given, list):
        return tuple(text.strip()[:MOST_TEXT] for text in texts if isinstance(text, str) and text.strip())
    return sentences_of(given) if isinstance(given, str) else ()


def _turns(given: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list):
        return ()
    rows = [turn for turn in given if isinstance(turn, dict) and isinstance(turn.get("value"), str)]
    return tuple(
        (str(turn.get("from")), turn["value"].replace(IMAGE_MARK, "").strip()[:MOST_TEXT]) for turn in rows
    )


def sentences_of(text: str) -> tuple[str, ...]:
    """The sentences of a text, cut at full stops, marks of question and exclamation, and line ends."""
    parts = re.split(r"(?<=[.!?])\s+|\n+", text[:MOST_TEXT])
    return tuple(part.strip().rstrip(".") for part in parts if part.strip(". "))


def open_image(path: Path, side: int) -> Images:
    """An image file as side × side × 3, its shorter side cut to a square. Raises ValueError where it is none or too large."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise ValueError(f"{path.name} has more than {MOST_PIXELS // 10**6} million pixels")
                cut = min(opened.size)
                left, top = (opened.width - cut) // 2, (opened.height - cut) // 2
                square = opened.convert("RGB").crop((left, top, left + cut, top + cut))
                return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
    except (OSError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is no readable picture ({type(error).__name__})") from None


def folder_pictures(folder: Path, side: int, rng: np.random.Generator) -> Pictures:
    """Every usable picture of a folder at side × side. Raises ValueError where fewer than 20 are left."""
    found = read_folder(folder)
    kept, images = [], []
    for row in found.rows:
        try:
            images.append(open_image(row.image, side))
            kept.append(row)
        except ValueError as error:
            found.skipped.append(f"{row.id[:60]}: {error}.")
    if len(kept) < FEWEST:
        first = f" The first skipped one: {found.skipped[0]}" if found.skipped else ""
        raise ValueError(f"{folder} holds {len(kept)} usable pictures; {FEWEST} or more are needed.{first}")
    phrases, sentences = number_phrases([row.captions for row in kept])
    origin = Origin(f"the folder {folder.name}", "real", "yours")
    splits = split_rows(np.arange(len(kept)), (0.1, 0.2), rng)
    return Pictures(
        origin, np.stack(images), phrases, sentences, splits,
        attribute_of=(None,) * len(phrases), skipped=tuple(found.skipped),
    )  # fmt: skip
