"""Training a finished run once more, apart from it, and saying whether bytes or figures agree."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.files import read_json, write_json
from engine.environments import interpreter
from engine.errors import UserError
from engine.events import read_events
from engine.executors import LocalExecutor, gpus_for
from engine.identity import code_version, environment_of

TOLERANCE = 1e-3
POLL = 0.3


@dataclass(frozen=True)
class Reproduction:
    """How a second training compares with the first.

    `verdict` is "bytes" where every file has the same bytes, "figures" where every number of every table agrees to
    `TOLERANCE` of its column's largest magnitude and all else is equal, and "differs" otherwise. `largest` is the largest
    such relative difference and `where` its table and column; `same_code` whether the code is that of the first training.
    """

    run: str
    verdict: str
    files: int
    different: list[str]
    largest: float
    where: str
    same_code: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def reproduce(home: Path, run_id: str, follow: Callable[[dict[str, Any]], None]) -> Reproduction:
    """Train run `run_id` of the state folder `home` again under `reproductions/` and compare; `follow` gets progress rows.

    Activations that exist already are read, not collected again. A second call goes on from the last checkpoint of one that
    was stopped. Raises UserError where there is no such finished run, or where training fails.
    """
    first = home / "runs" / run_id
    if not (first / "manifest.json").exists():
        raise UserError("run", f"{run_id} is not a finished run here; `concordance runs` lists them.")
    second = home / "reproductions" / run_id
    if (second / "manifest.json").exists():
        shutil.rmtree(second)
    second.mkdir(parents=True, exist_ok=True)
    record = read_json(first / "config.json")
    write_json(second / "config.json", record)
    _train(second, record, follow)
    found = compare(first, second)
    same = code_version(record["study"]) == record["code_version"]
    return Reproduction(run_id, *found, same)


def _train(directory: Path, record: dict[str, Any], follow: Callable[[dict[str, Any]], None]) -> None:
    name = environment_of(record)
    events = directory / "events.jsonl"
    cursor = events.stat().st_size if events.exists() else 0
    executor = LocalExecutor()
    worker = executor.start([directory], list(range(gpus_for(record))), interpreter(name) if name else None)
    outcome: dict[str, Any] = {}
    try:
        alive = True
        while alive:
            time.sleep(POLL)
            alive = executor.alive(worker)
            rows, cursor = read_events(events, cursor)
            for row in rows:
                if row["kind"] == "progress":
                    follow(row)
                elif row["kind"] == "state":
                    outcome = row
    except BaseException:
        executor.stop(worker, force=False)
        while executor.alive(worker):
            time.sleep(POLL)
        raise
    if outcome.get("state") != "done":
        raise UserError(
            "run", outcome.get("error") or f"its worker died; its output is in {directory / 'worker.log'}."
        )


def compare(first: Path, second: Path) -> tuple[str, int, list[str], float, str]:
    """(verdict, number of files, names that differ, largest relative difference, its table and column) of two run directories."""
    mine, its = read_json(first / "manifest.json"), read_json(second / "manifest.json")
    different = sorted(name for name in {*mine, *its} if mine.get(name) != its.get(name))
    if not different:
        return "bytes", len(mine), [], 0.0, ""
    if set(mine) != set(its):
        return "differs", len(mine), different, float("inf"), min(set(mine) ^ set(its))
    gaps = [(0.0, "")]
    for name in different:
        if name.endswith(".parquet"):
            gaps.append(
                table_difference(pq.read_table(first / name), pq.read_table(second / name), Path(name).stem)
            )
    largest, where = max(gaps)
    return ("figures" if largest <= TOLERANCE else "differs"), len(mine), different, largest, where


def table_difference(first: pa.Table, second: pa.Table, name: str) -> tuple[float, str]:
    """The largest |a − b| of a number column over that column's largest |a|, and where; infinite where all else differs."""
    if first.num_rows != second.num_rows or first.schema != second.schema:
        return float("inf"), f"{name}: rows or columns"
    worst = (0.0, name)
    for column in first.column_names:
        a, b = first[column], second[column]
        if a.equals(b):
            continue
        where = f"{name}.{column}"
        if not pa.types.is_floating(a.type) or not pc.is_null(a, nan_is_null=True).equals(
            pc.is_null(b, nan_is_null=True)
        ):
            return float("inf"), where
        scale = pc.max(pc.abs(a)).as_py() or 0.0
        gap = pc.max(pc.abs(pc.subtract(a, b))).as_py() or 0.0
        worst = max(worst, (gap / scale if scale else (float("inf") if gap else 0.0), where))
    return worst
