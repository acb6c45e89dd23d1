"""What activations are collected from: the methods every model offers, and the models of finished runs (`run:ID`).

A study offers its trained models by overriding `Study.activation_source`; nothing else has to know of it.
"""

import difflib
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from data.files import read_json, sha256_file
from data.paths import state_dir
from engine.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

PREFIX = "run:"
NAME = re.compile(r"run:(?P<id>[0-9a-f]{12})(?:/(?P<rest>.*))?")
OWN = "own"
CORPUS = re.compile(r"own(?:@(?P<level>\d*\.?\d+))?")
SPLITS = ("train", "heldout")
TRAINED_HERE = "trained here"


@dataclass
class Window:
    """As many consecutive tokens of one split as a forward pass reads at once, and the document each is from."""

    split: str
    tokens: list[int]
    documents: list[int]


class ReadableModel(Protocol):
    """A model that a collection reads. `skipped` leading positions of every window are never used.

    `windows` gives the token windows of both splits in a fixed order, until each split has as many tokens as `wanted`
    or the input ends; `activations` the vectors (B × T × d, float32) of token ids (B × T). `describe` says what
    was read, for the manifest. The config's fields are those of sae_consistency.
    """

    label: str
    skipped: int

    def check_hook_point(self, hook_point: str) -> None: ...
    def width(self, hook_point: str) -> int: ...
    def window_size(self, config: Any) -> int: ...
    def windows(self, config: Any, wanted: Mapping[str, int]) -> Iterator[Window]: ...
    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor": ...
    def save_tokenizer(self, path: Path) -> None: ...
    def describe(self, config: Any) -> dict[str, Any]: ...


class RunSource(ABC):
    """A model of a finished run, read on the run's own inputs: one whole input (T tokens) is one window.

    It is made without torch, which only `load` and `activations` need. `vocabulary` holds the word of every token
    id and `blank` the id an empty word stands for, if any; `row_length` is set where an input is a board. `n_hooks`
    hook points `blocks.N.hook_out` hold vectors of `d` numbers.
    """

    skipped = 0
    label: str
    vocabulary: Sequence[str]
    context_size: int
    d: int
    n_hooks: int
    blank: int | None = None
    row_length: int | None = None

    def __init__(self, directory: Path, weights: Path) -> None:
        self.directory, self.weights = directory, weights
        self.record: dict[str, Any] = read_json(directory / "config.json")
        self.device = "cpu"

    @property
    def identity(self) -> str:
        """Changes with the weights, and with whatever else decides what the model reads and computes."""
        named = {name: self.record[name] for name in ("study", "config", "data_seed")}
        lines = json.dumps({**named, "weights": sha256_file(self.weights)}, sort_keys=True)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def hook_points(self) -> list[str]:
        return [f"blocks.{number}.hook_out" for number in range(self.n_hooks)]

    def check_hook_point(self, hook_point: str) -> None:
        """Raises UserError, naming near names, when the model has no such hook point."""
        if hook_point not in self.hook_points:
            near = difflib.get_close_matches(hook_point, self.hook_points, n=4, cutoff=0)
            raise UserError(
                "hook_point",
                f"{hook_point!r} does not exist in the {self.label}; the nearest names are {', '.join(near)}.",
            )

    def width(self, hook_point: str) -> int:
        return self.d

    def window_size(self, config: Any) -> int:
        return self.context_size

    def level(self, corpus: str) -> float | None:
        """The noise level that a corpus such as "own@0.5" asks for. Raises UserError where inputs carry no noise."""
        found = CORPUS.fullmatch(corpus)
        if found is None or found["level"] is not None:
            raise UserError("corpus", f"{corpus} is no input of the {self.label}, which has only own.")
        return None

    def windows(self, config: Any, wanted: Mapping[str, int]) -> Iterator[Window]:
        """Whole inputs, training ones first; validation ones are held out."""
        number = 0
        for split in SPLITS:
            got = 0
            for tokens in self.inputs(split, self.level(config.corpus)):
                if got >= wanted[split]:
                    break
                number, got = number + 1, got + len(tokens)
                yield Window(split, tokens.tolist(), [number] * len(tokens))

    @abstractmethod
    def inputs(self, split: str, level: float | None) -> Iterator[NDArray[np.int64]]:
        """Inputs (T token ids each) of a split, always in the same order; training inputs never end."""

    @abstractmethod
    def load(self) -> None:
        """Load the weights once, onto `device`."""

    @abstractmethod
    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        """Vectors (B × T × d, float32) at a hook point for token ids (B × T)."""

    def on(self, device: str) -> Self:
        """The source with its weights on a torch device."""
        self.device = device
        self.load()
        return self

    def ids(self, words: Sequence[str]) -> list[int]:
        """Token ids of an input's words. Raises UserError for an unknown word."""
        known = {word: number for number, word in enumerate(self.vocabulary)}
        if self.blank is not None:
            known[""] = self.blank
        unknown = next((word for word in words if word not in known), None)
        if unknown is not None:
            raise UserError("tokens", f"{unknown[:40]!r} is no word of the {self.label}.")
        return [known[word] for word in words]

    def checked(self, tokens: Sequence[int]) -> list[int]:
        """The token ids of one input. Raises UserError where there are too many or too few, or unknown ones."""
        if len(tokens) != self.context_size:
            raise UserError(
                "tokens", f"{len(tokens)} were given; an input of the {self.label} has {self.context_size}."
            )
        if min(tokens) < 0 or max(tokens) >= len(self.vocabulary):
            raise UserError("tokens", f"the {self.label} knows ids from 0 to {len(self.vocabulary) - 1}.")
        return list(tokens)

    def tokenizer(self) -> "Tokenizer":
        """The vocabulary as a tokenizer of words with spaces between."""
        from tokenizers import Tokenizer, models, pre_tokenizers

        words = {word: number for number, word in enumerate(self.vocabulary)}
        found = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
        found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return found

    def save_tokenizer(self, path: Path) -> None:
        self.tokenizer().save(str(path))

    def describe(self, config: Any) -> dict[str, Any]:
        """Sources, licences and tier for the manifest; `row_length` of a board."""
        inputs = {
            "source": f"inputs of run {self.record['id']}",
            "licence": "made here",
            "tier": "synthetic",
        }
        board = {} if self.row_length is None else {"row_length": self.row_length}
        return {
            "sources": [inputs], "missing_sources": [], "tier": TRAINED_HERE, "licences": ["made here"], **board,
        }  # fmt: skip


