"""Run: everything a study's `train(run)` is handed. The run directory is the source of truth."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from data.files import atomic_folder, read_json, sha256_file, sync, write_json
from data.paths import state_dir
from engine import schema
from engine.events import read_events

if TYPE_CHECKING:
    import torch

KEPT_CHECKPOINTS = 2
PROGRESS_INTERVAL = 0.5
LOG_DAMAGED = (
    "The log was damaged before this checkpoint; the table of metrics may lack points or hold wrong ones."
)


class Stopped(Exception):
    """Raised by `train` once it has checkpointed after `run.should_stop` became true."""


class Run:
    """One training run: its config and seeds, its directory, and the ways to report and save.

    `config` is the study's Config; `seeds` are initialisation seeds, `data_seed` orders the data;
    `device` is a torch device name; everything written lands under `directory`.
    """

    def __init__(self, directory: Path, config: Any, device: str = "cpu") -> None:
        record = read_json(directory / "config.json")
        self.directory = directory
        self.id: str = record["id"]
        self.study: str = record["study"]
        self.seeds: list[int] = record["seeds"]
        self.data_seed: int = record["data_seed"]
        self.config = config
        self.device = device
        self.should_stop = False
        self.ended = False
        self._events = (directory / "events.jsonl").open("a", buffering=1)
        self._stage = ""
        self._stage_start = (0.0, 0.0)
        self._last_progress = 0.0

    @property
    def activations_root(self) -> Path:
        root = state_dir() / "activations"
        root.mkdir(exist_ok=True)
        return root

    def event(self, kind: str, **values: Any) -> None:
        """Append one JSON line to events.jsonl."""
        self._events.write(json.dumps({"t": time.time(), "kind": kind, **values}) + "\n")

    def log(self, step: int, seed: int | None = None, **scalars: float) -> None:
        """Report live metrics of `seed` (or of the whole run) at an optimiser step."""
        self.event("log", step=step, seed=seed, **{name: float(value) for name, value in scalars.items()})

    def message(self, text: str) -> None:
        """Report a sentence to the reader of the run's log."""
        self.event("message", text=text)

    def progress(self, done: float, total: float, stage: str) -> None:
        """Report progress of a stage; the remaining seconds are extrapolated from the stage's own pace."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._stage_start = stage, (now, done)
        elif done < total and now - self._last_progress < PROGRESS_INTERVAL:
            return
        self._last_progress = now
        start, done_before = self._stage_start
        pace = (now - start) / (done - done_before) if done > done_before else None
        eta = None if pace is None else pace * (total - done)
        self.event("progress", done=done, total=total, stage=stage, eta_s=eta)

    def finish(self) -> None:
        """The run has written its results: add the logged metrics and the manifest, and report it done."""
        self.write_table("metrics", metrics_table(self.directory))
        write_manifest(self.directory)
        self.end("done")

    def end(self, state: str, error: str | None = None) -> None:
        """Report how the run ended (done, failed or stopped); only the first report counts."""
        if not self.ended:
            self.event("state", state=state, **({"error": error} if error else {}))
        self.ended = True

    def checkpoint(self, step: int, tensors: Mapping[str, "torch.Tensor"], state: dict[str, Any]) -> None:
        """Save tensors and JSON state of `step` atomically; older checkpoints beyond two are removed."""
        from safetensors.torch import save_file

        folder = self.directory / "checkpoints" / f"step-{step:010d}"
        with atomic_folder(folder) as temporary:
            save_file(dict(tensors), temporary / "tensors.safetensors")
            mark = log_mark(self.directory / "events.jsonl")
            write_json(temporary / "state.json", {"step": step, "events": mark, **state})
            names = ("tensors.safetensors", "state.json")
            write_json(temporary / "hashes.json", {name: sha256_file(temporary / name) for name in names})
        self.event("checkpoint", step=step)
        for old in sorted(folder.parent.glob("step-*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)

    def restore(self, device: str = "cpu") -> tuple[int, dict[str, "torch.Tensor"], dict[str, Any]] | None:
        """The newest checkpoint whose hashes hold: (step, tensors on `device`, state), or None."""
        from safetensors.torch import load_file

        for folder in sorted((self.directory / "checkpoints").glob("step-*"), reverse=True):
            if not checkpoint_is_sound(folder):
                self.message(f"Checkpoint {folder.name} is damaged; using the one before it.")
                continue
            state = read_json(folder / "state.json")
            step, mark = state.pop("step"), state.pop("events", None)
            self.message(f"Resuming from step {step:,}.")
            if mark is not None and mark != log_mark(self.directory / "events.jsonl", mark[0]):
                self.message(LOG_DAMAGED)
            return step, load_file(folder / "tensors.safetensors", device=device), state
        return None

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write rows of a table declared in `engine.schema` (without its run_id column)."""
        target = self.directory / "tables" / f"{name}.parquet"
        target.parent.mkdir(exist_ok=True)
        wanted = schema.run_columns(name)
        missing = [column for column in wanted.names if column not in table.column_names]
        if missing:
            raise KeyError(f"table {name} lacks {', '.join(missing)}")
        temporary = target.with_suffix(".tmp")
        pq.write_table(table.select(wanted.names).cast(wanted), temporary)
        sync(temporary)
        os.replace(temporary, target)

    def write_tensors(self, name: str, tensors: Mapping[str, "torch.Tensor"]) -> None:
        """Write a safetensors file under tensors/."""
        from safetensors.torch import save_file

        target = self.directory / "tensors" / f"{name}.safetensors"
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_suffix(".tmp")
        save_file(dict(tensors), temporary)
        sync(temporary)
        os.replace(temporary, target)


