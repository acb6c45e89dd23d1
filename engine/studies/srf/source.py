"""The images a config names, what is asked of them, and who knows whether an answer is true."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from analyses.streams import stream_seed
from data import emoji_questions, scene_questions
from data.assets import ASSETS, AssetMissing
from data.emoji import emoji_pictures
from data.files import sha256_file
from data.pictures import Images, Ints, Origin
from data.question_folder import read_question_folder
from data.scene_questions import Pair, Truth
from data.scenes import ATTRIBUTES, ORIGIN, Look, render
from engine.errors import UserError
from engine.studies.srf.config import Config
from engine.studies.srf.similarity import user_type

SIDE, LARGE_SIDE = 48, 336
WEIGHTS = Path(__file__).resolve().parents[3] / "data" / "weights" / "srf" / "scenes.safetensors"
GENERATOR = WEIGHTS.with_name("generator.safetensors")
Judge = Callable[[int, str, str], Truth]
TypeOf = Callable[[str, str], str]


@dataclass(frozen=True)
class Material:
    """All images of a run (n × side × side × 3) and their parts: labelled, validation, test, shifted, pool-1, pool-2, ….

    `pairs` are the labelled questions of a part. `judge` (row, question, answer) knows what is true, or says unknown.
    `captions` are what a tower that knows nothing yet learns from, by row.
    """

    origin: Origin
    images: Images
    names: Sequence[str]
    factors: Sequence[str]
    parts: Mapping[str, Ints]
    pairs: Mapping[str, list[Pair]]
    judge: Judge
    type_of: TypeOf
    captions: Mapping[int, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def words(self) -> set[str]:
        """Every word of the labelled pairs and captions."""
        texts = [text for pair in self.pairs["labelled"] for text in (pair.question, pair.answer)]
        return {word for text in (*texts, *self.captions.values()) for word in text.split()}


def open_material(config: Config) -> Material:
    """The images and questions of a config; the same object for configs that name the same. Raises UserError."""
    if config.pictures == "scenes":
        sizes = config.n_labelled, config.per_image, config.n_pool, config.n_test, config.rounds
        return _scenes(sizes, config.shift, config.picture_seed)
    if config.pictures == "emoji":
        return _emoji(config.emoji_pool, config.n_labelled, config.rounds, config.picture_seed)
    side = SIDE if config.model == "small" else LARGE_SIDE
    return _folder(config.folder, side, config.rounds, config.picture_seed)


def shifted_look(shift: float) -> Look:
    """How unlabelled scenes look: jitter, light and noise grow with the shift, and all gets brighter; 1 is the standard."""
    return Look(jitter=2 + shift, light=0.08 + 0.06 * shift, noise=0.02 + 0.04 * shift, brighter=0.06 * shift)


@lru_cache(maxsize=2)
def _scenes(sizes: tuple[int, int, int, int, int], shift: float, seed: int) -> Material:
    n_labelled, per_image, n_pool, n_test, rounds = sizes
    rng = np.random.default_rng(stream_seed("srf scenes", seed))
    split, look = scene_questions.split_states(), shifted_look(shift)
    wanted = [
        ("labelled", "tuning", n_labelled, Look()),
        ("validation", "validation", min(300, n_test), Look()),
    ]
    wanted += [("test", "test", n_test, Look()), ("shifted", "test", n_test, look)]
    wanted += [(f"pool-{number}", "tuning", n_pool, look) for number in range(1, rounds + 1)]
    states, images, parts, pairs, at = [], [], {}, {}, 0
    for part, name, many, seen in wanted:
        mine = split[name][
            rng.integers(0, len(split[name]), many)
            if name == "tuning"
            else rng.permutation(len(split[name]))[:many]
        ]
        states.append(mine)
        images.append(render(mine, rng, seen))
        parts[part] = np.arange(at, at + many)
        if not part.startswith("pool"):
            pairs[part] = scene_questions.pairs(mine, per_image, rng, at)
        at += many
    every = np.concatenate(states)
    rows = every.tolist()
    told = [
        json.dumps({name: words[value] for (name, words), value in zip(ATTRIBUTES.items(), row, strict=True)})
        for row in rows
    ]
    return Material(
        ORIGIN, np.concatenate(images), [f"scene {row}" for row in range(at)], told, parts, pairs,
        lambda row, question, answer: scene_questions.verdict(rows[row], question, answer),
        lambda question, answer: scene_questions.type_of(question),
        {int(row): scene_questions.caption(rows[row]) for row in parts["labelled"]},
    )  # fmt: skip


@lru_cache(maxsize=1)
def _emoji(pool_style: str, n_labelled: int, rounds: int, seed: int) -> Material:
    """OpenMoji's people split by base and tone; unlabelled and shifted ones drawn by OpenMoji too, or by Noto."""
    rng = np.random.default_rng(stream_seed("srf emoji", seed))
    try:
        pictures = emoji_pictures("openmoji" if pool_style == "openmoji" else "both", rng)
    except AssetMissing as error:
        raise UserError("emoji_pool" if pool_style == "noto" else "pictures", str(error)) from error
    is_noto = pictures.attributes.get("style", np.zeros(len(pictures), np.int64)) == 1
    train, test = rng.permutation(pictures.splits["train"]), pictures.splits["test"]
    own = train[~is_noto[train]]
    labelled = own[:n_labelled]
    pool = own[n_labelled:] if pool_style == "openmoji" else train[is_noto[train]]
    if len(labelled) < n_labelled or len(pool) < 40 * rounds:
        raise UserError(
            "n_labelled", f"{n_labelled} of {len(own)} emoji leave {len(pool)} unlabelled; label fewer."
        )
    validation = pictures.splits["validation"]
    parts = {
        "labelled": labelled,
        "validation": validation[~is_noto[validation]],
        "test": test[~is_noto[test]],
    }
    parts["shifted"] = parts["test"] if pool_style == "openmoji" else test[is_noto[test]]
    parts |= {f"pool-{number}": part for number, part in enumerate(np.array_split(pool, rounds), 1)}
    pairs = {
        name: emoji_questions.pairs(pictures, rows.tolist(), rng)
        for name, rows in parts.items()
        if not name.startswith("pool")
    }
    told = [emoji_questions.factors(pictures, row) for row in range(len(pictures))]
    return Material(
        pictures.origin, pictures.images, [pictures.caption(row) for row in range(len(pictures))],
        [json.dumps(one) for one in told], parts, pairs,
        lambda row, question, answer: emoji_questions.verdict(told[row], question, answer),
        lambda question, answer: emoji_questions.type_of(question),
        {int(row): emoji_questions.caption(told[row]) for row in labelled},
    )  # fmt: skip


