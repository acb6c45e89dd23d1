"""Collecting activations in bounded memory, resumably: an external shuffle over raw buckets."""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from analyses.streams import stream_seed
from data import corpora
from data.files import read_json, sha256_file, sync, write_json
from engine.errors import UserError
from engine.language_model import LanguageModel, canonical_hook_point, load, model_provenance
from engine.run import Run, Stopped

SHARD_BYTES = 512 * 1024**2
FORWARD_TOKENS = 1024
SAVE_EVERY = 32
HELDOUT_SHARE = 0.05
HELDOUT_BOUNDS = (4_096, 65_536)
HELDOUT_IN_20 = 1
MIN_KEPT = 1_000
SPLITS = ("train", "heldout")
T = TypeVar("T")
TOKEN = np.dtype(
    [("document", "<i4"), ("position", "<i4"), ("token_id", "<i4"), ("norm", "<f4"), ("bucket", "<i4")]
)


@dataclass
class Window:
    """`context_size` consecutive tokens of one split."""

    split: str
    tokens: list[int]
    documents: list[int]


@dataclass
class Packer:
    """Joins documents of a split into full windows."""

    split: str
    size: int
    tokens: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], document: int) -> Iterator[Window]:
        self.tokens += tokens
        self.documents += [document] * len(tokens)
        while len(self.tokens) >= self.size:
            yield Window(self.split, self.tokens[: self.size], self.documents[: self.size])
            del self.tokens[: self.size], self.documents[: self.size]


