"""Activations of a language model on a corpus, or of a run's model on its own inputs: collected once per fingerprint, shuffled, memory-mapped.

A folder `activations/<fingerprint>/` holds float16 safetensors shards (`activations`, rows × d), pre-shuffled
training rows and held-out rows in reading order, a token table and a manifest. While it is being collected it
is called `.partial-<fingerprint>` and can be resumed.
"""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data import corpora
from data.files import read_json
from engine.activation_sources import OWN, find_source, names_run
from engine.collecting import Collection
from engine.errors import UserError
from engine.language_model import canonical_hook_point, model_identity
from engine.run import Run, Stopped

FORMAT = 1
DTYPES = {"F16": np.float16, "I32": np.int32, "U8": np.uint8}
Indices = NDArray[np.int64]
Rows = NDArray[np.float32]


class ShardRows:
    """Rows of one split over its memory-mapped shards, scaled to mean norm √d (float32)."""

    def __init__(self, folder: Path, shards: list[dict[str, Any]], scale: float) -> None:
        self.scale = scale
        self._shards = [memory_map(folder / shard["file"])["activations"] for shard in shards]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self.n_rows = int(self._ends[-1])
        self.d_in = self._shards[0].shape[1]

    def gather(self, indices: Indices) -> Rows:
        """Rows `indices` (n) as n × d float32."""
        rows = np.empty((len(indices), self.d_in), dtype=np.float32)
        owner = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(owner):
            mine = owner == number
            start = self._ends[number] - len(self._shards[number])
            rows[mine] = self._shards[number][indices[mine] - start]
        rows *= self.scale
        return rows


def memory_map(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, mapped and not read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: np.memmap(
            path, DTYPES[tensor["dtype"]], "r", 8 + length + tensor["data_offsets"][0], tuple(tensor["shape"])
        )
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def massive_limit(manifest: dict[str, Any]) -> float:
    """The norm of raw activations above which a collection left them out."""
    median = manifest["median_norm"]
    return float("inf") if median is None else median * manifest["massive_threshold"]


class Activations:
    """A finished collection: `train` and `heldout` rows, the `scale` that was applied, the `manifest`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        self.scale: float = self.manifest["scale"]
        self.train = self._rows("train")
        self.heldout = self._rows("heldout")

    def _rows(self, split: str) -> ShardRows:
        shards = [shard for shard in self.manifest["shards"] if shard["split"] == split]
        return ShardRows(self.folder, shards, self.scale)

    def contexts(self, rows: Indices, width: int = 12) -> list[tuple[str, str, str]]:
        """Text before, token, text after of held-out `rows`; at most `width` tokens either side, one window."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        table = pq.read_table(self.folder / "tokens-heldout.parquet")
        tokens, kept = table["token_id"].to_numpy(), table["kept"].to_numpy(zero_copy_only=False)
        places = np.flatnonzero(kept)[rows]
        size = self.manifest["context_size"]
        parts: list[list[int]] = []
        for place in places.tolist():
            start = place - place % size
            parts.append(tokens[max(start, place - width) : place].tolist())
            parts.append([int(tokens[place])])
            parts.append(tokens[place + 1 : min(start + size, place + 1 + width)].tolist())
        texts = tokenizer.decode_batch(parts, skip_special_tokens=False)
        gap = " " if tokenizer.decoder is None else ""
        return [
            (before and before + gap, token, after and gap + after)
            for before, token, after in zip(texts[::3], texts[1::3], texts[2::3], strict=True)
        ]


def fingerprint(config: Any) -> str:
    """Identity of the activations a config names. Raises UserError."""
    identity = {
        "format": FORMAT,
        "model": model_identity(config.model),
        "hook_point": canonical_hook_point(config.model, config.hook_point),
        **_inputs(config),
        "n_tokens": config.n_tokens,
        "massive_threshold": config.massive_threshold,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _inputs(config: Any) -> dict[str, Any]:
    """What is read, and in windows of how many tokens; the model of a run decides both."""
    if names_run(config.model):
        source = find_source(config.model)
        level = source.level(config.corpus)
        return {
            "corpus": OWN if level is None else f"{OWN}@{level:g}",
            "context_size": source.context_size,
        }
    try:
        return {"corpus": corpora.fingerprint(config.corpus), "context_size": config.context_size}
    except corpora.CorpusError as error:
        raise UserError("corpus", str(error)) from error


def open_activations(run: Run) -> Activations:
    """The activations a run's config names: collected now, or reused when an earlier run collected them.

    Raises UserError for bad input or a full disk, Stopped when the run is asked to stop.
    """
    name = fingerprint(run.config)
    folder = run.activations_root / name
    if not _is_whole(folder):
        with _only_collector(run, run.activations_root / f".lock-{name}"):
            if not _is_whole(folder):
                if folder.exists():
                    run.message(f"Activations {name} are damaged; collecting them again.")
                    shutil.rmtree(folder)
                Collection(run, name).collect(folder)
    else:
        run.message("Reusing activations collected by an earlier run.")
    found = Activations(folder)
    shown = ("model_label", "hook_point", "counts", "sources", "scale", "tokens_per_second")
    run.event("data", **{name: found.manifest[name] for name in shown})
    counts = found.manifest["counts"]
    run.message(
        f"{counts['read']:,} tokens read, {counts['kept']:,} kept: {counts['position_0']:,} at position 0 and "
        f"{counts['massive']:,} massive-activation tokens masked."
    )
    return found


def _is_whole(folder: Path) -> bool:
    """Whether the manifest and every shard are there at full length."""
    try:
        manifest = read_json(folder / "manifest.json")
        width = 2 * manifest["d_in"]
        return all(
            (folder / shard["file"]).stat().st_size > shard["rows"] * width for shard in manifest["shards"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


@contextmanager
def _only_collector(run: Run, path: Path) -> Iterator[None]:
    """Hold the lock of a fingerprint; wait while another run collects the same."""
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if run.should_stop:
                    raise Stopped from None
                run.progress(0, 1, "waiting for another run to collect these activations")
                time.sleep(0.5)
        yield
