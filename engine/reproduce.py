"""Training a finished run once more, apart from it, and saying whether bytes or figures agree."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.files import read_json, write_json
from engine.environments import interpreter
from engine.errors import UserError
from engine.events import read_events
from engine.executors import LocalExecutor, gpus_for
from engine.identity import RUN_ID, code_version, environment_of

TOLERANCE = 1e-3
POLL = 0.3

Difference = tuple[float, str]
EQUAL: Difference = (0.0, "")


@dataclass(frozen=True)
class Comparison:
    """How the results of a second training compare with those of the first.

    `verdict` is "bytes" where every file has the same bytes, "figures" where every number of every table agrees to
    `TOLERANCE` of its column's largest finite magnitude and all else in the tables is equal, and "differs" otherwise.
    `largest` is the largest such relative difference and `where` its table and column. `weights` and `weights_where` say
    the same of the tensors in safetensors files, which do not touch the verdict. What does not differ has an empty place.
    """

    verdict: str
    files: int
    different: list[str]
    largest: float
    where: str
    weights: float
    weights_where: str


@dataclass(frozen=True)
class Reproduction(Comparison):
    """The comparison for run `run`; `same_code` says whether the code is that of the first training."""

    run: str
    same_code: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def sentence(self) -> str:
        code = "the same code" if self.same_code else "other code than the first training"
        if self.verdict == "bytes":
            return f"All {self.files} files have the same bytes ({code})."
        agree = "every figure agrees" if self.verdict == "figures" else "the figures do not agree"
        figures, weights = "no figure differs", "no weight differs"
        if self.where:
            figures = f"largest relative difference {self.largest:.1e}, {self.where}"
        if self.weights_where:
            weights = f"weights differ by up to {self.weights:.1e}, {self.weights_where}"
        return (
            f"{len(self.different)} of {self.files} files differ in bytes; {agree} to {TOLERANCE:g} "
            f"({figures}; {weights}; {code})."
        )


def reproduce(home: Path, run_id: str, follow: Callable[[dict[str, Any]], None]) -> Reproduction:
    """Train run `run_id` of the state folder `home` again under `reproductions/` and compare; `follow` gets progress rows.

    Activations that exist already are read, not collected again. A second call goes on from the last checkpoint of one that
    was stopped. Raises UserError where there is no such finished run, or where training fails.
    """
    if not RUN_ID.fullmatch(run_id):
        raise UserError("run", f"{run_id!r} is not a run's id; `concordance runs` lists them.")
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
    same_code = code_version(record["study"]) == record["code_version"]
    return Reproduction(**asdict(compare(first, second)), run=run_id, same_code=same_code)


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


def compare(first: Path, second: Path) -> Comparison:
    """Compare the results of two finished run directories."""
    mine, its = read_json(first / "manifest.json"), read_json(second / "manifest.json")
    files = {*mine, *its}
    different = sorted(name for name in files if mine.get(name) != its.get(name))
    lone = set(mine) ^ set(its)
    tables = [(inf, f"{min(lone)}: in one of the two only")] if lone else [EQUAL]
    weights = [EQUAL]
    for name in set(different) - lone:
        a, b = first / name, second / name
        if name.endswith(".parquet"):
            tables.append(table_difference(pq.read_table(a), pq.read_table(b), Path(name).stem))
        elif name.endswith(".safetensors"):
            weights.append(weights_difference(a, b, name))
    verdict = "bytes" if not different else "figures" if max(tables)[0] <= TOLERANCE else "differs"
    return Comparison(verdict, len(files), different, *max(tables), *max(weights))


def table_difference(first: pa.Table, second: pa.Table, name: str) -> Difference:
    """The largest relative gap of a column of fractions, and where; infinite where anything else differs."""
    if first.num_rows != second.num_rows or first.schema != second.schema:
        return inf, f"{name}: rows or columns"
    worst = EQUAL
    for column in first.column_names:
        a, b = first[column], second[column]
        if a.equals(b):
            continue
        gap = relative_gap(a.to_numpy(), b.to_numpy()) if pa.types.is_floating(a.type) else inf
        if gap > worst[0]:
            worst = gap, f"{name}.{column}"
    return worst


def weights_difference(first: Path, second: Path, name: str) -> Difference:
    """The largest relative gap of a tensor of two safetensors files, and where; infinite where names or shapes differ."""
    from safetensors import safe_open

    worst = EQUAL
    with safe_open(first, "pt") as mine, safe_open(second, "pt") as its:
        names = sorted(mine.keys())
        if names != sorted(its.keys()):
            return inf, f"{name}: names of tensors"
        for key in names:
            a, b = (file.get_tensor(key).double().numpy() for file in (mine, its))
            gap = relative_gap(a, b) if a.shape == b.shape else inf
            if gap > worst[0]:
                worst = gap, f"{key} of {name}"
    return worst


def relative_gap(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The largest |a − b| over the largest finite |a|; infinite where that is no number.

    Equal infinities are no gap, nor are two NaNs.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
    if not differs.any():
        return 0.0
    gap = float(np.abs(a[differs] - b[differs]).max())
    scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
    return gap / scale if isfinite(gap) and scale else inf
