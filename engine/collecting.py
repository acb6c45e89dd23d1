"""Collecting activations in bounded memory, resumably: an external shuffle over raw buckets."""

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from analyses.streams import stream_seed
from data.files import read_json, sha256_file, sync, write_json
from engine.activation_sources import SPLITS, ReadableModel, Window, find_source, names_run
from engine.errors import UserError
from engine.language_model import canonical_hook_point, load
from engine.run import Run, Stopped
from engine.text_windows import batches

SHARD_BYTES = 512 * 1024**2
FORWARD_TOKENS = 1024
SAVE_EVERY = 32
HELDOUT_SHARE = 0.05
HELDOUT_BOUNDS = (4_096, 65_536)
MIN_KEPT = 1_000
TOKEN = np.dtype(
    [("document", "<i4"), ("position", "<i4"), ("token_id", "<i4"), ("norm", "<f4"), ("bucket", "<i4")]
)


class Collection:
    """One collection under way in `.partial-<name>`: raw float16 rows per bucket, tokens per split."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name, self.config = run, name, run.config
        self.folder = run.activations_root / f".partial-{name}"
        heldout = min(max(int(self.config.n_tokens * HELDOUT_SHARE), HELDOUT_BOUNDS[0]), HELDOUT_BOUNDS[1])
        self.wanted = {"train": self.config.n_tokens, "heldout": heldout}
        self.started = time.perf_counter()

    def collect(self, target: Path) -> None:
        """Read the model's input through it and leave the finished folder at `target`."""
        if (self.folder / "manifest.json").exists():
            _publish(self.folder, target)
            return
        self.run.progress(0, 1, "loading the model")
        model = open_model(self.config.model, self.run.device)
        hook_point = canonical_hook_point(self.config.model, self.config.hook_point)
        model.check_hook_point(hook_point)
        self.d_in = model.width(hook_point)
        self.size, self.skipped = model.window_size(self.config), model.skipped
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

    def _collect(self, model: ReadableModel, hook_point: str, target: Path) -> None:
        origin = model.describe(self.config)
        for problem in origin["missing_sources"]:
            self.run.message(f"{self.config.corpus} goes on without a source: {problem}")
        progress = self._progress()
        self.folder.mkdir(exist_ok=True)
        if not progress["read"]:
            self._read(model, hook_point, progress)
        model.save_tokenizer(self.folder / "tokenizer.json")
        Finishing(self, {**origin, "model_label": model.label, "hook_point": hook_point}, progress).finish(
            target
        )

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

    def _read(self, model: ReadableModel, hook_point: str, progress: dict[str, Any]) -> None:
        import torch

        self._truncate(progress)
        per_forward = max(1, FORWARD_TOKENS // self.size)
        skip, total, mark = progress["windows"], sum(self.wanted.values()), time.perf_counter()
        stream = model.windows(self.config, self.wanted)
        for number, windows in enumerate(batches(stream, per_forward)):
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
        norms = np.linalg.norm(values, axis=2)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        for split in SPLITS:
            mine = [i for i, window in enumerate(windows) if window.split == split]
            if not mine:
                continue
            tokens = np.zeros((len(mine), self.size), dtype=TOKEN)
            tokens["document"] = [windows[i].documents for i in mine]
            tokens["token_id"] = [windows[i].tokens for i in mine]
            tokens["position"] = np.arange(self.size)
            tokens["norm"] = norms[mine]
            n_buckets = self.n_buckets if split == "train" else 1
            tokens["bucket"] = generator.integers(n_buckets, size=tokens.shape)
            tokens["bucket"][:, : self.skipped] = -1
            _append_bytes(self.folder / f"{split}.tokens", tokens)
            for bucket in np.unique(tokens["bucket"][:, self.skipped :]):
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


def open_model(model: str, device: str) -> ReadableModel:
    """A language model or a run's model, ready to be read. Raises UserError."""
    return find_source(model).on(device) if names_run(model) else load(model, device)


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

    def __init__(self, collection: Collection, origin: dict[str, Any], progress: dict[str, Any]) -> None:
        self.collection, self.folder = collection, collection.folder
        self.config, self.run = collection.config, collection.run
        self.d_in, self.skipped = collection.d_in, collection.skipped
        self.origin, self.progress = origin, progress
        self.tokens = {split: _map_tokens(self.folder / f"{split}.tokens") for split in SPLITS}
        self.limit = self._limit()

    def _limit(self) -> float:
        """The norm above which a token's activation is massive."""
        if self.config.massive_threshold == 0:
            return float("inf")
        train = self.tokens["train"]
        norms = train["norm"][train["position"] >= self.skipped]
        return float(np.median(norms)) * self.config.massive_threshold

    def kept(self, split: str) -> NDArray[np.bool_]:
        tokens = self.tokens[split]
        return (tokens["position"] >= self.skipped) & (tokens["norm"] <= self.limit)

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
        first = sum(int((tokens["position"] < self.skipped).sum()) for tokens in self.tokens.values())
        n_kept = sum(int(mask.sum()) for mask in kept.values())
        return {
            "fingerprint": self.collection.name,
            "model": self.config.model,
            "corpus": self.config.corpus,
            **self.origin,
            "n_tokens": self.config.n_tokens,
            "context_size": self.collection.size,
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
