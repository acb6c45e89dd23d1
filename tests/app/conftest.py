"""The app in a real browser, with the network cut for engine, worker, app and page alike."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from tests.app.serving import free_port, served

OFFLINE = Path(__file__).resolve().parents[1] / "offline"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


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
