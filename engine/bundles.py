"""Bundles: a finished run and all that its pages show, as one zip file that another machine takes in.

A bundle holds `bundle.json` (format, environment, the labels people gave, sha256 of every file) and, for each run in it,
`runs/ID/` with config.json, events.jsonl, manifest.json and the files of the manifest, and `reviews/ID/` with what reviewers said. Beside the run itself these are the
runs it reads (`run:ID`) and the finished cards and maps made of them. Activations, corpora and models are not in it.
"""

import json
import os
import platform
import re
import shutil
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
from pydantic import ValidationError

from data.files import read_json, sha256_file, sync, write_json
from engine.entries import Entry
from engine.environments import versions
from engine.errors import UserError
from engine.events import read_events
from engine.identity import RUN_ID, identity
from engine.library import Document, Library
from engine.plain_text import one_line
from engine.reviews import LOG, SELECTIONS
from engine.run import RESULT_FOLDERS, damaged_files
from engine.scheduler import Scheduler, checked_seeds
from engine.tools import JOBS, TOOLS

FORMAT = 1
RECORD = ("config.json", "events.jsonl", "manifest.json")
IDENTITY = ("study", "config", "seeds", "data_seed", "fingerprint", "code_version")
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._=@+-]{0,120}")
MAX_FILES, MAX_HEADER = 200_000, 64_000_000
COPIED = 1 << 20
REVIEWS = "reviews"
UNSOUND = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error, struct.error)


def _named_runs(entry: Entry) -> set[str]:
    """Ids of runs that a config mentions."""
    return set(RUN_ID.findall(json.dumps(entry.record["config"])))


def members(scheduler: Scheduler, run_id: str) -> list[Entry]:
    """The run, those it reads, and the finished tools' runs made of nothing but these. Raises UserError."""
    found: dict[str, Entry] = {}
    waiting = [run_id]
    while waiting:
        entry = scheduler.get(waiting.pop())
        found[entry.record["id"]] = entry
        waiting += [named for named in _named_runs(entry) if named not in found and scheduler.is_done(named)]
    for tool in TOOLS:
        for entry in scheduler.entries(tool):
            named = _named_runs(entry)
            if entry.state["state"] == "done" and named and named <= set(found):
                found[entry.record["id"]] = entry
    return list(found.values())


def write_bundle(scheduler: Scheduler, library: Library, run_id: str, target: Path) -> list[str]:
    """Write the bundle of a finished run to `target`; the ids of the runs in it, the run itself first.

    Raises UserError where the run is not done, or its files do not have the bytes of its manifest.
    """
    chosen = members(scheduler, run_id)
    if chosen[0].state["state"] != "done":
        raise UserError(
            "run", f"{run_id} is {chosen[0].state['state']}; only a finished run can be exported."
        )
    for entry in chosen:
        if damaged := damaged_files(entry.directory):
            raise UserError(
                "run", f"{entry.record['id']} has a damaged file ({damaged[0]}); resume or train it again."
            )
    ids = [entry.record["id"] for entry in chosen]
    files = [
        (f"runs/{entry.record['id']}/{name}", entry.directory / name)
        for entry in chosen
        for name in (*RECORD, *read_json(entry.directory / "manifest.json"))
        if (entry.directory / name).exists()
    ]
    for entry in chosen:
        said = scheduler.home / REVIEWS / entry.record["id"]
        files += [
            (path.relative_to(scheduler.home).as_posix(), path) for path in sorted(said.rglob("*.json*"))
        ]
    header = {
        "format": FORMAT,
        "run": run_id,
        "runs": ids,
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "packages": versions(),
        },
        "environments": {entry.record["id"]: _environment(entry.directory) for entry in chosen},
        "library": _of_runs(library.document(), set(ids)),
        "files": {name: sha256_file(path) for name, path in files},
    }
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("bundle.json", json.dumps(header, indent=1, sort_keys=True))
        for name, path in files:
            archive.write(path, name)
    return ids


