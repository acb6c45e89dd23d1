"""One pass over the stored activations: every positive latent of every seed, into raw buckets of features."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.files import read_json, sync, write_json
from engine.activations import Activations
from engine.errors import UserError
from engine.run import Run, Stopped

if TYPE_CHECKING:
    from engine.studies.sae_consistency.saes import Sae
    from engine.tools.feature_cards.of_run import OfRun
    from engine.tools.feature_cards.tokens import Tokens

ENTRY = np.dtype([("feature", "<i4"), ("token", "<i4"), ("value", "<f4")])
BUCKETS = 32
ROWS = 4096
CELLS = 8_388_608
SAVE_EVERY = 16
STAGE = "encoding"
Entries = NDArray[Any]


class Stream:
    """Raw entries under `folder`, `seed-S-B.raw`; a killed or stopped pass goes on from its last save."""

    def __init__(self, run: Run, of: "OfRun", tokens: "Tokens", folder: Path) -> None:
        self.run, self.of, self.tokens, self.folder = run, of, tokens, folder
        self.d_sae = of.config.d_sae
        self.width = -(-self.d_sae // BUCKETS)
        self.batch = max(64, min(ROWS, CELLS // self.d_sae))

    def collect(self) -> None:
        """Encode the kept tokens with every seed's SAE. Raises Stopped; UserError when the disk will not do."""
        progress = self._progress()
        if progress["read"]:
            return
        self._truncate(progress)
        total, rows = len(self.tokens.rows), self.of.activations.train
        for number in range(progress["batches"], -(-total // self.batch)):
            start = number * self.batch
            if number % SAVE_EVERY == 0:
                rows = Activations(self.of.activations.folder).train
            self.run.progress(start, total, STAGE)
            part = slice(start, start + self.batch)
            x = torch.from_numpy(rows.gather(self.tokens.rows[part])).to(self.of.device)
            for seed, sae in self.of.saes.items():
                self._append(seed, entries_of(sae, x, self.tokens.places[part]))
            progress["batches"] = number + 1
            if self.run.should_stop or (number + 1) % SAVE_EVERY == 0:
                self._save(progress)
                self._require_disk(progress, min(part.stop, total) / total)
            if self.run.should_stop:
                raise Stopped
        progress["read"] = True
        self._save(progress)

    def buckets(self, seed: int) -> list[Path]:
        """The raw files of a seed in the order of their features."""
        paths = (self.folder / f"seed-{seed}-{bucket}.raw" for bucket in range(BUCKETS))
        return [path for path in paths if path.exists()]

    def _append(self, seed: int, entries: Entries) -> None:
        bucket = (entries["feature"] // self.width).astype(np.uint8)
        ends = np.cumsum(np.bincount(bucket, minlength=BUCKETS))
        content = entries[np.argsort(bucket, kind="stable")]
        for number, (start, end) in enumerate(zip(np.append(0, ends), ends, strict=False)):
            if end > start:
                with (self.folder / f"seed-{seed}-{number}.raw").open("ab") as file:
                    file.write(content[start:end].tobytes())

    def _progress(self) -> dict[str, Any]:
        """What an earlier process saved, unless it cut the work differently."""
        path = self.folder / "progress.json"
        layout = [BUCKETS, self.batch, len(self.tokens.ids), len(self.tokens.rows), *self.of.seeds]
        saved = read_json(path) if path.exists() else {}
        if saved.get("layout") == layout:
            return saved
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return {"layout": layout, "batches": 0, "lengths": {}, "read": False}

    def _save(self, progress: dict[str, Any]) -> None:
        for file in self.folder.glob("*.raw"):
            sync(file)
            progress["lengths"][file.name] = file.stat().st_size
        write_json(self.folder / "progress.json", progress)

    def _truncate(self, progress: dict[str, Any]) -> None:
        """Drop what a killed process wrote after its last save."""
        for file in self.folder.glob("*.raw"):
            os.truncate(file, progress["lengths"].get(file.name, 0))

    def _require_disk(self, progress: dict[str, Any], done: float) -> None:
        """The raw entries to come, and the sorted file of a seed beside them."""
        written = sum(progress["lengths"].values())
        needed = written / done * (1 - done + 1 / len(self.of.seeds))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            shutil.rmtree(self.folder)
            raise UserError(
                "max_tokens",
                f"the cards need {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free; lower max_tokens or free some space.",
            )


def entries_of(sae: "Sae", x: torch.Tensor, places: NDArray[np.int32]) -> Entries:
    """Every positive latent of vectors x (B × d_in), whose tokens are `places` (B)."""
    z = sae.encode(x).cpu().numpy()
    found = np.flatnonzero(z > 0)
    vectors = found // z.shape[1]
    entries = np.empty(len(found), ENTRY)
    entries["feature"] = found - vectors * z.shape[1]
    entries["token"] = places[vectors]
    entries["value"] = z.reshape(-1)[found]
    return entries
