"""What a config names: rows of a world, or texts as token ids, each in training, validation and test."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from data.assets import ASSETS, AssetMissing
from data.counterfactual_text import Rows, World, make_world
from data.domain_texts import SPLITS, DomainTexts, Tokens, rated_domains, read_texts, tokenise, vocabulary
from data.files import sha256_file
from engine.errors import UserError
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.networks import END, PAD, SPECIAL, UNKNOWN

Ints = NDArray[np.int64]
VALIDATION_ROWS = 1_000
FEWEST_TRAINED = 100


@dataclass(frozen=True)
class Part:
    """A split as tensors: what is seen (n × D floats, or n × T token ids) and the domain (n)."""

    seen: Tensor
    domain: Tensor


@dataclass(frozen=True)
class Source:
    """The splits of a data set, its domains' names, and the truth or the texts behind them."""

    parts: dict[str, Part]
    domains: tuple[str, ...]
    world: World | None = None
    test: Rows | None = None
    texts: DomainTexts | None = None
    words: tuple[str, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Tokens of the vocabulary with the special ones; 0 for vectors."""
        return len(self.words) + SPECIAL if self.texts else 0


def open_source(config: Config, seed: int, data_seed: int) -> Source:
    """The data a seed is trained on. Raises UserError."""
    return _texts(config, data_seed) if config.reads_text else _world(config, seed, data_seed)


def is_shared(config: Config) -> bool:
    """Whether all seeds of a run see the same data."""
    return config.reads_text or config.worlds == "one"


def _world(config: Config, seed: int, data_seed: int) -> Source:
    own = () if is_shared(config) else (seed,)
    world = make_world(
        config.n_domains,
        config.d_content,
        config.d_style,
        config.n_outputs,
        config.own_outputs,
        np.random.default_rng(stream_seed("counterfactual world", config.world_seed, *own)),
    )
    sizes = {"train": config.n_rows, "validation": VALIDATION_ROWS, "test": config.n_test}
    rows = {
        split: world.sample(
            n,
            np.random.default_rng(stream_seed(f"counterfactual {split}", config.world_seed, data_seed, *own)),
        )
        for split, n in sizes.items()
    }
    parts = {
        split: Part(torch.from_numpy(one.x.astype(np.float32)), torch.from_numpy(one.domain))
        for split, one in rows.items()
    }
    names = tuple(f"domain {number + 1}" for number in range(config.n_domains))
    return Source(parts, names, world, rows["test"])


def read(config: Config, data_seed: int) -> DomainTexts:
    """The texts a config names. Raises UserError."""
    rng = np.random.default_rng(stream_seed("counterfactual texts", data_seed))
    try:
        if config.source == "text":
            return rated_domains(config.words, rng)
        texts = read_texts(config.table, config.words, config.most_rows, rng)
    except AssetMissing as error:
        raise UserError("source", str(error)) from error
    except ValueError as error:
        raise UserError("table", str(error)) from error
    for split in SPLITS:
        found = np.unique(texts.domain[texts.rows(split)])
        if len(found) < len(texts.domains):
            name = next(name for place, name in enumerate(texts.domains) if place not in found)
            raise UserError("table", f"domain “{name[:60]}” has too few different texts to split; add some.")
    return texts


def _texts(config: Config, data_seed: int) -> Source:
    texts = read(config, data_seed)
    train = texts.rows("train")
    words = tuple(vocabulary([texts.tokens[i] for i in train], config.vocabulary))
    places = {word: number for number, word in enumerate(words, SPECIAL)}
    parts = {
        split: Part(
            encode([texts.tokens[i] for i in texts.rows(split)], places, config.words),
            torch.from_numpy(texts.domain[texts.rows(split)]),
        )
        for split in SPLITS
    }
    return Source(parts, texts.domains, texts=texts, words=words)


def encode(texts: list[Tokens], places: dict[str, int], words: int) -> Tensor:
    """Token ids (n × (words + 1)), END after the last word and PAD from there on."""
    found = torch.full((len(texts), words + 1), PAD)
    for row, text in enumerate(texts):
        ids = [places.get(word, UNKNOWN) for word in text[:words]]
        found[row, : len(ids) + 1] = torch.tensor([*ids, END])
    return found


def decode(ids: Tensor, words: tuple[str, ...]) -> list[Tokens]:
    """Words of token ids (n × T) up to END."""
    found = []
    for row in ids.tolist():
        end = next((place for place, token in enumerate(row) if token in (END, PAD)), len(row))
        found.append(tuple(words[token - SPECIAL] if token >= SPECIAL else "…" for token in row[:end]))
    return found


def typed(text: str, config: Config) -> Tokens:
    """A typed sentence as tokens. Raises UserError."""
    found = tokenise(text, config.words)
    if len(found) < 2:
        raise UserError("text", "write a sentence of two words or more.")
    return found


def data_identity(config: Config) -> str:
    """A hash of the data that are not made here. Raises UserError for a file that cannot be used, before a run is queued."""
    if config.source == "bench":
        return ""
    if config.source == "text":
        return ASSETS["rated-snippets"].sha256
    read(config, 0)
    return sha256_file(Path(config.table).expanduser())