@lru_cache(maxsize=1)
def _folder(folder: str, side: int, rounds: int, seed: int) -> Material:
    """A user's images: a fifth of the labelled ones is for the test, a tenth for validation; no oracle."""
    rng = np.random.default_rng(stream_seed("srf folder", seed))
    try:
        found = read_question_folder(Path(folder).expanduser(), side)
    except (ValueError, OSError) as error:
        raise UserError("folder", str(error)) from error
    given = [
        Pair(one.image, one.type or user_type(one.question, one.answer), one.question, one.answer)
        for one in found.pairs
    ]
    labelled = rng.permutation(sorted({pair.image for pair in given}))
    ends = [max(1, round(0.2 * len(labelled))), 0]
    ends[1] = ends[0] + max(1, round(0.1 * len(labelled)))
    test, validation, train = np.split(labelled, ends)
    pool = rng.permutation(found.unlabelled)
    if len(pool) < rounds:
        raise UserError("rounds", f"{len(pool)} unlabelled images do not make {rounds} rounds; lower rounds.")
    parts = {"labelled": train, "validation": validation, "test": test, "shifted": test}
    pairs = {
        name: [pair for pair in given if pair.image in set(rows.tolist())] for name, rows in parts.items()
    }
    parts |= {f"pool-{number}": part for number, part in enumerate(np.array_split(pool, rounds), 1)}
    captions: dict[int, str] = {}
    for pair in pairs["labelled"]:
        captions[pair.image] = f"{captions.get(pair.image, '')} {pair.answer}".strip()
    return Material(
        Origin(f"the folder {Path(folder).name}", "real", "yours"), found.images, found.names, [""] * len(found.names), parts, pairs,
        lambda row, question, answer: "unknown", user_type, captions, tuple(found.skipped),
    )  # fmt: skip


def tier_of(material: Material) -> str:
    """rendered, real or yours."""
    return "yours" if material.origin.licence == "yours" else material.origin.tier


def material_identity(config: Config) -> str:
    """Equal for configs that name the same images, without opening them. Raises UserError where they cannot be had."""
    if config.pictures == "scenes":
        return "scenes"
    if config.pictures == "emoji":
        return "emoji " + " ".join(ASSETS[name].sha256[:12] for name in ("openmoji", "emoji-names"))
    folder = Path(config.folder).expanduser()
    if not folder.is_dir():
        raise UserError("folder", f"{folder} is no folder on this machine; name one that exists.")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        about = path.stat()
        digest.update(f"{path.relative_to(folder)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return f"folder {digest.hexdigest()[:16]}"


def start_identity(config: Config) -> str:
    """The hash of the bundled model where a run starts from it. Raises UserError where it is missing."""
    if config.model == "large" or config.start == "none":
        return ""
    files = [WEIGHTS, *([GENERATOR] if config.generator == "bundled" else [])]
    for path in files:
        if not path.exists():
            raise UserError(
                "start", f"{path.name} is missing from data/weights/srf; install Concordance again."
            )
    return " ".join(sha256_file(path)[:16] for path in files)