def log_mark(events: Path, size: int = -1) -> list[Any]:
    """Length and sha256 of a run's log, or of its first `size` bytes: whether it still holds what it held then."""
    with events.open("rb") as file:
        content = file.read(size)
    return [len(content), hashlib.sha256(content).hexdigest()]


def checkpoint_is_sound(folder: Path) -> bool:
    """Whether a checkpoint folder's files have the hashes recorded beside them."""
    try:
        hashes = cast(dict[str, str], read_json(folder / "hashes.json"))
        return all(sha256_file(folder / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError):
        return False


RESULT_FOLDERS = ("tables", "tensors", "saes")


def write_manifest(directory: Path) -> None:
    """Record the sha256 of every result file of a run."""
    files = sorted(
        path
        for folder in RESULT_FOLDERS
        for path in (directory / folder).rglob("*")
        if path.is_file() and path.suffix != ".tmp"
    )
    write_json(
        directory / "manifest.json", {str(path.relative_to(directory)): sha256_file(path) for path in files}
    )


def damaged_files(directory: Path) -> list[str]:
    """Result files that are missing or whose bytes differ from the manifest; the manifest itself where it cannot be read."""
    try:
        manifest = read_json(directory / "manifest.json")
    except (OSError, ValueError):
        return ["manifest.json"]
    return [
        name
        for name, digest in manifest.items()
        if not (directory / name).exists() or sha256_file(directory / name) != digest
    ]


def metrics_table(directory: Path) -> pa.Table:
    """The logged scalars, the last value of each (step, seed, name); timings are left out, so bytes repeat."""
    values: dict[tuple[int, int | None, str], float] = {}
    for row in read_events(directory / "events.jsonl", 0)[0]:
        if row["kind"] == "log":
            for name, value in row.items():
                if name not in ("t", "kind", "step", "seed") and not name.endswith("_per_second"):
                    values[row["step"], row["seed"], name] = value
    keys = sorted(values, key=lambda key: (key[0], -1 if key[1] is None else key[1], key[2]))
    steps, seeds, names = ([key[part] for key in keys] for part in range(3))
    return pa.table({"step": steps, "seed": seeds, "name": names, "value": [values[key] for key in keys]})
