"""A lasso drawn with the mouse: the table beneath, the link, and the same view in another browser."""

import math
import re
import time

import pytest
from playwright.sync_api import Page, expect

from engine import client as engine_client
from tests.app.browsing import until_idle
from tests.conftest import TINY_WORLD


@pytest.fixture(scope="module")
def run(address: str) -> str:
    """A finished run with its map."""
    client = engine_client.connect(start=False)
    run_id = client.wait(client.submit("sae_consistency", {**TINY_WORLD, "d_sae": 100}, [0, 1, 2])["id"])[
        "id"
    ]
    assert client.wait(client.make_map([run_id])["id"])["state"] == "done"
    return str(run_id)


def show(page: Page, link: str) -> None:
    page.goto(link)
    expect(page.locator(".js-plotly-plot .gl-canvas").first).to_be_visible()
    until_idle(page)


def draw_lasso(page: Page, radius: float) -> None:
    """Drag around the middle of the picture; `radius` is a share of its smaller side."""
    area = page.locator(".js-plotly-plot .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    r = radius * min(box["width"], box["height"])
    page.mouse.move(x + r, y)
    page.mouse.down()
    for step in range(1, 40):
        page.mouse.move(x + r * math.cos(step * math.pi / 20), y + r * math.sin(step * math.pi / 20))
    page.mouse.up()


def test_lasso_table_link_and_another_browser(address: str, page: Page, run: str) -> None:
    show(page, f"{address}/map?runs={run}")
    expect(page.get_by_text("Draw a lasso or a box")).to_be_visible()
    draw_lasso(page, 0.3)
    started = time.monotonic()
    heading = page.get_by_role("heading", name=re.compile("inside the lasso"))
    expect(heading).to_be_visible()
    print(f"lasso to table: {time.monotonic() - started:.2f} s")
    page.wait_for_url(re.compile("lasso="))
    count = heading.inner_text()
    assert 0 < int(count.split()[0].replace(",", "")) < 300

    assert page.context.browser
    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1600}).new_page()
    show(other, page.url)
    expect(other.get_by_role("heading", name=count)).to_be_visible()
    expect(other.locator(".js-plotly-plot .shapelayer path")).to_have_count(1)

    other.get_by_role("radio", name="Seed").click()
    expect(other.get_by_role("figure", name=re.compile("coloured by seed"))).to_be_visible()
    expect(other.get_by_role("heading", name=count)).to_be_visible()
    assert "lasso=" in other.url and "colour=Seed" in other.url

    other.get_by_role("button", name="Clear the lasso").click()
    expect(other.get_by_text("Draw a lasso or a box")).to_be_visible()
    assert "lasso=" not in other.url
