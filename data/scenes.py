"""Rendered scenes: two objects side by side on a background, with every factor known and an oracle for what is said of them.

A scene has seven factors (`ATTRIBUTES`): shape, colour and size of the left and of the right object, and the background;
9,216 states in all. A sentence states one factor in two words ("left red", "background stripes"). Pictures of 48 × 48
pixels are drawn from signed distances, with the objects' places, the light and the pixels varying.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.pictures import SPLITS, Images, Ints, Origin, Pictures

Floats = NDArray[np.floating]
SIDE = 48
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 153, 20),
    "green": (34, 150, 62),
    "blue": (38, 90, 205),
    "purple": (142, 68, 190),
    "white": (250, 250, 250),
}
SIZES = {"small": 6.5, "large": 10.5}
BACKGROUNDS = ("grey", "dark", "stripes", "dots")
PLACES = ("left", "right")
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "left shape": SHAPES,
    "left colour": tuple(COLOURS),
    "left size": tuple(SIZES),
    "right shape": SHAPES,
    "right colour": tuple(COLOURS),
    "right size": tuple(SIZES),
    "background": BACKGROUNDS,
}
NAMES = tuple(ATTRIBUTES)
CARDINALITIES = tuple(len(values) for values in ATTRIBUTES.values())
N_STATES = int(np.prod(CARDINALITIES))
ORIGIN = Origin("scenes of two objects, drawn by Concordance", "rendered", "Apache-2.0")
PASSED_OVER = frozenset(
    [
        "the",
        "a",
        "an",
        "is",
        "are",
        "has",
        "of",
        "and",
        "in",
        "on",
        "with",
        "there",
        "object",
        "objects",
        "one",
        "to",
        "its",
        "it",
        "scene",
        "image",
    ]
)
_KIND = {word: name.split()[1] for name, words in ATTRIBUTES.items() if " " in name for word in words}


@dataclass(frozen=True)
class Look:
    """How pictures of a state vary: places by up to `jitter` pixels, light by up to `light`, pixels by `noise` (both of 1).

    `brighter` is added to every pixel; a pool that differs from the training pictures has other values.
    """

    jitter: float = 2.0
    light: float = 0.08
    noise: float = 0.02
    brighter: float = 0.0


def all_states() -> Ints:
    """Every state (9,216 × 7 factors)."""
    return np.stack(np.unravel_index(np.arange(N_STATES), CARDINALITIES), axis=1).astype(np.int64)


def render(states: Ints, rng: np.random.Generator, look: Look = Look()) -> Images:
    """Pictures (n × 48 × 48 × 3) of states (n × 7)."""
    return np.concatenate(
        [_render(part, rng, look) for part in np.array_split(states, max(1, len(states) // 256))]
    )


def _render(states: Ints, rng: np.random.Generator, look: Look) -> Images:
    n = len(states)
    picture: Floats = _backgrounds(states[:, 6], rng)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    palette = np.array(list(COLOURS.values()), dtype=np.float32) / 255
    radii = np.array(list(SIZES.values()), dtype=np.float32)
    for place, first in enumerate((0, 3)):
        shape, colour, size = states[:, first : first + 3].T
        centre = np.array([SIDE * (1 + 2 * place) / 4 - 0.5, SIDE / 2 - 0.5]) + rng.uniform(
            -look.jitter, look.jitter, (n, 2)
        )
        dx = x[None] - centre[:, 0, None, None].astype(np.float32)
        dy = y[None] - centre[:, 1, None, None].astype(np.float32)
        inside = _covered(dx, dy, shape, radii[size][:, None, None])[..., None]
        picture = inside * palette[colour][:, None, None] + (1 - inside) * picture
    light = 1 + rng.uniform(-look.light, look.light, (n, 1, 1, 1))
    picture = picture * light + look.brighter + look.noise * rng.standard_normal(picture.shape)
    return np.clip(np.round(255 * picture), 0, 255).astype(np.uint8)


def _backgrounds(kinds: Ints, rng: np.random.Generator) -> Floats:
    """Plain grey, plain dark, diagonal stripes or dots (n × 48 × 48 × 3), the patterns shifted at random."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    shift = rng.uniform(0, 8, (len(kinds), 2)).astype(np.float32)[..., None, None]
    stripes = np.sin((x + y + shift[:, 0]) * (2 * np.pi / 8)) > 0
    dots = np.sin((x + shift[:, 0]) * (2 * np.pi / 8)) * np.sin((y + shift[:, 1]) * (2 * np.pi / 8)) > 0.45
    pattern = np.where((kinds == 2)[:, None, None], stripes, dots & (kinds == 3)[:, None, None])
    tone = (
        np.where(kinds == 1, 0.16, 0.62)[:, None, None]
        + 0.18 * np.where(kinds >= 2, 1, 0)[:, None, None] * pattern
    )
    return np.repeat(tone[..., None].astype(np.float32), 3, axis=3)


