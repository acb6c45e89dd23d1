"""The map of features: time of its job by stage, and of the page in Chromium from address to picture and lasso to table.

Trains three-seed SAEs of a synthetic world for a few steps, only to have dictionaries of the asked size, unless `--home`
and `--runs` name finished runs. Page times: `first_paint`, from the address in a fresh browser to the drawn canvas;
`lasso_heading`, from letting the mouse go to the number of features on the page; `lasso_table`, to the last byte of the table.

    python benchmarks/map.py --features 6912 24576
    python benchmarks/map.py --home STATE_FOLDER --runs ID,ID --json out.json
"""

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from engine import client as engine_client

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
SEEDS = [0, 1, 2]
LASSOS = ((0.5, 0.15), (0.45, 0.2), (0.55, 0.1), (0.5, 0.4))  # centre (share of the width), radius
WORLD = {
    "source": "synthetic", "d_in": 576, "n_true_features": 1000, "true_sparsity": 4, "n_samples": 4000, "k": 8,
    "n_steps": 20, "batch_size": 256, "n_match_points": 2,
}  # fmt: skip


def train(client: engine_client.Client, features: int) -> str:
    """A run with that many features over its three seeds."""
    config = {**WORLD, "d_sae": features // len(SEEDS)}
    run = client.wait(client.submit("sae_consistency", config, SEEDS)["id"])
    assert run["state"] == "done", run["error"]
    return run["id"]


def measure_job(client: engine_client.Client, runs: list[str], seed: int) -> dict[str, Any]:
    """Seconds of a map job, from request to done, by stage."""
    started = time.time()
    job = client.make_map(runs, seed=seed)
    job = client.wait(job["id"])
    assert job["state"] == "done", job["error"]
    log = Path(os.environ["CONCORDANCE_HOME"]) / "runs" / job["id"] / "events.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    marks = [(row["t"], row["stage"].split(" (")[0]) for row in rows if row["kind"] == "progress"]
    ends = [t for t, _ in marks[1:]] + [job["finished"]]
    stages: dict[str, float] = {}
    for (t, stage), end in zip(marks, ends, strict=True):
        stages[stage] = stages.get(stage, 0.0) + end - t
    points = client.table(job["id"], "map_points").num_rows
    total = job["finished"] - started
    return {
        "points": points,
        "seconds": round(total, 1),
        **{name: round(s, 1) for name, s in stages.items()},
    }


def circle(page: Page, centre: float, radius: float) -> None:
    """Drag a lasso around the middle of the picture, up to letting the mouse go."""
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] * centre, box["y"] + box["height"] / 2
    r = min(box["width"], box["height"]) * radius
    page.mouse.move(x + r, y)
    page.mouse.down()
    for i in range(1, 40):
        angle = 2 * math.pi * i / 40
        page.mouse.move(x + r * math.cos(angle), y + r * math.sin(angle))


def measure_page(page: Page, address: str) -> dict[str, Any]:
    frames: list[tuple[float, int]] = []
    page.on(
        "websocket",
        lambda ws: ws.on("framereceived", lambda data: frames.append((time.perf_counter(), len(data)))),
    )
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(".js-plotly-plot .gl-canvas", timeout=90_000)
    page.locator("[data-testid=stDataFrame]").first.wait_for(timeout=60_000)
    found: dict[str, Any] = {"first_paint": round(time.perf_counter() - started, 2)}
    found["figure_bytes"] = max(size for _, size in frames)
    page.wait_for_timeout(4000)
    lassos = []
    for centre, radius in LASSOS:
        before = page.locator("h3").all_inner_texts()
        circle(page, centre, radius)
        frames.clear()
        started = time.perf_counter()
        page.mouse.up()
        page.wait_for_function(
            "b => { const h = document.querySelector('h3'); return h && h.innerText.includes('inside') && h.innerText !== b }",
            arg=before[0] if before else "",
            polling=20,
        )
        heading = time.perf_counter() - started
        page.wait_for_timeout(2500)
        last = max(t for t, _ in frames) - started
        words = page.locator("h3").first.inner_text().split()[0]
        lassos.append({"features": words, "lasso_heading": round(heading, 2), "lasso_table": round(last, 2)})
    return {**found, "lassos": lassos, "link_length": len(page.url)}


def serve(home: str) -> tuple[subprocess.Popen[str], str]:
    """The app and its engine on a state folder; the process and the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ["CONCORDANCE_HOME"] = home
    command = [sys.executable, "-m", "engine.cli", "up", "--no-browser", "--port", str(port)]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    if not any(f"http://127.0.0.1:{port}" in line for line in iter(up.stdout.readline, "")):
        sys.exit("The app did not start.")
    return up, f"http://127.0.0.1:{port}"


def measure(home: str, sizes: list[int], runs: list[str]) -> list[dict[str, Any]]:
    up, address = serve(home)
    results = []
    try:
        client = engine_client.connect(start=False)
        for chosen in [runs] if runs else [[train(client, size)] for size in sizes]:
            load = os.getloadavg()[0]
            first, second = (measure_job(client, chosen, seed) for seed in (0, 1))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport={"width": 1400, "height": 1700})
                shown = measure_page(page, f"{address}/map?runs={','.join(chosen)}")
                browser.close()
            row = {
                "job_first": first,
                "job_again": second,
                "page": shown,
                "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            }
            print(json.dumps(row, indent=2), flush=True)
            results.append(row)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, nargs="+", default=[6912, 24_576])
    parser.add_argument("--home", help="a state folder with finished runs")
    parser.add_argument("--runs", default="", help="ids of finished runs in it, separated by commas")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    runs = [run for run in options.runs.split(",") if run]
    with tempfile.TemporaryDirectory(prefix="concordance-map-") as folder:
        results = measure(options.home or folder, options.features, runs)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
