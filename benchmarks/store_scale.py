"""The store with 10,000 runs, 10⁹ metric points and 10⁸ feature activations: start, list, filter, compare, cards.

    python benchmarks/store_scale.py --home EMPTY_FOLDER --json out.json     # some 25 GB of disk, half an hour of two cores

Runs and points are made up (10,000 tiny label_shift records, each with `--points` logged values written by the run's own
writer); the SAE run and its cards are real (the tour), their sorted activations replaced by `--activations` made-up rows of
the same writer. Everything is asked through the client, HTTP included; times are medians and 95th percentiles of repeated
calls. `--runs`, `--points` and `--activations` make it smaller.
"""

import argparse
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from data.files import write_json
from engine import client as engine_client
from engine.activations import memory_map
from engine.client import Client
from engine.identity import code_version, find_study, identity
from engine.run import Run, write_manifest
from engine.studies.base import parse_config
from engine.tools.feature_cards.sorting import Active, SortedFile

NAMES = tuple(
    f"{kind}.{arm}" for kind in ("loss", "accuracy", "excess_nll", "kl", "norm") for arm in ("a", "b")
)
CALLS = 30


def make_runs(home: Path, n: int, points: int) -> None:
    """`n` finished runs under `home`/runs with `points` metric values each."""
    study = find_study("label_shift")
    config = parse_config(study, "tour", {}).model_dump(mode="json")
    version = code_version(study.name)
    rng = np.random.default_rng(0)
    steps = points // (2 * len(NAMES))
    grid = {
        "step": np.repeat(np.arange(steps), 2 * len(NAMES)),
        "seed": np.tile(np.repeat([0, 1], len(NAMES)), steps),
        "name": pa.DictionaryArray.from_arrays(
            np.tile(np.arange(len(NAMES), dtype=np.int32), 2 * steps), list(NAMES)
        ).cast(pa.string()),
    }
    for number in range(n):
        record = {
            "study": study.name, "config": config, "seeds": [0, 1], "data_seed": number, "fingerprint": "made up",
            "code_version": version,
        }  # fmt: skip
        run_id = identity(record)
        folder = home / "runs" / run_id
        folder.mkdir(parents=True)
        when = time.time() - n + number
        write_json(folder / "config.json", {**record, "id": run_id, "preset": "tour", "created": when})
        state = {
            "state": "done",
            "group": None,
            "created": when,
            "queued": when,
            "started": when,
            "finished": when,
        }
        write_json(folder / "state.json", {**state, "error": None})
        run = Run(folder, None)
        run.write_table("metrics", pa.table({**grid, "value": rng.standard_normal(len(grid["step"]))}))
        write_manifest(folder)
        run.end("done")


def make_activations(home: Path, job: str, rows: int, features: int) -> None:
    """Replace the sorted activations of seed 0 by `rows` made-up ones over the same features and tokens."""
    folder = home / "runs" / job
    path = folder / "tables" / "activations-seed-0.parquet"
    n_tokens = len(memory_map(folder / "tensors" / "tokens.safetensors")["token_id"])
    shares = np.random.default_rng(0).permutation(1 / np.arange(1, features + 1) ** 0.5)
    counts = np.minimum((shares / shares.sum() * rows).astype(np.int64), n_tokens)
    rng = np.random.default_rng(1)
    file = SortedFile(path)
    for feature, count in enumerate(counts.tolist()):
        mine = rng.choice(n_tokens, count, replace=False).astype(np.int32)
        values = np.sort(rng.exponential(1.0, count).astype(np.float32))[::-1]
        file.add([Active(feature, mine, np.ascontiguousarray(values))])
    file.close()
    write_manifest(folder)


def timed(call: Callable[[int], object], calls: int = CALLS) -> dict[str, float]:
    """Median, 95th percentile and maximum of a call's milliseconds, after one that is not counted."""
    call(0)
    taken = []
    for number in range(calls):
        start = time.perf_counter()
        call(number)
        taken.append(1000 * (time.perf_counter() - start))
    return {
        "median_ms": round(float(np.median(taken)), 1),
        "p95_ms": round(float(np.percentile(taken, 95)), 1),
        "max_ms": round(max(taken), 1),
    }


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return round(time.perf_counter() - start, 1)


def measure(client: Client, sae_run: str, features: int) -> dict[str, Any]:
    ids = [run["id"] for run in client.runs(study="label_shift", limit=1000)]
    rng = random.Random(0)

    def compare(_: int) -> None:
        for run_id in rng.sample(ids, 8):
            client.table(run_id, "metrics")

    return {
        "runs_first_page": timed(lambda _: client.runs(limit=100)),
        "runs_last_page": timed(lambda _: client.runs(limit=100, offset=9_800)),
        "runs_of_a_study": timed(lambda _: client.runs(study="sae_consistency", limit=100)),
        "one_run": timed(lambda _: client.run(rng.choice(ids))),
        "one_metric_of_a_run": timed(
            lambda _: client.table(rng.choice(ids), "metrics", where={"name": "loss.a"}, order="step")
        ),
        "compare_8_runs_all_metrics": timed(compare, 10),
        "card": timed(lambda _: client.card(sae_run, 0, rng.randrange(features))),
        "card_of_the_densest": timed(lambda number: client.card(sae_run, 0, number)),
        "feature_table_page": timed(
            lambda number: client.features([sae_run], order="density", offset=100 * (number % 20), limit=100)
        ),
    }


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
    os.environ["CONCORDANCE_HOME"] = str(options.home)
    options.home.mkdir(parents=True, exist_ok=True)
    client = engine_client.connect()
    sae_run = client.wait(client.submit("sae_consistency", {}, [0, 1], preset="tour")["id"])["id"]
    job = client.wait(client.submit("feature_cards", {"of": sae_run}, [0, 1])["id"])["id"]
    features = int(client.run(sae_run)["config"]["d_sae"])
    _stop(client)
    found: dict[str, Any] = {
        "runs": options.runs,
        "metric_points": options.runs * options.points,
        "feature_activations": options.activations,
        "making_runs_s": seconds(lambda: make_runs(options.home, options.runs, options.points)),
        "making_activations_s": seconds(
            lambda: make_activations(options.home, job, options.activations, features)
        ),
    }
    (options.home / "store.duckdb").unlink()
    engine_client.START_TIMEOUT = 3600
    found["start_with_rebuild_s"] = seconds(engine_client.connect)
    _stop(engine_client.connect(start=False))
    found["start_s"] = seconds(engine_client.connect)
    client = engine_client.connect(start=False)
    found["calls"] = measure(client, sae_run, features)
    tiny = {"rounds": 8, "labels": 60, "test_rows": 80, "source": "mixture", "n_classes": 4, "n_samples": 400}
    found["a_tiny_run_submitted_to_done_s"] = seconds(
        lambda: client.wait(client.submit("label_shift", tiny, [0])["id"], poll=0.05)
    )
    found["engine_memory_mb"] = round(psutil.Process(client.health()["pid"]).memory_info().rss / 1e6)
    found["database_gb"] = round((options.home / "store.duckdb").stat().st_size / 1e9, 2)
    _stop(client)
    print(found)
    if options.json:
        write_json(options.json, found)


def _stop(client: Client) -> None:
    process = psutil.Process(client.health()["pid"])
    client.shutdown()
    process.wait(60)


if __name__ == "__main__":
    main()
