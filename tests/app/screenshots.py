"""The README's pictures, docs/consistency.png, features.png and causal_graph.png, of finished runs in your state folder:
`make screenshots SAES=RUN GRAPH=RUN`.

SAES is a run of sae_consistency on a language model with feature cards, GRAPH one of multimodal_causal; those in the README are
standard runs, which take about ten minutes each on two cores (`concordance run … --preset standard --wait`).
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.app.browsing import until_idle
from tests.app.conftest import FLAGS
from tests.app.serving import free_port, served

DOCS = Path(__file__).resolve().parents[2] / "docs"


def pages(saes: str, graph: str) -> dict[str, tuple[str, int, int]]:
    """Address, width and height in pixels of every picture, by the name of its file."""
    return {
        "consistency": (f"consistency?runs={saes}", 1400, 1300),
        "features": (f"features?runs={saes}&text=president&order=Stability", 1500, 1250),
        "causal_graph": (f"causal-graph?run={graph}&overlay=Difference", 1400, 1000),
    }


def take(page: Page, address: str, saes: str, graph: str, folder: Path) -> None:
    """Photograph the pages of two runs into `folder`. Raises AssertionError where one shows an exception."""
    for name, (query, width, height) in pages(saes, graph).items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{address}/{query}")
        until_idle(page)
        assert page.get_by_test_id("stException").count() == 0, name
        page.screenshot(path=folder / f"{name}.png")


def main(saes: str, graph: str, folder: Path = DOCS) -> None:
    """Serve the app on a free port, photograph the pages, stop it."""
    with served(free_port()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        take(browser.new_page(), address, saes, graph, folder)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(Path, sys.argv[3:4]))
