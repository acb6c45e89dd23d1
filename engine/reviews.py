"""What reviewers say of a run's triplets: an append-only log, flushed to the disk before an act is answered, merged on reading.

`home`/reviews/RUN/log.jsonl has a line an act: id, batch, when (epoch seconds), who, triplet, verdict (keep, reject, edit), and of
an edit question and answer; an undo names in `undo_of` the batch that it takes back. Nothing is ever written over, so two
reviewers keep their verdicts apart and a line cut off by a kill or a full disk costs that line alone.
Selections are `home`/reviews/RUN/selections/NAME.json.
"""

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from analyses.srf import agreement
from data.files import read_json, sync, write_json
from engine.errors import UserError

LOG, SELECTIONS = "log.jsonl", "selections"
NAME = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,59}$"
SHOWN_ACTS, MOST_ACTS = 50, 5_000
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]


class Act(BaseModel):
    """One reviewer's verdict on a triplet; an edit keeps it with another question and answer."""

    model_config = ConfigDict(extra="forbid")

    who: Who
    triplet: int = Field(ge=0)
    verdict: Literal["keep", "reject", "edit"]
    question: Text | None = None
    answer: Text | None = None

    @model_validator(mode="after")
    def _texts(self) -> "Act":
        if (self.verdict == "edit") != (self.question is not None and self.answer is not None):
            raise ValueError("an edit needs a question and an answer, and only an edit has them")
        return self