def _environment(directory: Path) -> dict[str, Any]:
    """The packages a run was trained with, as its last worker told."""
    rows = [row for row in read_events(directory / "events.jsonl", 0)[0] if row["kind"] == "environment"]
    return dict(rows[-1]["packages"]) if rows else {}


def _of_runs(document: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    return {kind: [row for row in rows if row["run"] in ids] for kind, rows in document.items()}


def read_bundle(scheduler: Scheduler, library: Library, source: Path) -> dict[str, Any]:
    """Take in every run of a bundle: {"run": the run it was made of, "added": ids, "present": ids already here}.

    Each run is checked against the hashes, its id against its config, and becomes visible at once or not at all.
    Raises UserError("bundle").
    """
    try:
        with zipfile.ZipFile(source) as archive:
            header = _header(archive, shutil.disk_usage(scheduler.home).free)
            labels = _labels(header)
            added: list[str] = []
            present: list[str] = []
            for run_id in header["runs"]:
                (present if scheduler.knows(run_id) else added).append(run_id)
            _take_in(scheduler, archive, header, added)
    except UserError:
        raise
    except (*UNSOUND, OSError, ValueError) as error:
        raise _refused(f"it is not a sound zip file ({one_line(str(error), 200)})") from None
    library.merge(labels)
    return {"run": header["run"], "added": added, "present": present}


def _refused(why: str) -> UserError:
    return UserError("bundle", f"{why}; choose a file that `concordance export` wrote.")


def _header(archive: zipfile.ZipFile, free: int) -> dict[str, Any]:
    """bundle.json, checked in shape, against the names and sizes in the archive, and the bytes free on the disk."""
    try:
        info = archive.getinfo("bundle.json")
    except KeyError:
        raise _refused("it has no bundle.json") from None
    if info.file_size > MAX_HEADER:
        raise _refused("its bundle.json is too large")
    try:
        header = json.loads(archive.read(info))
        runs, files = header["runs"], header["files"]
        sound = (
            header["format"] == FORMAT
            and isinstance(files, dict)
            and all(RUN_ID.fullmatch(run_id) for run_id in runs)
            and len(runs) == len(set(runs))
            and header["run"] in runs
            and all(isinstance(packages, dict) for packages in header["environments"].values())
        )
        names = [name for name in files if _is_safe(name, runs)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _refused("its bundle.json cannot be read") from None
    if not sound or len(names) < len(files) or len(files) > MAX_FILES:
        raise _refused("its bundle.json is of another format or names files outside its runs")
    inside = {entry.filename: entry.file_size for entry in archive.infolist()}
    if missing := set(files) - set(inside):
        raise _refused(f"{min(missing)} is missing in it")
    needed = sum(inside[name] for name in files)
    if needed > 0.9 * free:
        raise UserError(
            "bundle", f"it unpacks to {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make room."
        )
    return dict(header)


def _labels(header: dict[str, Any]) -> dict[str, Any]:
    """What the bundle's library says of its own runs, valid as `Library.merge` wants it."""
    try:
        return Document(**_of_runs(header["library"], set(header["runs"]))).model_dump()
    except (ValidationError, KeyError, TypeError, AttributeError):
        raise _refused("its labels and lists cannot be read") from None


def _is_safe(name: str, runs: Iterable[str]) -> bool:
    """Whether a name is that of a file which belongs into the folder of one of the runs."""
    parts = PurePosixPath(name).parts
    if len(parts) < 3 or parts[0] not in ("runs", REVIEWS) or parts[1] not in runs or "/".join(parts) != name:
        return False
    inner = parts[2:]
    if not all(PART.fullmatch(part) for part in inner):
        return False
    if parts[0] == REVIEWS:
        return inner == (LOG,) or (len(inner) == 2 and inner[0] == SELECTIONS and name.endswith(".json"))
    return inner in [(file,) for file in RECORD] or (len(inner) > 1 and inner[0] in RESULT_FOLDERS)


def _take_in(
    scheduler: Scheduler, archive: zipfile.ZipFile, header: dict[str, Any], added: list[str]
) -> None:
    """Unpack and check every run apart, then move each to its place, those that others read first."""
    runs = scheduler.home / "runs"
    with tempfile.TemporaryDirectory(dir=runs, prefix=".bundle-") as name:
        apart = Path(name)
        for run_id in added:
            _unpack(archive, header, f"runs/{run_id}/", apart / run_id)
            _finished(apart / run_id, header, run_id)
        for run_id in added:
            _unpack(archive, header, f"{REVIEWS}/{run_id}/", apart / REVIEWS / run_id)
        for run_id in reversed(added):
            os.replace(apart / run_id, runs / run_id)
            try:
                scheduler.adopt(runs / run_id)
            except duckdb.Error as error:
                shutil.rmtree(runs / run_id)
                what = str(error).splitlines()[0][:200]
                raise _refused(f"the tables of run {run_id} cannot be loaded ({what})") from None
            _move(apart / REVIEWS / run_id, scheduler.home / REVIEWS / run_id)
    sync(runs)


def _unpack(archive: zipfile.ZipFile, header: dict[str, Any], prefix: str, folder: Path) -> None:
    """The files whose names begin with `prefix`, each against its sha256."""
    for name, digest in header["files"].items():
        if not name.startswith(prefix):
            continue
        target = folder / name.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, COPIED)
        sync(target)
        if sha256_file(target) != digest:
            raise _refused(f"{name} does not have the bytes it had when it was exported")


def _finished(folder: Path, header: dict[str, Any], run_id: str) -> None:
    """Check an unpacked run and give it the state of a finished one."""
    record, now = _record(folder, run_id), time.time()
    times = {"created": record["created"], "queued": now, "started": None, "finished": now}
    write_json(folder / "state.json", {"state": "done", "group": None, "error": None, **times})
    _note(folder / "events.jsonl", header["environments"].get(run_id, {}), now)


def _move(reviews: Path, target: Path) -> None:
    """Reviews of a run that is new here; what reviewers here have said of one stays."""
    if reviews.is_dir() and not target.exists():
        target.parent.mkdir(exist_ok=True)
        os.replace(reviews, target)


def _record(directory: Path, run_id: str) -> dict[str, Any]:
    """The run's config.json: of a study known here, valid, with the id that its content has."""
    try:
        record = read_json(directory / "config.json")
        JOBS[record["study"]].Config(**record["config"])
        sound = identity({key: record[key] for key in IDENTITY}) == run_id == record["id"]
        plain = _is_plain(record)
        complete = not damaged_files(directory)
    except KeyError as error:
        raise _refused(f"run {run_id} is of a study or format unknown here ({error})") from None
    except UserError as error:
        raise _refused(f"the config of run {run_id} is not valid here ({str(error).rstrip('.')})") from None
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        raise _refused(f"the config of run {run_id} cannot be read or is not valid here") from None
    if not plain:
        raise _refused(f"the config of run {run_id} has a value of another type than runs have")
    if not sound or not complete:
        raise _refused(f"run {run_id} does not have the config or the files that its id and manifest name")
    return dict(record)


def _is_plain(record: dict[str, Any]) -> bool:
    """Whether what a record says beside its config has the types that listings and the store count on.

    Raises UserError, TypeError, ValueError or OverflowError for impossible seeds, times and numbers.
    """
    json.dumps(record, allow_nan=False)
    datetime.fromtimestamp(record["created"])
    return (
        all(type(seed) is int for seed in checked_seeds(record["seeds"]))
        and type(record["data_seed"]) is int
        and 0 <= record["data_seed"] < 2**31
        and isinstance(record["preset"], str | None)
        and all(isinstance(record[key], str) for key in ("fingerprint", "code_version"))
    )


def _note(events: Path, packages: dict[str, Any], now: float) -> None:
    trained = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    text = f"Imported from a bundle; it was trained elsewhere{f' with {trained}' if trained else ''}."
    with events.open("a") as file:
        file.write(json.dumps({"t": now, "kind": "message", "text": text}) + "\n")
