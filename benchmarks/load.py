"""Readers while a run trains: browser sessions that wander over the pages, and requests a second to the engine.

    CONCORDANCE_HOME=STATE_WITH_FINISHED_RUNS python -m benchmarks.load --json out.json

Starts `concordance up` on that state folder, trains the tour of sr2 again and again, and for `--seconds` sends `--rate` requests a
second (open loop: the next one does not wait for an answer; lateness of the sender is part of a latency) over runs, events, tables
and claims of the finished runs, while `--sessions` tabs of one headless Chromium each open a page, wait until Streamlit rests, read
for `--reading` seconds and go on. Latencies are of whole answers, HTTP included; a page's is from the click on its address to rest.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
from playwright.async_api import Browser, async_playwright

from engine.client import Client, connect, state_dir
from tests.app.browsing import IDLE, PATIENCE
from tests.app.conftest import FLAGS
from tests.app.serving import free_port, served

PAGES = (
    "consistency", "counterfactuals", "extrapolation", "label-shift", "denoising", "refinement", "triplets", "caption-masks",
    "jobs", "compare", "sql",
)  # fmt: skip
CONNECTIONS = 32
Call = tuple[str, str, str, dict[str, Any] | None]


def calls(client: Client) -> list[Call]:
    """What is asked: (kind, method, path, body) over every finished run."""
    found: list[Call] = [("list of runs", "GET", "/runs?limit=100", None), ("system", "GET", "/system", None)]
    tables = {study["name"]: study["tables"] for study in client.studies()}
    for run in client.runs(state="done", limit=50):
        place = f"/runs/{run['id']}"
        found += [("run", "GET", place, None), ("events", "GET", f"{place}/events?max_points=500", None)]
        found += [("claims", "GET", f"/studies/{run['study']}/claims", None)]
        found += [
            ("table", "POST", f"{place}/tables/{name}", {"limit": 200}) for name in tables[run["study"]][:4]
        ]
    return found


def send(address: str, token: str, asked: list[Call], rate: float, seconds: float, out: Connection) -> None:
    """A process of its own: `rate` requests a second; sends back milliseconds and failures by kind."""
    taken: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    drawn = random.Random(0)
    http = urllib3.HTTPConnectionPool(
        *address.removeprefix("http://").split(":"), maxsize=CONNECTIONS, timeout=60, retries=False,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )  # fmt: skip

    def one(call: Call, due: float) -> None:
        kind, method, path, body = call
        try:
            status = http.request(method, path, body=None if body is None else json.dumps(body)).status
            failed[f"{kind} {status}"] += status >= 400
        except urllib3.exceptions.HTTPError as error:
            failed[f"{kind} {type(error).__name__}"] += 1
        taken[kind].append(1000 * (time.perf_counter() - due))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            pool.submit(one, drawn.choice(asked), due)
    out.send((dict(taken), {kind: n for kind, n in failed.items() if n}))


async def wander(browser: Browser, app: str, number: int, until: float, reading: float) -> list[float]:
    """One reader: milliseconds of every page chosen from the menu; Home is opened before and not counted."""
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    drawn, taken = random.Random(number), []
    await page.goto(app)
    await page.wait_for_function(IDLE, polling=100)
    while time.monotonic() < until:
        await page.wait_for_timeout(1000 * reading * drawn.uniform(0.5, 1.5))
        name = drawn.choice(PAGES)
        start = time.perf_counter()
        await page.locator(f'[data-testid=stSidebarNav] a[href$="/{name}"]').click()
        await page.wait_for_url(f"**/{name}*")
        await page.wait_for_function(IDLE, polling=100)
        taken.append(1000 * (time.perf_counter() - start))
    await page.close()
    return taken


async def read_pages(app: str, sessions: int, seconds: float, reading: float) -> list[float]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        until = time.monotonic() + seconds
        readers = [wander(browser, app, number, until, reading) for number in range(sessions)]
        found = await asyncio.gather(*readers)
        await browser.close()
        return [one for taken in found for one in taken]


def train(stop: Event) -> None:
    """A process of its own: one run after the other trains, tours of sr2 with new seeds, until told to stop."""
    client = connect(start=False)
    for seed in count(random.randrange(2**30)):
        run = client.submit("sr2", {}, [seed], preset="tour")["id"]
        while client.run(run)["state"] in ("queued", "running"):
            if stop.is_set():
                client.cancel(run)
                return
            time.sleep(0.5)


def shares(taken: list[float]) -> dict[str, float]:
    """Milliseconds: median, 95th and 99th percentile, most; and how many."""
    if not taken:
        return {"n": 0}
    values = np.array(taken)
    found = {f"p{q}_ms": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}
    return {**found, "max_ms": round(float(values.max()), 1), "n": len(values)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    fresh = multiprocessing.get_context("spawn")
    with served(free_port()) as app:
        client = connect(start=False)
        stop = fresh.Event()
        trainer = fresh.Process(target=train, args=(stop,))
        trainer.start()
        mine, theirs = fresh.Pipe(duplex=False)
        token = (state_dir() / "token").read_text().strip()
        asked = (client.address, token, calls(client), options.rate, options.seconds, theirs)
        sender = fresh.Process(target=send, args=asked)
        sender.start()
        pages = asyncio.run(read_pages(app, options.sessions, options.seconds, options.reading))
        taken, failed = mine.recv()
        sender.join()
        stop.set()
        trainer.join()
    everything = [one for part in taken.values() for one in part]
    return {
        "requests": shares(everything),
        "by_kind": {kind: shares(part) for kind, part in sorted(taken.items())},
        "failed": failed,
        "pages": shares(pages),
        "asked": {name: getattr(options, name) for name in ("sessions", "rate", "seconds", "reading")},
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--reading", type=float, default=20)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    found = json.dumps(measure(options), indent=2)
    print(found)
    if options.json:
        options.json.write_text(found + "\n")


if __name__ == "__main__":
    main()
