"""Run directories on storage that an fsspec URL names, for clusters whose nodes share no file system.

A folder of the state folder keeps its name on the storage. Its files are written once, but for those in `GROWING`, to which
bytes are only added; so a file is the same where its length is. The manifest of a run and what it names may be written anew: they
are the same where their hashes are too. Whoever reads a folder that is being written finds the events of a run at least as far as
its newest checkpoint, and the event that ends it only beside everything the run has written.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from data.files import sha256_file
from engine.errors import UserError

EVENTS = "events.jsonl"
GROWING = (EVENTS, "worker.log")
MANIFEST = "manifest.json"
LAST = ("hashes.json", MANIFEST)
OURS = ("state.json",)
CHECKPOINTS = "checkpoints"


class RemoteStorage:
    """Copies folders, named relative to a state folder, to and from a URL. Raises OSError where the storage does not answer."""

    def __init__(self, url: str) -> None:
        """Raises UserError for a URL that fsspec cannot open."""
        import fsspec

        self.url = url
        self._copied: dict[str, tuple[int, int]] = {}  # by name on the storage: the file here, as it was then
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise UserError(
                "storage", f"{url} cannot be opened ({error}); name a URL fsspec knows."
            ) from None

    def push(self, home: Path, folder: str) -> None:
        """Bring the storage up to what `home`/`folder` holds, and drop checkpoints older than those there."""
        here, there = home / folder, self._sizes(folder)
        names = _listed(here)
        ended = has_ended(here / EVENTS)
        ours, theirs = _hashes(_content(here / MANIFEST)), self._hashes(folder, there)
        for name in sorted(names, key=lambda name: _turn(name, ended)):
            target = f"{self.root}/{folder}/{name}"
            try:
                if name == MANIFEST and _hashes(_content(here / name)) != ours:
                    continue  # written anew just now: the next time, after what it names
                stamp = _stamp(here / name)
                is_same = there.get(name) == stamp[1]
                if is_same and name in ours:
                    is_same = (
                        theirs[name] == ours[name] if name in theirs else self._copied.get(target) == stamp
                    )
                if not is_same:
                    self._put(here / name, target)
            except FileNotFoundError:
                continue
        kept = [name for name in names if name.startswith(CHECKPOINTS)]
        old = {_step(name) for name in there if name.startswith(CHECKPOINTS) and kept and name < min(kept)}
        for step in old - {_step(name) for name in kept}:
            self.fs.rm(f"{self.root}/{folder}/{step}", recursive=True)

    def pull(self, home: Path, folder: str, only_events: bool = False) -> None:
        """Bring `home`/`folder` up to what the storage holds; with `only_events` the rest follows once the run has ended."""
        here = home / folder
        there = {name: size for name, size in self._sizes(folder).items() if _is_safe(name)}
        added = {
            name: self._beyond(here / name, f"{self.root}/{folder}/{name}", there.get(name))
            for name in GROWING
        }
        if not only_events or _last_state(added[EVENTS]) not in (None, "running"):
            theirs = self._hashes(folder, there)
            for name, size in sorted(there.items(), key=lambda item: _turn(item[0], True)):
                if name not in (*GROWING, *OURS) and not _is_same(here / name, size, theirs.get(name)):
                    self._get(f"{self.root}/{folder}/{name}", here / name)
        for name, content in added.items():
            if content:
                here.mkdir(parents=True, exist_ok=True)
                with (here / name).open("ab") as file:
                    file.write(content)

    def _sizes(self, folder: str) -> dict[str, int]:
        """Lengths of the storage's files by name within a folder."""
        self.fs.invalidate_cache()
        path = f"{self.root}/{folder}"
        found: dict[str, Any] = self.fs.find(path, detail=True) if self.fs.exists(path) else {}
        start = len(self.fs._strip_protocol(path)) + 1
        return {name[start:]: int(details["size"] or 0) for name, details in found.items()}

    def _hashes(self, folder: str, there: dict[str, int]) -> dict[str, str]:
        """Those of the storage's manifest."""
        return _hashes(self.fs.cat_file(f"{self.root}/{folder}/{MANIFEST}") if MANIFEST in there else b"")

    def _put(self, source: Path, target: str) -> None:
        """A growing file is sent as far as it went when it was opened."""
        stamp = _stamp(source)
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        with source.open("rb") as file, self.fs.open(target, "wb") as out:
            shutil.copyfileobj(file, out, 1 << 22)
        self._copied[target] = stamp

    def _get(self, source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        self.fs.get_file(source, str(temporary))
        self._copied[source] = _stamp(temporary)
        os.replace(temporary, target)

    def _beyond(self, here: Path, there: str, size: int | None) -> bytes:
        """What the storage has of a growing file beyond what is here."""
        known = here.stat().st_size if here.exists() else 0
        if size is None or size <= known:
            return b""
        with self.fs.open(there, "rb") as file:
            file.seek(known)
            content: bytes = file.read()
        return content


def has_ended(events: Path) -> bool:
    """Whether the last state a worker reported is an end."""
    return _last_state(_content(events)) not in (None, "running")


def _last_state(content: bytes) -> str | None:
    states = [line for line in content.splitlines() if b'"kind": "state"' in line]
    try:
        return str(json.loads(states[-1])["state"]) if states else None
    except ValueError:
        return None


def _turn(name: str, ended: bool) -> tuple[int, str]:
    """Events go before the checkpoints they lead to, and an end after everything else; what vouches for others after these."""
    if name in GROWING:
        return (9 if ended else 0), name
    return 1 + (name.rpartition("/")[2] in LAST), name


def _listed(folder: Path) -> list[str]:
    """Whole files, by name within a folder, listed before their events are looked at."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return [name for name in names if name not in OURS and _is_safe(name) and not name.endswith(".tmp")]


def _is_safe(name: str) -> bool:
    return not any(part.startswith(".") or not part for part in name.split("/"))


def _is_same(path: Path, size: int, sha256: str | None) -> bool:
    """Whether a file has this length, and this hash where one is known."""
    if not path.exists() or path.stat().st_size != size:
        return False
    return sha256 is None or sha256_file(path) == sha256


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _hashes(manifest: bytes) -> dict[str, str]:
    """sha256 of a manifest and of what it names; none where it is missing."""
    try:
        named: dict[str, str] = json.loads(manifest)
    except ValueError:  # still being written, or not there
        return {}
    return {**named, MANIFEST: hashlib.sha256(manifest).hexdigest()}


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _step(name: str) -> str:
    return "/".join(name.split("/")[:2])