class Collection:
    """One collection under way in `.partial-<name>`: raw float16 rows per bucket, tokens per split."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name, self.config = run, name, run.config
        self.folder = run.activations_root / f".partial-{name}"
        heldout = min(max(int(self.config.n_tokens * HELDOUT_SHARE), HELDOUT_BOUNDS[0]), HELDOUT_BOUNDS[1])
        self.wanted = {"train": self.config.n_tokens, "heldout": heldout}
        self.started = time.perf_counter()

    def collect(self, target: Path) -> None:
        """Read the corpus through the model and leave the finished folder at `target`."""
        if (self.folder / "manifest.json").exists():
            _publish(self.folder, target)
            return
        self.run.progress(0, 1, "loading the language model")
        model = load(self.config.model, self.run.device)
        hook_point = canonical_hook_point(self.config.model, self.config.hook_point)
        model.check_hook_point(hook_point)
        self.d_in = model.width(hook_point)
        self.n_buckets = max(1, int(np.ceil(1.02 * self.config.n_tokens * self.d_in * 2 / SHARD_BYTES)))
        self._require_disk()
        try:
            self._collect(model, hook_point, target)
        except UserError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        except (OSError, SafetensorError) as error:
            if not _is_disk_full(error):
                raise
            shutil.rmtree(self.folder, ignore_errors=True)
            raise self._disk_error() from error

    def _collect(self, model: LanguageModel, hook_point: str, target: Path) -> None:
        for problem in corpora.missing(self.config.corpus):
            self.run.message(f"{self.config.corpus} goes on without a source: {problem}")
        progress = self._progress()
        self.folder.mkdir(exist_ok=True)
        if not progress["read"]:
            self._read(model, hook_point, progress)
        model.tokenizer.backend_tokenizer.save(str(self.folder / "tokenizer.json"))
        Finishing(self, model.label, hook_point, progress).finish(target)

    def _bytes_needed(self) -> int:
        return 2 * sum(self.wanted.values()) * self.d_in * 2 + SHARD_BYTES // 4

    def _require_disk(self) -> None:
        present = sum(file.stat().st_size for file in self.folder.glob("*"))
        if self._bytes_needed() - present > shutil.disk_usage(self.run.activations_root).free:
            raise self._disk_error()

    def _disk_error(self) -> UserError:
        needed = self._bytes_needed() / 1e9
        free = shutil.disk_usage(self.run.activations_root).free / 1e9
        return UserError(
            "n_tokens",
            f"{self.config.n_tokens:,} tokens need {needed:.1f} GB of disk and {free:.1f} GB are free; lower n_tokens or free some space.",
        )

    def _progress(self) -> dict[str, Any]:
        """What an earlier process saved, unless it cut the work differently."""
        path = self.folder / "progress.json"
        fresh: dict[str, Any] = {
            "layout": [FORWARD_TOKENS, self.n_buckets, self.d_in],
            "windows": 0,
            "tokens": dict.fromkeys(SPLITS, 0),
            "lengths": {},
            "read": False,
            "seconds": 0.0,
        }
        saved = read_json(path) if path.exists() else {}
        if saved.get("layout") == fresh["layout"]:
            return saved
        shutil.rmtree(self.folder, ignore_errors=True)
        return fresh

    def _windows(self, model: LanguageModel) -> Iterator[Window]:
        """Windows of both splits in a fixed order, until each split has what it wants or the corpus ends."""
        packers = {split: Packer(split, self.config.context_size) for split in SPLITS}
        got = dict.fromkeys(SPLITS, 0)
        number = 0
        try:
            for group in _batches(corpora.documents(self.config.corpus), 256):
                for tokens in model.encode([document.text for document in group]):
                    split = "heldout" if number % 20 < HELDOUT_IN_20 else "train"
                    number += 1
                    if got[split] >= self.wanted[split]:
                        continue
                    for window in packers[split].add([*tokens, model.separator], number):
                        if got[split] < self.wanted[split]:
                            got[split] += self.config.context_size
                            yield window
                if all(got[split] >= self.wanted[split] for split in SPLITS):
                    return
        except corpora.CorpusError as error:
            raise UserError("corpus", str(error)) from error

    def _read(self, model: LanguageModel, hook_point: str, progress: dict[str, Any]) -> None:
        import torch

        self._truncate(progress)
        per_forward = max(1, FORWARD_TOKENS // self.config.context_size)
        skip, total, mark = progress["windows"], sum(self.wanted.values()), time.perf_counter()
        for number, windows in enumerate(_batches(self._windows(model), per_forward)):
            if number * per_forward < skip:
                continue
            found = model.activations(torch.tensor([window.tokens for window in windows]), hook_point)
            values = found.cpu().numpy()
            if not np.isfinite(values).all():
                raise UserError(
                    "hook_point",
                    f"{hook_point} gives NaN or infinite activations; choose another layer or model.",
                )
            self._append(number, windows, values)
            progress["windows"] += len(windows)
            for window in windows:
                progress["tokens"][window.split] += len(window.tokens)
            if self.run.should_stop or (number + 1) % SAVE_EVERY == 0:
                progress["seconds"] += time.perf_counter() - mark
                mark = time.perf_counter()
                self._save(progress)
            if self.run.should_stop:
                raise Stopped
            self.run.progress(sum(progress["tokens"].values()), total, "collecting activations")
        progress["seconds"] += time.perf_counter() - mark
        self._require_enough(progress)
        progress["read"] = True
        self._save(progress)

    def _require_enough(self, progress: dict[str, Any]) -> None:
        found = progress["tokens"]
        if found["train"] < MIN_KEPT or found["heldout"] == 0:
            raise UserError(
                "corpus",
                f"{self.config.corpus} holds only {sum(found.values()):,} usable tokens; give at least {MIN_KEPT:,} in 20 or more documents.",
            )
        if found["train"] < self.wanted["train"]:
            self.run.message(
                f"The corpus ended after {found['train']:,} of {self.wanted['train']:,} training tokens; no text is repeated."
            )

    def _append(self, number: int, windows: list[Window], values: NDArray[np.float32]) -> None:
        """Append a forward pass: its tokens to the split's list, its rows to randomly drawn buckets."""
        generator = np.random.default_rng(stream_seed("buckets", number))
        size = self.config.context_size
        norms = np.linalg.norm(values, axis=2)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        for split in SPLITS:
            mine = [i for i, window in enumerate(windows) if window.split == split]
            if not mine:
                continue
            tokens = np.zeros((len(mine), size), dtype=TOKEN)
            tokens["document"] = [windows[i].documents for i in mine]
            tokens["token_id"] = [windows[i].tokens for i in mine]
            tokens["position"] = np.arange(size)
            tokens["norm"] = norms[mine]
            n_buckets = self.n_buckets if split == "train" else 1
            tokens["bucket"] = generator.integers(n_buckets, size=tokens.shape)
            tokens["bucket"][:, 0] = -1
            _append_bytes(self.folder / f"{split}.tokens", tokens)
            for bucket in np.unique(tokens["bucket"][:, 1:]):
                _append_bytes(self.folder / f"{split}-{bucket}.raw", halves[mine][tokens["bucket"] == bucket])

    def _save(self, progress: dict[str, Any]) -> None:
        for file in self.folder.iterdir():
            if file.suffix in (".raw", ".tokens"):
                sync(file)
                progress["lengths"][file.name] = file.stat().st_size
        write_json(self.folder / "progress.json", progress)

    def _truncate(self, progress: dict[str, Any]) -> None:
        """Drop what a killed process wrote after its last save."""
        for file in self.folder.iterdir():
            if file.suffix in (".raw", ".tokens"):
                os.truncate(file, progress["lengths"].get(file.name, 0))


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _publish(folder: Path, target: Path) -> None:
    """Give a folder whose manifest is written its final name."""
    for leftover in (*folder.glob("*.raw"), *folder.glob("*.tokens"), folder / "progress.json"):
        leftover.unlink(missing_ok=True)
    for file in folder.iterdir():
        sync(file)
    os.replace(folder, target)
    sync(target.parent)


def _is_disk_full(error: Exception) -> bool:
    """safetensors reports a full disk by text only."""
    return getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error).lower()


def _append_bytes(path: Path, array: NDArray[Any]) -> None:
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(array).tobytes())