class RunLog:
    """The acts of one run. Raises OSError where the disk refuses; then nothing was accepted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self._lock = threading.RLock()
        self.acts: list[dict[str, Any]] = []
        self._last = 0
        if self.path.exists():
            for line in self.path.read_bytes().split(b"\n"):
                try:
                    row = json.loads(line)
                    self._last = max(self._last, int(row["id"]))
                    self.acts.append(row)
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off when the machine stopped

    @property
    def version(self) -> int:
        """Changes with every act."""
        return len(self.acts)

    def append(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Number the rows as one batch, write and flush them, and return them."""
        with self._lock:
            batch, when = self._last + 1, time.time()
            rows = [{"id": batch + i, "batch": batch, "when": when, **row} for i, row in enumerate(rows)]
            _append(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
            self._last = batch + len(rows) - 1
            self.acts += rows
            return rows

    def undo(self, who: str) -> dict[str, Any] | None:
        """Take back the reviewer's last batch that still counts: its verdict, last triplet and how many; None where none is left."""
        with self._lock:
            mine = [act for act in self.standing() if act["who"] == who]
            if not mine:
                return None
            last = mine[-1]
            self.append([{"who": who, "undo_of": last["batch"]}])
            count = sum(act["batch"] == last["batch"] for act in mine)
            return {"verdict": last["verdict"], "triplet": last["triplet"], "count": count}

    def standing(self) -> list[dict[str, Any]]:
        """Acts that nobody took back, in their order."""
        with self._lock:
            undone = {act["undo_of"] for act in self.acts if act.get("undo_of")}
            return [act for act in self.acts if "triplet" in act and act["batch"] not in undone]

    def verdicts(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The last standing act of every reviewer on every triplet."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for act in self.standing():
            found.setdefault(act["who"], {})[act["triplet"]] = act
        return found


class Reviews:
    """The logs and saved selections of every run under a state folder."""

    def __init__(self, home: Path) -> None:
        self.root = home / "reviews"
        self._lock = threading.RLock()
        self._logs: dict[str, RunLog] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._selections: dict[Path, tuple[int, dict[str, Any]]] = {}

    def log(self, run_id: str) -> RunLog:
        """The one log of a run."""
        with self._lock:
            if run_id not in self._logs:
                self._logs[run_id] = RunLog(self.root / run_id)
            return self._logs[run_id]

    def record(self, run_id: str, acts: list[Act]) -> list[dict[str, Any]]:
        """Append verdicts as one batch. Raises UserError where the disk refuses; then none counts."""
        try:
            return self.log(run_id).append([act.model_dump(exclude_none=True) for act in acts])
        except OSError as error:
            raise UserError(
                "review", f"it could not be written ({error.strerror}); nothing was recorded."
            ) from error

    def summary(self, run_id: str) -> dict[str, Any]:
        """Reviewers with their numbers of verdicts, how far they agree, and the newest acts first."""
        log = self.log(run_id)
        told = self._told.get(run_id)
        if told is None or told["version"] != log.version:
            told = self._told[run_id] = _summary(log)
        return told

    def save_selection(self, run_id: str, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write a selection, over one of that name; what it is, with the path of its file."""
        path = self._selection(run_id, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"run": run_id, "name": name, "created": time.time(), **content})
        return self._described(path)

    def selection(self, run_id: str, name: str) -> dict[str, Any]:
        """A saved selection. Raises UserError where there is none."""
        path = self._selection(run_id, name)
        if not path.exists():
            raise UserError(
                "selection", f"{name!r} does not exist; save it first or choose one that is saved."
            )
        return dict(read_json(path))

    def selections(self, run_id: str) -> list[dict[str, Any]]:
        """Every saved selection of a run without its triplets, newest first."""
        found = [self._described(path) for path in (self.root / run_id / SELECTIONS).glob("*.json")]
        return sorted(found, key=lambda one: one["created"], reverse=True)

    def delete_selection(self, run_id: str, name: str) -> None:
        self._selection(run_id, name).unlink(missing_ok=True)

    def _selection(self, run_id: str, name: str) -> Path:
        if not re.match(NAME, name):
            raise UserError(
                "name",
                "use up to 60 letters, digits, spaces, dots, dashes, beginning with a letter or digit.",
            )
        return self.root / run_id / SELECTIONS / f"{name}.json"

    def _described(self, path: Path) -> dict[str, Any]:
        """A selection without its triplets, read once for every state of its file."""
        changed = path.stat().st_mtime_ns
        if self._selections.get(path, (0, {}))[0] != changed:
            content = read_json(path)
            kept = {name: content.get(name) for name in ("name", "created", "query", "note")}
            self._selections[path] = (changed, {**kept, "count": len(content["triplets"]), "path": str(path)})
        return self._selections[path][1]


def _summary(log: RunLog) -> dict[str, Any]:
    version, verdicts = log.version, log.verdicts()
    undone = {act["undo_of"] for act in log.acts if act.get("undo_of")}
    counts = [
        {"who": who, **{kind: sum(act["verdict"] == kind for act in acts.values()) for kind in ("keep", "reject", "edit")}}
        for who, acts in sorted(verdicts.items())
    ]  # fmt: skip
    judged = {who: {one: act["verdict"] for one, act in acts.items()} for who, acts in verdicts.items()}
    last = [{**act, "undone": act["batch"] in undone} for act in reversed(log.acts[-SHOWN_ACTS:])]
    return {"version": version, "reviewers": counts, "agreement": agreement(judged), "acts": last}


def decisions(verdicts: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[int, dict[str, Any]]:
    """What the reviewers of every judged triplet decided together.

    `decision` is 1 where more keep (or edit) than reject, −1 the other way round, 0 where they are even: then the ranking
    decides. `edit` is the newest edit of a triplet that is kept; `right` counts an edit as a mistake of the model.
    """
    by: dict[int, list[Mapping[str, Any]]] = {}
    for acts in verdicts.values():
        for triplet, act in acts.items():
            by.setdefault(triplet, []).append(act)
    return {triplet: _decided(acts) for triplet, acts in by.items()}


def _decided(acts: list[Mapping[str, Any]]) -> dict[str, Any]:
    rejects = sum(act["verdict"] == "reject" for act in acts)
    keeps = sum(act["verdict"] == "keep" for act in acts)
    decision = (2 * rejects < len(acts)) - (2 * rejects > len(acts))
    edits = [act for act in acts if act["verdict"] == "edit"]
    newest = max(edits, key=lambda act: int(act["id"]), default=None) if decision > 0 else None
    right = None if 2 * keeps == len(acts) else float(2 * keeps > len(acts))
    return {"decision": decision, "right": right, "edit": newest, "acts": acts}


def _append(path: Path, content: bytes) -> None:
    """Write at the end of a file in one piece and flush it; after a line that was cut off, on a new line."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)
        sync(path.parent.parent)
