"""A run as the scheduler knows it."""

from pathlib import Path
from typing import Any

from data.files import write_json
from engine.errors import UserError
from engine.events import read_events
from engine.identity import command, identity

BESIDE = ("id", "preset", "created")  # what of a record does not make the run the run it is


class Entry:
    """A run the scheduler knows: its immutable record, its state and how far its events are read."""

    def __init__(self, directory: Path, record: dict[str, Any], state: dict[str, Any]) -> None:
        self.directory, self.record, self.state = directory, record, state
        self.progress: dict[str, Any] | None = None
        self.cursor = 0
        self.outcome: dict[str, Any] | None = None
        self.kill_at: float | None = None

    @property
    def worker(self) -> tuple[Any, ...]:
        """What tells the worker of a running run from others."""
        return self.state.get("pid"), self.state.get("born"), self.state.get("actor")

    def _is_as_made(self) -> bool:
        return identity({k: v for k, v in self.record.items() if k not in BESIDE}) == self.record["id"]

    def require_record(self) -> None:
        """Raises UserError where config.json is not what the run was made of."""
        if not self._is_as_made():
            raise UserError("run", "its config.json was changed after it was made; launch it again to go on.")

    def restore_record(self, record: dict[str, Any]) -> None:
        """Write a damaged config.json anew, from a request for the same run."""
        if not self._is_as_made():
            write_json(self.directory / "config.json", record)
            self.record = record

    def shown(self, queue_place: int | None) -> dict[str, Any]:
        """The run as the API shows it."""
        return {
            **{key: value for key, value in self.record.items() if key != "created"},
            **{key: self.state[key] for key in ("state", "created", "started", "finished", "error")},
            "group": self.state.get("group"),
            "stopping": self.kill_at is not None,
            "progress": self.progress if self.state["state"] == "running" else None,
            "queue_place": queue_place,
            "command": command(self.record),
        }

    def skip_events(self) -> None:
        """Forget the events of earlier attempts."""
        events = self.directory / "events.jsonl"
        self.cursor = events.stat().st_size if events.exists() else 0
        self.outcome, self.progress = None, None

    def read(self) -> None:
        rows, self.cursor = read_events(self.directory / "events.jsonl", self.cursor)
        for row in rows:
            if row["kind"] == "progress":
                self.progress = {key: row[key] for key in ("done", "total", "stage", "eta_s")}
            elif row["kind"] == "state":
                self.outcome = None if row["state"] == "running" else row
