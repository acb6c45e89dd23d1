"""The store with 10,000 runs, 10⁹ metric points and 10⁸ feature activations: start, list, filter, compare, SQL, cards.

    python benchmarks/store_scale.py --home FOLDER --json out.json     # some 25 GB of disk, an hour or more of two cores

Runs and points are made up: tiny label_shift records, each with `--points` logged values written by the run's own writer, and one
failed run without any for every fifty. The SAE run and its cards are real (the tour); seed 0's sorted activations are replaced by
`--activations` made-up rows of the same writer, on the tour's tokens repeated until each of them has `k` active features. The
sizes told are those found in the store and the files afterwards. Everything is asked through the client, HTTP included, and each
median held against a budget; one that is missed makes the exit status 1. Killed and called again with the same folder, it goes on.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from data.files import read_json, write_json
from engine import client as engine_client
from engine.activations import memory_map
from engine.cli_progress import follow
from engine.client import Client
from engine.identity import code_version, find_study, identity
from engine.run import Run, write_manifest
from engine.sql_api import SECONDS as SQL_SECONDS
from engine.studies.base import parse_config
from engine.tools.feature_cards.sorting import Active, SortedFile
from engine.transport import EngineDown, EngineError

NAMES = tuple(
    f"{kind}.{arm}" for kind in ("loss", "accuracy", "excess_nll", "kl", "norm") for arm in ("a", "b")
)
CALLS, SLOW_CALLS = 30, 5
DONE_PER_FAILED = 50
SHOWN_EVERY = 10.0  # seconds
PATIENCE = 4 * 3600.0
NOTES, DATABASE = "store_scale.json", "store.duckdb"
MEAN = "SELECT name, avg(value) AS mean FROM metrics {} GROUP BY name"


@dataclass(frozen=True)
class Budget:
    """What a median may take, and what the design says it of."""

    name: str
    ms: float


CARD = Budget("card", 100)
TABLE_PAGE = Budget("table page", 150)
PAGE = Budget("page", 300)
SELECTION = Budget("selection to redraw", 500)
SQL = Budget("time limit of SQL", 1000 * SQL_SECONDS)
START = Budget("patience of connect()", 1000 * engine_client.START_TIMEOUT)


def once(notes: Path, name: str, action: Callable[[], Any]) -> Any:
    """What `action` returned in this call or an earlier one."""
    known = read_json(notes) if notes.exists() else {}
    if name not in known:
        known[name] = action()
        write_json(notes, known)
    return known[name]


def progress(stage: str, total: int) -> Callable[[int], None]:
    """Prints now and then how much of a stage is done and what remains."""
    start = shown = time.monotonic()

    def show(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done and now - shown > SHOWN_EVERY:
            shown = now
            left = (now - start) / done * (total - done) / 60
            print(f"{stage}: {done:,} of {total:,}, {left:.1f} min left", flush=True)

    return show


def train_sae() -> dict[str, Any]:
    """The real part: the tour and its cards, but for what the model would be asked about them."""
    client, quiet = engine_client.connect(), not sys.stderr.isatty()
    run = follow(client, client.submit("sae_consistency", {}, [0, 1], preset="tour")["id"], quiet=quiet)
    config = {"of": run["id"], "checks_tokens": 0, "probe_documents": 0}
    cards = follow(client, client.submit("feature_cards", config, [0, 1])["id"], quiet=quiet)
    for ended in (run, cards):
        if ended["state"] != "done":
            sys.exit(f"run {ended['id']} is {ended['state']}: {ended['error']}")
    _stop(client)
    return {
        "run": run["id"],
        "cards": cards["id"],
        "features": run["config"]["d_sae"],
        "k": run["config"]["k"],
    }


def record_of_runs() -> dict[str, Any]:
    study = find_study("label_shift")
    config = parse_config(study, "tour", {}).model_dump(mode="json")
    version = code_version(study.name)
    return {
        "study": study.name, "config": config, "seeds": [0, 1], "fingerprint": "made up", "code_version": version,
    }  # fmt: skip


def make_runs(home: Path, n: int, points: int, record: dict[str, Any]) -> int:
    """Those that are not there yet of `n` finished runs with `points` metric values each, and the failed ones."""
    rng = np.random.default_rng(0)
    steps = points // (2 * len(NAMES))
    grid = {
        "step": np.repeat(np.arange(steps), 2 * len(NAMES)),
        "seed": np.tile(np.repeat([0, 1], len(NAMES)), steps),
        "name": pa.DictionaryArray.from_arrays(
            np.tile(np.arange(len(NAMES), dtype=np.int32), 2 * steps), list(NAMES)
        ).cast(pa.string()),
    }
    total = n + n // DONE_PER_FAILED
    ids = [identity({**record, "data_seed": number}) for number in range(total)]
    missing = [
        number for number in range(total) if not (home / "runs" / ids[number] / "manifest.json").exists()
    ]
    show = progress("making runs", len(missing))
    for done, number in enumerate(missing):
        show(done)
        folder = home / "runs" / ids[number]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        when = time.time() - total + number
        own = {"data_seed": number, "id": ids[number], "preset": "tour", "created": when}
        write_json(folder / "config.json", {**record, **own})
        failed = number % (DONE_PER_FAILED + 1) == DONE_PER_FAILED
        state, error = ("failed", "made up") if failed else ("done", None)
        times = dict.fromkeys(("created", "queued", "started", "finished"), when)
        write_json(folder / "state.json", {"state": state, "group": None, "error": error, **times})
        run = Run(folder, None)
        if not failed:
            run.write_table("metrics", pa.table({**grid, "value": rng.standard_normal(len(grid["step"]))}))
        run.end(state, error)
        write_manifest(folder)
    return len(missing)


def make_activations(folder: Path, rows: int, features: int, k: int) -> int:
    """Replace the sorted activations of seed 0 of a cards run by `rows` made-up ones; feature 0 is the densest."""
    path = folder / "tensors" / "tokens.safetensors"
    tokens = dict(memory_map(path))
    copies = -(-rows // (k * len(tokens["kept"])))
    if copies > 1:
        tokens = {name: np.tile(values, copies) for name, values in tokens.items()}
        save_file(tokens, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
    places = np.flatnonzero(tokens["kept"]).astype(np.int32)
    about = {"n_tokens": len(tokens["kept"]), "n_kept": len(places)}
    write_json(path.with_name("cards.json"), {**read_json(path.with_name("cards.json")), **about})
    shares = 1 / np.arange(1, features + 1) ** 0.5
    ends = np.round(np.cumsum(shares) / shares.sum() * rows).astype(np.int64)
    rng = np.random.default_rng(1)
    file = SortedFile(folder / "tables" / "activations-seed-0.parquet")
    show = progress("making activations", rows)
    for feature, (start, end) in enumerate(zip(np.append(0, ends), ends, strict=False)):
        show(int(start))
        mine = rng.choice(places, end - start, replace=False)
        values = np.sort(rng.exponential(1.0, end - start).astype(np.float32))[::-1]
        file.add([Active(feature, mine, np.ascontiguousarray(values))])
    file.close()
    write_manifest(folder)
    return rows_of(folder / "tables" / "activations-seed-0.parquet")


def rows_of(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def rebuild(home: Path) -> None:
    """Start an engine that finds run directories and no database."""
    for path in home.glob(f"{DATABASE}*"):
        path.unlink()
    loaded = threading.Event()
    threading.Thread(target=_show_loading, args=(home.resolve() / "runs", loaded), daemon=True).start()
    try:
        engine_client.connect()
    finally:
        loaded.set()


def _show_loading(runs: Path, loaded: threading.Event) -> None:
    """How far the engine is, by the run whose Parquet it has open; it takes them in the order of their names."""
    names = sorted(path.name for path in runs.iterdir())
    show = progress("loading runs into the store", len(names))
    while not loaded.wait(0.5):
        with suppress(psutil.Error):
            opened = [Path(file.path) for child in psutil.Process().children() for file in child.open_files()]
            for path in opened:
                if runs in path.parents:
                    show(names.index(path.relative_to(runs).parts[0]))


def judged(taken: Sequence[float], budget: Budget) -> dict[str, Any]:
    """Median, 95th percentile and maximum of some milliseconds, and whether the median is within a budget."""
    median = float(np.median(taken))
    return {
        "median_ms": round(median, 1),
        "p95_ms": round(float(np.percentile(taken, 95)), 1),
        "max_ms": round(max(taken), 1),
        "budget": budget.name,
        "budget_ms": budget.ms,
        "within": median <= budget.ms,
    }


def timed(call: Callable[[int], object], budget: Budget, calls: int) -> dict[str, Any]:
    """As `judged`, of calls after one that is not counted; a refusal is a miss."""
    taken = []
    try:
        for number in range(calls + 1):
            start = time.perf_counter()
            call(number)
            taken.append(1000 * (time.perf_counter() - start))
    except EngineError as error:
        return {"refused": error.message, "budget": budget.name, "budget_ms": budget.ms, "within": False}
    return judged(taken[1:], budget)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return round(time.perf_counter() - start, 1)


def line(name: str, row: dict[str, Any]) -> str:
    took = row.get("refused") or "median {median_ms:,} ms, 95 % {p95_ms:,}, most {max_ms:,}".format(**row)
    verdict = "within" if row["within"] else "MISSES"
    return f"{name:30} {took}; {verdict} {row['budget']} ≤ {row['budget_ms']:,.0f} ms"


def measure(client: Client, home: Path, sae: dict[str, Any], total: int) -> dict[str, dict[str, Any]]:
    """Every call, printed as it is made."""
    found = (path.parts[-3] for path in (home / "runs").glob("*/tables/metrics.parquet"))
    ids = sorted(set(found) - {sae["run"], sae["cards"]})
    rng = random.Random(0)
    some = min(len(ids), 100)

    def page(size: int, last: bool = False, **only: str) -> Callable[[int], object]:
        return lambda _: client.runs(limit=size, offset=max(total - size, 0) if last else 0, **only)

    def sql(condition: Callable[[], str]) -> Callable[[int], object]:
        return lambda _: client.sql(MEAN.format(condition()))

    def chosen() -> str:
        return ", ".join(f"'{run_id}'" for run_id in rng.sample(ids, some))

    def compare(_: int) -> None:
        for run_id in rng.sample(ids, min(len(ids), 8)):
            client.table(run_id, "metrics")

    calls: dict[str, tuple[Callable[[int], object], Budget, int]] = {
        "100 runs, first page": (page(100), TABLE_PAGE, CALLS),
        "100 runs, last page": (page(100, last=True), TABLE_PAGE, CALLS),
        "1,000 runs, first page": (page(1000), PAGE, CALLS),
        "1,000 runs, last page": (page(1000, last=True), PAGE, CALLS),
        "100 runs of a study": (page(100, study="label_shift"), TABLE_PAGE, CALLS),
        "runs of a rare study": (page(100, study="sae_consistency"), TABLE_PAGE, CALLS),
        "100 runs done": (page(100, state="done"), TABLE_PAGE, CALLS),
        "100 runs failed": (page(100, state="failed"), TABLE_PAGE, CALLS),
        "one run": (lambda _: client.run(rng.choice(ids)), PAGE, CALLS),
        "one metric of a run": (
            lambda _: client.table(rng.choice(ids), "metrics", where={"name": "loss.a"}, order="step"),
            SELECTION,
            CALLS,
        ),
        "all metrics of 8 runs": (compare, SELECTION, SLOW_CALLS),
        "card": (lambda _: client.card(sae["run"], 0, rng.randrange(sae["features"])), CARD, CALLS),
        "card of the densest": (lambda number: client.card(sae["run"], 0, number), CARD, CALLS),
        "feature table, 100 features": (
            lambda n: client.features([sae["run"]], order="density", offset=100 * (n % 20), limit=100),
            TABLE_PAGE,
            CALLS,
        ),
        "SQL, a mean over one run": (sql(lambda: f"WHERE run_id = '{rng.choice(ids)}'"), SQL, SLOW_CALLS),
        f"SQL, a mean over {some} runs": (sql(lambda: f"WHERE run_id IN ({chosen()})"), SQL, SLOW_CALLS),
        "SQL, a mean over all runs": (sql(str), SQL, SLOW_CALLS),
    }
    rows = {}
    for name, call in calls.items():
        rows[name] = timed(*call)
        print(line(name, rows[name]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--activations", type=int, default=100_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    home, notes = options.home, options.home / NOTES
    os.environ["CONCORDANCE_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    sizes = {"runs": options.runs, "points": options.points, "activations": options.activations}
    if (made := once(notes, "sizes", lambda: sizes)) != sizes:
        parser.error(f"--home was made with {made}; give the same sizes or an empty folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    engine_client.START_TIMEOUT = PATIENCE
    try:
        with suppress(EngineDown):
            _stop(engine_client.connect(start=False))
        found = run(home, notes, options)
    finally:
        for child in psutil.Process().children():  # an engine, where this is ended before it stopped it
            child.terminate()
    if options.json:
        write_json(options.json, found)
    missed = [name for name, row in found["calls"].items() if not row["within"]]
    print(f"{len(found['calls']) - len(missed)} of {len(found['calls'])} within their budgets")
    sys.exit(f"missed: {'; '.join(missed)}" if missed else 0)


def run(home: Path, notes: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing, then measure."""
    sae = once(notes, "sae", train_sae)
    record = once(notes, "record", record_of_runs)
    once(notes, "runs", lambda: make_runs(home, options.runs, options.points, record))
    folder = home / "runs" / sae["cards"]
    once(
        notes,
        "activations",
        lambda: make_activations(folder, options.activations, sae["features"], sae["k"]),
    )
    found = {
        "start_with_rebuild_s": once(notes, "start_with_rebuild_s", lambda: seconds(lambda: rebuild(home)))
    }
    with suppress(EngineDown):
        _stop(engine_client.connect(start=False))
    start = seconds(engine_client.connect)
    client = engine_client.connect(start=False)
    stored = {table["table"]: table["rows"] for table in client.sql_tables()}
    found |= {
        "runs": stored["runs"],
        "metric_points": stored["metrics"],
        "feature_activations": rows_of(folder / "tables" / "activations-seed-0.parquet"),
        "database_gb": round((home / DATABASE).stat().st_size / 1e9, 2),
    }
    print(found, flush=True)
    row = judged([1000 * start], START)
    print(line("start", row), flush=True)
    found["calls"] = {"start": row, **measure(client, home, sae, stored["runs"])}
    tiny = {
        "source": "mixture", "n_classes": 4, "n_samples": 400, "labels": 60, "test_rows": 80, "rounds": 8, "decisions": 4,
    }  # fmt: skip
    submitted = int(time.time())  # a data seed that no earlier call had
    found["a_tiny_run_submitted_to_done_s"] = seconds(
        lambda: client.wait(client.submit("label_shift", tiny, [0], data_seed=submitted)["id"], poll=0.05)
    )
    found["engine_memory_mb"] = round(psutil.Process(client.health()["pid"]).memory_info().rss / 1e6)
    print({name: found[name] for name in ("a_tiny_run_submitted_to_done_s", "engine_memory_mb")})
    _stop(client)
    return found


def _stop(client: Client) -> None:
    process = psutil.Process(client.health()["pid"])
    client.shutdown()
    process.wait(600)


if __name__ == "__main__":
    main()
