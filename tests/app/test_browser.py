"""The newcomer's first minutes in a real browser, with the network cut for engine, worker, app and page alike."""

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from engine import client as engine_client
from tests.app.browsing import until_idle

TOUR_SECONDS = 900


@pytest.mark.timeout(TOUR_SECONDS + 120)
def test_tour_from_click_to_heat_map(address: str, page: Page) -> None:
    page.goto(address)
    page.get_by_role("button", name="Start the tour").click()
    clicked = time.monotonic()
    page.wait_for_url(re.compile("/consistency"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_role("progressbar")).to_be_visible()
    expect(main.get_by_text(re.compile(r"left$"))).to_be_visible()
    run_id = re.search(r"runs=(\w+)", page.url)
    assert run_id, page.url

    page.reload()
    expect(main.get_by_role("progressbar")).to_be_visible()
    assert run_id[1] in page.url
    assert len(engine_client.connect(start=False).runs()) == 1

    expect(main.get_by_text("PW-MCC", exact=True).first).to_be_visible(timeout=TOUR_SECONDS * 1000)
    expect(page.locator(".js-plotly-plot .heatmaplayer").first).to_be_visible()
    print(f"click to heat map: {time.monotonic() - clicked:.0f} s")
    expect(
        main.get_by_text(re.compile("SmolLM2-135M-Instruct .instruct model, 4-bit origin"))
    ).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_be_hidden()


def test_svg_holds_its_labels_as_text(address: str, page: Page, tmp_path: Path) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="SVG").first.click()
    waiting.value.save_as(tmp_path / "heatmap.svg")
    svg = (tmp_path / "heatmap.svg").read_text()
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    assert svg.startswith("<svg") and "<image" not in svg.split("</defs>")[-1].replace(
        '<image class="pl-raster', ""
    )
    for label in ("seed 0", "seed 1", "seed 2"):
        assert any(label in text for text in texts), label


def test_click_on_a_cell_opens_its_pair(address: str, page: Page) -> None:
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    plot = page.locator(".js-plotly-plot").first
    box = plot.locator(".scatterlayer .point").nth(3).bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile("pair="))


def test_link_restores_the_view(address: str, page: Page) -> None:
    link = page.url
    assert "runs=" in link and "pair=" in link
    chosen = parse_qs(urlsplit(link).query)["pair"][0]
    page.goto(link)
    expect(page.get_by_role("combobox", name=re.compile("Pair"))).to_have_value(chosen)


def test_click_on_a_point_of_the_sweep_opens_its_pairs(address: str, page: Page) -> None:
    page.get_by_role("radio", name="Sweep").click()
    page.wait_for_url(re.compile("view=Sweep"))
    expect(page.locator(".js-plotly-plot .heatmaplayer .hm")).to_have_count(0)
    point = page.get_by_role("figure", name=re.compile("against Active features")).locator(".point").first
    expect(point).to_be_visible()
    until_idle(page)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".js-plotly-plot .heatmaplayer").first).to_be_visible()
    assert "view=Sweep" not in page.url


def test_threshold_stands_in_the_link(address: str, page: Page) -> None:
    page.get_by_role("radio", name="Stability").click()
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("threshold=0.75"))
    expect(page.get_by_text(re.compile("≥ 0.75")).first).to_be_visible()


def test_model_text_is_never_markup(address: str, page: Page) -> None:
    assert page.locator("[data-testid=stMain] script").count() == 0
