"""Every study's page as a newcomer meets it, in Chromium: empty, its tour running, killed, resumed, done, light and dark.

`make walk [FOLDER=…] [PAGES="denoising refinement"]` starts the app on an empty state folder, writes the photographs to FOLDER and
fails on an exception, an error of the console or a tour that does not end well. About two minutes a page; look at the pictures.
"""

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from data.files import read_json
from engine import client as engine_client
from engine.client import Client
from tests.app.browsing import error_of, until_idle
from tests.app.conftest import FLAGS
from tests.app.serving import free_port, served
from tests.conftest import eventually

PAGES = (
    "causal-graph", "hierarchy", "counterfactuals", "extrapolation", "label-shift", "denoising", "refinement", "triplets",
    "caption-masks",
)  # fmt: skip
WIDTH, HEIGHT, TALLEST = 1400, 1000, 9_000
PATIENCE = 600  # seconds


def photograph(page: Page, path: Path) -> None:
    """The page at its whole height. Raises AssertionError where it shows an exception."""
    until_idle(page)
    height = int(page.get_by_test_id("stMain").evaluate("main => main.scrollHeight"))
    page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, min(height, TALLEST))})
    until_idle(page)
    page.screenshot(path=path)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    assert page.get_by_test_id("stException").count() == 0, path.stem


def until_checkpoint(client: Client, run: str) -> None:
    """Until a run has saved a checkpoint, or has ended before it did."""

    def saved() -> bool:
        ended = client.run(run)["state"] not in ("queued", "running")
        return ended or any(row["kind"] == "checkpoint" for row in client.events(run)["rows"])

    eventually(saved, f"{run} saved a checkpoint", PATIENCE)


def kill(home: Path, run: str) -> None:
    """End a run's worker at once, and the processes of its seeds with it."""
    worker = read_json(home / "runs" / run / "state.json")["pid"]
    os.killpg(worker, signal.SIGKILL)


def resume(page: Page, client: Client, run: str) -> None:
    """Resume a run from the link that its page shows, and wait until the engine has taken it."""
    page.get_by_role("link", name="Resume it under Jobs").click()
    page.get_by_test_id("stMain").get_by_role("button", name="Resume").first.click()
    eventually(lambda: client.run(run)["state"] != "interrupted", f"{run} was resumed", PATIENCE)


def walk(page: Page, address: str, name: str, home: Path, folder: Path) -> str:
    """One study's page from empty to done; what it took, in words."""
    client = engine_client.connect(start=False)
    page.goto(f"{address}/{name}")
    photograph(page, folder / f"{name}-1-empty.png")
    main = page.get_by_test_id("stMain")
    began = time.monotonic()
    main.get_by_test_id("stBaseButton-primary").first.click()
    page.wait_for_url(re.compile("runs?=(\\w+)"))
    run = page.url.rpartition("=")[2]
    main.get_by_role("progressbar").first.wait_for()
    page.screenshot(path=folder / f"{name}-2-running.png")
    until_checkpoint(client, run)
    if client.run(run)["state"] == "running":
        kill(home, run)
        page.get_by_role("link", name="Resume it under Jobs").wait_for()
        photograph(page, folder / f"{name}-3-killed.png")
        resume(page, client, run)
    ended = client.wait(run)
    assert ended["state"] == "done", f"{name}: {ended['error']}"
    took = time.monotonic() - began
    asked = time.monotonic()
    page.goto(f"{address}/{name}?run={run}")
    until_idle(page)
    opening = time.monotonic() - asked
    photograph(page, folder / f"{name}-4-done.png")
    page.emulate_media(color_scheme="dark")
    photograph(page, folder / f"{name}-5-dark.png")
    page.emulate_media(color_scheme="light")
    return f"{name}: tour {took:.0f} s with its kill, result opens in {opening:.1f} s"


@contextmanager
def visiting(home: Path) -> Iterator[tuple[Page, str]]:
    """Chromium at the app on a state folder, and its address. Raises AssertionError at the end if the console had errors."""
    os.environ["CONCORDANCE_HOME"] = str(home)
    with served(free_port()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE * 1000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.extend(error_of(message)))
        yield page, address
        browser.close()
    assert not errors, errors


def main(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, visiting(Path(home)) as (page, address):
        for name in names:
            print(walk(page, address, name, Path(home), folder), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]) or PAGES)