class Finishing:
    """From raw buckets to shards, token tables and the manifest."""

    def __init__(self, collection: Collection, label: str, hook_point: str, progress: dict[str, Any]) -> None:
        self.collection, self.folder = collection, collection.folder
        self.config, self.run = collection.config, collection.run
        self.d_in = collection.d_in
        self.label, self.hook_point, self.progress = label, hook_point, progress
        self.tokens = {split: _map_tokens(self.folder / f"{split}.tokens") for split in SPLITS}
        self.limit = self._limit()

    def _limit(self) -> float:
        """The norm above which a token's activation is massive."""
        if self.config.massive_threshold == 0:
            return float("inf")
        norms = self.tokens["train"]["norm"][self.tokens["train"]["position"] > 0]
        return float(np.median(norms)) * self.config.massive_threshold

    def kept(self, split: str) -> NDArray[np.bool_]:
        tokens = self.tokens[split]
        return (tokens["position"] > 0) & (tokens["norm"] <= self.limit)

    def finish(self, target: Path) -> None:
        kept = {split: self.kept(split) for split in SPLITS}
        if kept["train"].sum() < MIN_KEPT or not kept["heldout"].any():
            raise UserError(
                "n_tokens",
                f"only {int(kept['train'].sum())} training tokens remain after masking; raise n_tokens or massive_threshold.",
            )
        shards = []
        for split in SPLITS:
            rows = np.full(len(self.tokens[split]), -1, dtype=np.int64)
            shards += self._shards(split, kept[split], rows)
            self._write_tokens(split, kept[split], rows)
        write_json(self.folder / "manifest.json", self._manifest(shards, kept))
        _publish(self.folder, target)

    def _shards(self, split: str, kept: NDArray[np.bool_], rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Write one shard per bucket, training rows permuted; fills each kept token's row number."""
        found, start = [], 0
        buckets = sorted(self.folder.glob(f"{split}-*.raw"), key=lambda path: int(path.stem.split("-")[1]))
        for done, raw in enumerate(buckets):
            self.run.progress(done, len(buckets), f"shuffling {split} activations")
            number = int(raw.stem.split("-")[1])
            sequence = np.flatnonzero(self.tokens[split]["bucket"] == number)
            values = np.fromfile(raw, dtype=np.float16).reshape(len(sequence), self.d_in)
            order = np.flatnonzero(kept[sequence])
            if split == "train":
                order = np.random.default_rng(stream_seed("shuffle", number)).permutation(order)
            if not np.isfinite(chosen := values[order]).all():
                raise UserError(
                    "massive_threshold",
                    "some activations exceed the float16 range; set massive_threshold to 3.",
                )
            name = f"acts-{split}-{number:05d}.safetensors"
            save_file({"activations": chosen}, self.folder / name)
            rows[sequence[order]] = start + np.arange(len(order))
            start += len(order)
            found.append(
                {"file": name, "split": split, "rows": len(order), "sha256": sha256_file(self.folder / name)}
            )
        return found

    def _write_tokens(self, split: str, kept: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
        tokens = self.tokens[split]
        path = self.folder / f"tokens-{split}.parquet"
        step = 1_000_000
        writer = None
        for start in range(0, len(tokens), step):
            part = slice(start, start + step)
            columns = {
                name: np.ascontiguousarray(tokens[name][part])
                for name in ("document", "position", "token_id", "norm")
            }
            table = pa.table({**columns, "kept": kept[part], "row": rows[part]})
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()

    def _manifest(self, shards: list[dict[str, Any]], kept: dict[str, NDArray[np.bool_]]) -> dict[str, Any]:
        train = self.tokens["train"]
        read = sum(self.progress["tokens"].values())
        first = sum(int((tokens["position"] == 0).sum()) for tokens in self.tokens.values())
        n_kept = sum(int(mask.sum()) for mask in kept.values())
        model = model_provenance(self.config.model)
        sources = corpora.describe(self.config.corpus)
        return {
            "fingerprint": self.collection.name,
            "model": self.config.model,
            "model_label": self.label,
            "hook_point": self.hook_point,
            "corpus": self.config.corpus,
            "sources": sources,
            "missing_sources": corpora.missing(self.config.corpus),
            "tier": model["tier"],
            "licences": sorted({model["licence"], *(source["licence"] for source in sources)}),
            "n_tokens": self.config.n_tokens,
            "context_size": self.config.context_size,
            "massive_threshold": self.config.massive_threshold,
            "d_in": self.d_in,
            "scale": float(np.sqrt(self.d_in) / train["norm"][kept["train"]].mean(dtype=np.float64)),
            "median_norm": None if np.isinf(self.limit) else self.limit / self.config.massive_threshold,
            "counts": {"read": read, "position_0": first, "massive": read - first - n_kept, "kept": n_kept},
            "shards": shards,
            "seconds": self.progress["seconds"],
            "tokens_per_second": read / max(self.progress["seconds"], 1e-9),
        }


def _map_tokens(path: Path) -> NDArray[Any]:
    return np.memmap(path, dtype=TOKEN, mode="r")
