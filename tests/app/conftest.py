"""The app in a real browser, with the network cut for engine, worker, app and page alike."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright
from streamlit.components.v2 import manifest_scanner

from tests.app.serving import free_port, served

OFFLINE = Path(__file__).resolve().parents[1] / "offline"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


PATIENCE = 180  # seconds for a page to show what is expected, on a machine that does other work besides
expect.set_options(timeout=PATIENCE * 1000)
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)
"""Every AppTest would read the metadata of all installed packages anew, half a second each time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in the browser may need its whole patience more than once."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(4 * PATIENCE))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh state folder; a module that needs finished runs in it writes them in a fixture of this name."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def port() -> int:
    """A free port for the app."""
    return free_port()


@pytest.fixture(scope="module")
def address(home: Path, port: int) -> Iterator[str]:
    """`concordance up` on that state folder and port."""
    cut = {"PYTHONPATH": str(OFFLINE), "BLOCKED_LOG": str(home / "blocked")}
    before = os.environ.get("CONCORDANCE_HOME")
    with served(port, CONCORDANCE_HOME=str(home), **cut) as address:
        os.environ["CONCORDANCE_HOME"] = str(home)
        yield address
    if before is None:
        del os.environ["CONCORDANCE_HOME"]
    else:
        os.environ["CONCORDANCE_HOME"] = before
    assert not (home / "blocked").exists(), (home / "blocked").read_text()


@pytest.fixture(scope="module")
def not_ours() -> str:
    """Pattern of outside addresses that pages of others ask for; they are refused like all, and no fault of the app."""
    return "(?!)"


@pytest.fixture(scope="module")
def page(not_ours: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.set_default_timeout(PATIENCE * 1000)
        outside: list[str] = []

        def local_only(route: Route) -> None:
            if re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:", route.request.url):
                route.continue_()
            else:
                if not re.match(not_ours, route.request.url):
                    outside.append(route.request.url)
                route.abort()

        page.route("**/*", local_only)
        yield page
        browser.close()
        assert not outside, outside
