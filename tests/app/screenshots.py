"""The README's pictures, docs/*.png, of finished runs in your state folder: `make screenshots SAES=RUN GRAPH=RUN`.

SAES is a run of sae_consistency on a language model with feature cards, GRAPH one of multimodal_causal; those in the README are
standard runs, which take about ten minutes each on two cores (`concordance run … --preset standard --wait`).
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.app.conftest import FLAGS
from tests.app.serving import free_port, served
from tests.app.test_photos import until_idle

DOCS = Path(__file__).resolve().parents[2] / "docs"


def pages(saes: str, graph: str) -> dict[str, tuple[str, int, int]]:
    """Address, width and height in pixels of every picture, by the name of its file."""
    return {
        "consistency": (f"consistency?runs={saes}", 1400, 1160),
        "features": (f"features?runs={saes}&text=president&order=Stability", 1500, 1250),
        "causal_graph": (f"causal-graph?run={graph}&overlay=Difference", 1400, 1000),
    }


def main(saes: str, graph: str, folder: Path = DOCS) -> None:
    """Serve the app on a free port, photograph the pages, stop it."""
    with served(free_port()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page()
        for name, (query, width, height) in pages(saes, graph).items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(f"{address}/{query}")
            until_idle(page)
            page.screenshot(path=folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(Path, sys.argv[3:4]))