def names_run(model: str) -> bool:
    """Whether a model is named as one of a run."""
    return model.startswith(PREFIX)


def find_source(model: str) -> RunSource:
    """The model `run:ID` or `run:ID/…` names; what follows the id is the study's matter. Raises UserError("model")."""
    from engine.studies import STUDIES

    found = NAME.fullmatch(model)
    if found is None:
        raise UserError(
            "model", f"{model!r} names no run; write run: and the 12 signs of its id, or run:ID/seed-2."
        )
    run_id = found["id"]
    directory = state_dir() / "runs" / run_id
    if not (directory / "state.json").exists():
        raise UserError("model", f"run {run_id} does not exist; `concordance runs` lists those that do.")
    state = read_json(directory / "state.json")["state"]
    if state != "done" or not (directory / "manifest.json").exists():
        raise UserError("model", f"run {run_id} is {state}; wait until it is done.")
    study = STUDIES.get(name := read_json(directory / "config.json")["study"])
    source = study.activation_source(directory, found["rest"] or "") if study else None
    if source is None:
        raise UserError(
            "model",
            f"run {run_id} is one of {name}, which has no states to read; name a run of another study.",
        )
    if not source.weights.exists():
        raise UserError("model", f"run {run_id} has lost {source.weights.name}; train it again.")
    return source


def seed_named(record: Mapping[str, Any], part: str) -> int:
    """The seed that "seed-2" names in a run; its first for nothing. Raises UserError("model")."""
    seeds: list[int] = record["seeds"]
    if not part:
        return seeds[0]
    named = {f"seed-{seed}": seed for seed in seeds}
    if part not in named:
        raise UserError("model", f"run {record['id']} has no {part}; it has {', '.join(named)}.")
    return named[part]
