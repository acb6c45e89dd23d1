"""What people say of features: labels, notes and lists, kept in `library.json` and loaded into the store."""

import time
from pathlib import Path
from threading import RLock
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from data.files import read_json, write_json
from engine.database import LIBRARY
from engine.errors import UserError
from engine.store import Store

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Run = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
YOURS = "yours"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: Run
    seed: Seed
    feature: Seed

    @property
    def key(self) -> tuple[Any, ...]:
        return self.run, self.seed, self.feature


class Label(_Row):
    """A feature's label and note; `source` is "yours" or the model that wrote the label; `updated` in epoch seconds."""

    label: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    source: Annotated[str, StringConstraints(max_length=80)] = YOURS
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)] = ""
    updated: float = 0.0


class Listed(_Row):
    """A feature's place in a list; `added` in epoch seconds."""

    name: Name
    added: float = 0.0

    @property
    def key(self) -> tuple[Any, ...]:
        return self.name, *super().key


class Document(BaseModel):
    """The whole library, as it is exported and imported."""

    model_config = ConfigDict(extra="forbid")

    labels: list[Label] = Field(default_factory=list, max_length=200_000)
    lists: list[Listed] = Field(default_factory=list, max_length=200_000)


class Library:
    """Every change is on disk, atomically, before the store learns of it."""

    def __init__(self, home: Path, store: Store) -> None:
        self.path, self.store = home / LIBRARY, store
        self._lock = RLock()
        found = self._read()
        self._labels = {row.key: row for row in found.labels}
        self._lists = {row.key: row for row in found.lists}

    def _read(self) -> Document:
        """What is on disk; a damaged file is put aside, never written over."""
        if not self.path.exists():
            return Document()
        try:
            return Document(**read_json(self.path))
        except (ValueError, TypeError):
            self.path.rename(self.path.with_name(f"{LIBRARY}.damaged-{int(time.time())}"))
            return Document()

    def document(self) -> dict[str, Any]:
        with self._lock:
            return {
                "labels": [row.model_dump() for row in self._labels.values()],
                "lists": [row.model_dump() for row in self._lists.values()],
            }

    def set_labels(self, rows: list[Label]) -> None:
        """Put labels and notes; a row with neither is removed."""
        with self._lock:
            for row in rows:
                self._labels.pop(row.key, None)
                if row.label or row.note:
                    self._labels[row.key] = row.model_copy(update={"updated": time.time()})
            self._save()

    def suggest(self, rows: list[Label]) -> None:
        """Put automatic labels where nobody wrote one; notes stay."""
        with self._lock:
            new = []
            for row in rows:
                old = self._labels.get(row.key)
                if old is None or not old.label or old.source != YOURS:
                    new.append(row.model_copy(update={"note": old.note if old else ""}))
            self.set_labels(new)

    def change_list(self, name: str, add: list[Listed], remove: list[Listed]) -> None:
        """Add features to a list, made if it is new, and remove others; an empty list is gone."""
        with self._lock:
            for row in remove:
                self._lists.pop((name, *row.key[1:]), None)
            for row in add:
                self._lists.setdefault(
                    (name, *row.key[1:]), row.model_copy(update={"name": name, "added": time.time()})
                )
            self._save()

    def delete_list(self, name: str) -> None:
        with self._lock:
            self._lists = {key: row for key, row in self._lists.items() if row.name != name}
            self._save()

    def merge(self, content: dict[str, Any]) -> dict[str, int]:
        """Take in an exported document: the newer of two labels stays, lists are joined. Raises UserError."""
        try:
            found = Document(**content)
        except (ValidationError, TypeError) as error:
            raise UserError("library", _sentence(error)) from None
        with self._lock:
            newer = [
                row
                for row in found.labels
                if row.key not in self._labels or self._labels[row.key].updated < row.updated
            ]
            added = [row for row in found.lists if row.key not in self._lists]
            self._labels |= {row.key: row for row in newer}
            self._lists |= {row.key: row for row in added}
            self._save()
        return {"labels": len(newer), "lists": len(added)}

    def _save(self) -> None:
        write_json(self.path, self.document())
        self.store.load_library()


def _sentence(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "it is not a JSON object with labels and lists; choose a file that Concordance exported."
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the file'}: {first['msg']}; choose a file that Concordance exported."
