"""A user's own images with some questions and answers: labelled ones to learn from, all others unlabelled.

The list is `questions.jsonl` ({"id", "image", "question", "answer"} a line, "type" if wanted), or LLaVA's JSON (a list of {"id",
"image", "conversations": [{"from": "human" or "gpt", "value"}]}) in the one .json file of the folder. Images that no line names
are unlabelled. What cannot be used is listed and skipped.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.image_folder import IMAGE_MARK, MOST_TEXT, entries, image_named, open_image
from data.pictures import Images
from data.scene_questions import Pair

LIST = "questions.jsonl"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
FEWEST = 8


@dataclass
class QuestionFolder:
    """Readable images (n × side × side × 3), their names, the pairs on the labelled ones (type "" where none is told)."""

    images: Images
    names: list[str]
    pairs: list[Pair]
    skipped: list[str] = field(default_factory=list)

    @property
    def unlabelled(self) -> list[int]:
        """Rows of images without a pair."""
        labelled = {pair.image for pair in self.pairs}
        return [row for row in range(len(self.names)) if row not in labelled]


def read_question_folder(folder: Path, side: int) -> QuestionFolder:
    """Every usable image and pair of a folder. Raises ValueError, with a sentence, where too few are left."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder on this machine; name one that exists.")
    skipped: list[str] = []
    listed = _listed(folder, skipped)
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in ENDINGS
    }
    images: list[Images] = []
    rows: dict[str, int] = {}
    for name, path in paths.items():
        try:
            images.append(open_image(path, side))
            rows[name] = len(rows)
        except ValueError as error:
            skipped.append(f"{name}: {error}.")
    pairs = []
    for where, name, kind, question, answer in listed:
        if name in rows:
            pairs.append(Pair(rows[name], kind, question, answer))
        elif name not in paths:
            skipped.append(f"{where}: its image {name[:80]!r} does not exist.")
        else:
            skipped.append(f"{where}: its image {name[:80]!r} is broken.")
    found = QuestionFolder(
        np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8), list(rows), pairs, skipped
    )
    labelled = len(rows) - len(found.unlabelled)
    if labelled < FEWEST or len(found.unlabelled) < FEWEST:
        first = f" The first skipped entry: {skipped[0]}" if skipped else ""
        raise ValueError(
            f"{folder} has {labelled} labelled and {len(found.unlabelled)} unlabelled readable images; {FEWEST} or more of each are "
            f"needed.{first}"
        )
    return found


def _listed(folder: Path, skipped: list[str]) -> list[tuple[str, str, str, str, str]]:
    """(place in the file, image, type, question, answer) of every usable pair."""
    found, seen = [], set()
    for where, entry in entries(folder, LIST):
        try:
            key, image, pairs = _read(folder, entry)
            if key in seen:
                raise ValueError(f"the id {key[:60]!r} is there twice")
            seen.add(key)
            found += [(where, image, *pair) for pair in pairs]
        except ValueError as error:
            skipped.append(f"{where}: {error}.")
    return found


def _read(folder: Path, entry: Any) -> tuple[str, str, list[tuple[str, str, str]]]:
    """Id, image and pairs of an entry. Raises ValueError."""
    image = Path(image_named(folder, entry)).as_posix()
    if "conversations" in entry:
        return str(entry.get("id", image)), image, _turns(entry["conversations"])
    question, answer = _text(entry.get("question")), _text(entry.get("answer"))
    if not question:
        raise ValueError('it has no "question"')
    if not answer:
        raise ValueError('it has no "answer"')
    return (
        str(entry.get("id", f"{image} {question}")),
        image,
        [(_text(entry.get("type"))[:40], question, answer)],
    )


def _turns(given: Any) -> list[tuple[str, str, str]]:
    """Questions of a human and the answers after them. Raises ValueError where one is missing."""
    turns = [turn for turn in given if isinstance(turn, dict)] if isinstance(given, list) else []
    texts = [(turn.get("from"), _text(turn.get("value")).replace(IMAGE_MARK, "").strip()) for turn in turns]
    pairs = []
    for place in range(0, len(texts), 2):
        who, question = texts[place]
        other, answer = texts[place + 1] if place + 1 < len(texts) else (None, "")
        if who != "human" or other != "gpt" or not question or not answer:
            raise ValueError('a turn of "human" has no answer of "gpt" after it')
        pairs.append(("", question, answer))
    if not pairs:
        raise ValueError('its "conversations" hold no question')
    return pairs


def _text(given: Any) -> str:
    return " ".join(given.split())[:MOST_TEXT] if isinstance(given, str) else ""
