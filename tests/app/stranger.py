"""A stranger's path in Chromium, each step timed: tour, own text file, own SAEs with cards, a figure in a LaTeX document.

`make stranger` starts the app on an empty state folder and fails on an exception, an error of the console, a LaTeX document that
does not compile or a font that the PDF lacks. Five minutes; needs pdflatex and pdffonts
(Debian: `apt-get install texlive-latex-base texlive-latex-recommended poppler-utils`).
"""

import re
import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from engine import client as engine_client
from tests.app.browsing import until_idle
from tests.app.walk import visiting

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = r"""\documentclass{article}
\usepackage{graphicx}
\begin{document}
\begin{figure}\centering\includegraphics[width=\linewidth]{figure.pdf}\caption{Pairwise consistency.}\end{figure}
\end{document}
"""


class Clock:
    """Says what each step took since the one before."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, step: str) -> None:
        now = time.monotonic()
        print(f"{step}: {now - self.last:.1f} s", flush=True)
        self.last = time.monotonic()


def shown(page: Page) -> None:
    """Wait for a heat map, and for the page to be still."""
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for()
    until_idle(page)
    assert page.get_by_test_id("stException").count() == 0, page.url


def launch_own(page: Page, address: str, text: Path) -> str:
    """Fill in the form for SAEs on a text file of one's own and press Launch; the run's id."""
    page.goto(f"{address}/new?study=sae_consistency&preset=tour")
    corpus = page.get_by_role("textbox", name=re.compile("^corpus"))
    corpus.fill(str(text))
    corpus.press("Enter")
    page.get_by_text(re.compile(rf"corpus={re.escape(str(text))}")).first.wait_for()
    until_idle(page)
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url(re.compile("run="))
    return page.url.rpartition("run=")[2]


def figure(page: Page, folder: Path) -> None:
    """Save the first picture of a page as figure.pdf."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PDF").first.click()
    waiting.value.save_as(folder / "figure.pdf")


def typeset(folder: Path) -> None:
    """A LaTeX document with the figure in it; every font of the figure is embedded."""
    (folder / "paper.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    fonts = subprocess.run(["pdffonts", "figure.pdf"], cwd=folder, check=True, capture_output=True, text=True)
    rows = fonts.stdout.splitlines()[2:]
    assert rows and all(row.split()[-5] == "yes" for row in rows), fonts.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name, visiting(Path(name) / "home") as (page, address):
        folder = Path(name)
        text = folder / "mine.txt"
        text.write_text("\n".join(path.read_text() for path in sorted(ROOT.glob("**/docs/*.md"))))
        clock = Clock()
        page.goto(address)
        until_idle(page)
        clock("Home")
        page.get_by_role("button", name="Start the tour").click()
        page.wait_for_url(re.compile("runs="))
        shown(page)
        clock("tour, click to heat map")
        run = launch_own(page, address, text)
        clock("own text file into the form, and Launch")
        client = engine_client.connect(start=False)
        ended = client.wait(run)
        assert ended["state"] == "done", ended["error"]
        clock("own SAEs")
        page.goto(f"{address}/consistency?runs={run}")
        shown(page)
        clock("their page opens")
        figure(page, folder)
        clock("figure as PDF")
        typeset(folder)
        clock("LaTeX document with it")
        cards = [job["id"] for job in client.runs() if job["study"] == "feature_cards"]
        assert all(client.wait(job)["state"] == "done" for job in cards) and cards
        clock("feature cards, beside the steps above")
        page.goto(f"{address}/features?runs={run}")
        until_idle(page)
        assert page.get_by_test_id("stException").count() == 0
        clock("their features open")


if __name__ == "__main__":
    main()
