"""A run as the scheduler knows it."""

from pathlib import Path
from typing import Any

from engine.events import read_events


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
