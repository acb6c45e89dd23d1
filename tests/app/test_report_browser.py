"""The HTML report of a study in Chromium, opened from a file with the network cut."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from analyses.feature_map import map_figure
from analyses.report import MOST_POINTS, report

FEW, MANY = 300, 3 * MOST_POINTS // 2


def kept_map(n: int) -> dict:
    """A kept map of `n` features, their stability known."""
    x, y, stability = np.random.default_rng(0).random((3, n))
    columns = {"run": "aaaaaaaaaaa6", "seed": 0, "feature": range(n), "x": x, "y": y, "stability": stability}
    figure = map_figure(pd.DataFrame(columns), "stability")
    assert {trace.type for trace in figure.data} == {"scattergl"}
    return {"name": f"{n} features", "note": "", "figure": figure.to_json(), "runs": []}


@pytest.fixture
def said(page: Page, tmp_path: Path) -> list[str]:
    """Errors of the page, which shows a report with a small and a large map."""
    path = tmp_path / "report.html"
    study = {"title": "Maps", "paper": "", "bibtex": ""}
    path.write_text(report(study, pd.DataFrame(), [kept_map(FEW), kept_map(MANY)], [], "today"))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.context.set_offline(True)
    page.route(path.as_uri(), lambda route: route.continue_())
    page.goto(path.as_uri())
    return errors


def test_maps_are_drawn_without_webgl_and_no_button_uploads_them(page: Page, said: list[str]) -> None:
    small, large = page.locator("figure").nth(0), page.locator("figure").nth(1)
    expect(small.locator(".scatterlayer path.point")).to_have_count(FEW)
    expect(large.locator(".scatterlayer path.point").first).to_be_attached()
    assert MOST_POINTS / 2 <= large.locator(".scatterlayer path.point").count() <= MOST_POINTS
    expect(large).to_contain_text(f"At most {MOST_POINTS:,} of its {MANY:,} points")
    expect(small).not_to_contain_text("At most")
    box = small.locator("path.point").first.bounding_box()
    assert box and box["width"] > 1 and box["height"] > 1
    buttons = small.locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
    assert "Zoom" in buttons and not [name for name in buttons if "share" in name.lower()], buttons
    assert said == []
