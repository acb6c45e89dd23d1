"""Reading events.jsonl by byte cursor, and thinning what a page gets."""

import os
from pathlib import Path
from typing import Any

from pydantic_core import from_json

NEEDED = {
    "log": ("step", "seed"),
    "progress": ("done", "total", "stage", "eta_s"),
    "state": ("state",),
}


def read_events(path: Path, cursor: int) -> tuple[list[dict[str, Any]], int]:
    """Complete lines after byte `cursor` and the next cursor; a torn, damaged or foreign line is skipped."""
    if not path.exists():
        return [], cursor
    with path.open("rb") as file:
        cursor = min(cursor, file.seek(0, os.SEEK_END))
        file.seek(cursor)
        data = file.read()
    complete = data[: data.rfind(b"\n") + 1]
    rows = []
    for line in complete.splitlines():
        try:
            row = from_json(line)
        except ValueError:
            continue
        if _is_event(row):
            rows.append(row)
    return rows, cursor + len(complete)


def _is_event(row: Any) -> bool:
    """Whether a line says when, of what kind, and what everyone who reads this kind asks for."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("t"), int | float)
        and isinstance(row.get("kind"), str)
        and all(name in row for name in NEEDED.get(row["kind"], ()))
    )


def thin(rows: list[dict[str, Any]], max_points: int) -> list[dict[str, Any]]:
    """At most about `max_points` log rows, evenly spaced within each seed, its last row kept; of progress only the last."""
    logs = [row for row in rows if row["kind"] == "log"]
    others = [row for row in rows if row["kind"] not in ("log", "progress")]
    progress = [row for row in rows if row["kind"] == "progress"][-1:]
    stride = -(-len(logs) // max(1, max_points))
    if stride > 1:
        by_seed: dict[tuple[int | None, tuple[str, ...]], list[dict[str, Any]]] = {}
        for row in logs:
            by_seed.setdefault((row["seed"], tuple(row)), []).append(row)
        logs = [row for group in by_seed.values() for row in group[:-1][::stride] + group[-1:]]
    return sorted(logs + others + progress, key=lambda row: row["t"])