def _covered(dx: Floats, dy: Floats, shape: Ints, radius: Floats) -> Floats:
    """How much of each pixel an object of these shapes covers, by signed distance to its outline (n × 48 × 48)."""
    ax, ay = np.abs(dx), np.abs(dy)
    circle = np.hypot(dx, dy) - radius
    square = np.maximum(ax, ay) - 0.86 * radius
    triangle = np.maximum(0.88 * ax - 0.47 * dy - 0.42 * radius, dy - 0.8 * radius)
    arm = 0.34 * radius
    cross = np.minimum(np.maximum(ax - radius, ay - arm), np.maximum(ay - radius, ax - arm))
    distance = np.select([(shape == i)[:, None, None] for i in range(4)], [circle, square, triangle, cross])
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


def sentence(attribute: str, value: str) -> str:
    """The two words that state a factor: "left red", "background dots"."""
    return f"{attribute.split()[0]} {value}"


def phrases() -> tuple[str, ...]:
    """All 28 sentences, factor by factor."""
    return tuple(sentence(name, value) for name, values in ATTRIBUTES.items() for value in values)


def read_caption(text: str) -> dict[str, str]:
    """Factor → value of a caption in plain words, such as "the left object is a small red circle on stripes".

    A word of place holds for the words after it; words of background need none. Raises ValueError, with a sentence,
    for a word that is unknown, stands without a place, or contradicts another.
    """
    found: dict[str, str] = {}
    place = ""
    for word in re.findall(r"[a-z]+", text.lower().replace("gray", "grey").replace("color", "colour")):
        if word in PLACES:
            place = word
        elif word in BACKGROUNDS:
            _say(found, "background", word)
        elif word in _KIND:
            if not place:
                raise ValueError(f"{word!r} stands before any place; write left or right before it.")
            _say(found, f"{place} {_KIND[word]}", word)
        elif word not in PASSED_OVER and word not in ("background", "shape", "colour", "size"):
            raise ValueError(f"{word[:40]!r} is not a word of these scenes; they know {', '.join(_words())}.")
    if not found:
        raise ValueError(
            "it says nothing about a scene; write for example: left red circle, background dots."
        )
    return {name: found[name] for name in NAMES if name in found}


def _say(found: dict[str, str], attribute: str, value: str) -> None:
    if found.setdefault(attribute, value) != value:
        raise ValueError(f"it gives the {attribute} twice, as {found[attribute]} and {value}; choose one.")


def _words() -> list[str]:
    return [*PLACES, *dict.fromkeys(word for words in ATTRIBUTES.values() for word in words)]


def satisfies(states: Ints, wanted: Mapping[str, str]) -> NDArray[np.bool_]:
    """The oracle: whether each state (n × 7) is as `wanted` (factor → value) says."""
    true = np.ones(len(states), dtype=bool)
    for name, value in wanted.items():
        true &= states[:, NAMES.index(name)] == ATTRIBUTES[name].index(value)
    return true


def scene_pictures(sizes: tuple[int, int, int], rng: np.random.Generator, look: Look = Look()) -> Pictures:
    """Pictures of train, validation and test, `sizes` of each; no state is in two of them, nor twice in one but train.

    An eighth of the states each is for validation and test, so that every test caption is of a combination never seen.
    Raises ValueError where validation or test ask for more states than that.
    """
    most = N_STATES // 8
    if max(sizes[1:]) > most:
        raise ValueError(f"validation and test have {most} states each; ask for no more pictures.")
    order = rng.permutation(N_STATES)
    held = {"validation": order[: sizes[1]], "test": order[most : most + sizes[2]]}
    chosen = {"train": rng.choice(order[2 * most :], sizes[0]), **held}
    numbers = np.concatenate([chosen[split] for split in SPLITS])
    states = all_states()[numbers]
    ends = np.cumsum([len(chosen[split]) for split in SPLITS])
    rows = dict(zip(SPLITS, np.split(np.arange(len(states)), ends[:-1]), strict=True))
    offsets = np.concatenate([[0], np.cumsum(CARDINALITIES)[:-1]])
    return Pictures(
        ORIGIN,
        render(states, rng, look),
        phrases(),
        [tuple(said) for said in (states + offsets).tolist()],
        rows,
        {name: states[:, i] for i, name in enumerate(NAMES)},
        ATTRIBUTES,
        tuple(name for name, values in ATTRIBUTES.items() for _ in values),
    )
